//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the process began: monotonic, and compared with no other machine's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at zero, now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        // 584 million years of milliseconds fit.
        self.start.elapsed().as_millis() as u64
    }

    /// Waits until [`Self::now_ms`] has reached `at_ms`; at once when it has.
    pub async fn sleep_until_ms(&self, at_ms: u64) {
        let wait_ms = at_ms.saturating_sub(self.now_ms());
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// The wall clock in microseconds since 1970, for spans and people; 0 on a clock set before 1970.
/// Nothing is decided by it.
pub fn wall_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeping_reaches_its_time() {
        let clock = Clock::start();
        clock.sleep_until_ms(20).await;
        assert!(clock.now_ms() >= 20);
        clock.sleep_until_ms(1).await;
        assert!(wall_us() > 0);
    }
}
