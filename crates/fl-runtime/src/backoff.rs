//! How long to wait before the next attempt.

use std::time::Duration;

use rand::RngExt as _;

/// First wait, in milliseconds.
const FIRST_MS: u64 = 200;

/// Longest wait, in milliseconds.
const LONGEST_MS: u64 = 5_000;

/// Waits that double up to a bound, each shortened by up to a half at random so that a fleet does not
/// come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u64,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next_ms: FIRST_MS }
    }

    pub(crate) fn reset(&mut self) {
        self.next_ms = FIRST_MS;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait_ms = rand::rng().random_range(self.next_ms / 2..=self.next_ms);
        self.next_ms = (self.next_ms * 2).min(LONGEST_MS);
        Duration::from_millis(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = (0..20).map(|_| backoff.next().as_millis() as u64).collect();
        assert!(waits[0] <= FIRST_MS);
        assert!(
            waits[10..]
                .iter()
                .all(|wait| (LONGEST_MS / 2..=LONGEST_MS).contains(wait))
        );
        backoff.reset();
        assert!(backoff.next().as_millis() as u64 <= FIRST_MS);
    }
}
