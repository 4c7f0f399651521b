//! How long to wait before the next attempt.

use std::time::Duration;

use rand::RngExt as _;

/// First wait for a bus, in milliseconds.
const FIRST_MS: u64 = 200;

/// Longest wait for a bus, in milliseconds.
const LONGEST_MS: u64 = 5_000;

/// Waits that double up to a bound, each shortened by up to a half at random so that a fleet does not
/// come back in step.
#[derive(Debug)]
pub struct Backoff {
    first_ms: u64,
    longest_ms: u64,
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// For a bus that is away.
    pub fn new() -> Self {
        Self::between(FIRST_MS, LONGEST_MS)
    }

    /// From a first wait to a longest one, in milliseconds.
    pub fn between(first_ms: u64, longest_ms: u64) -> Self {
        Self {
            first_ms,
            longest_ms,
            next_ms: first_ms,
        }
    }

    /// It worked: the next wait is as short as the first.
    pub fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }

    /// How long to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let wait_ms = rand::rng().random_range(self.next_ms / 2..=self.next_ms);
        self.next_ms = (self.next_ms * 2).min(self.longest_ms);
        Duration::from_millis(wait_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = (0..20)
            .map(|_| backoff.next_wait().as_millis() as u64)
            .collect();
        assert!(waits[0] <= FIRST_MS);
        assert!(
            waits[10..]
                .iter()
                .all(|wait| (LONGEST_MS / 2..=LONGEST_MS).contains(wait))
        );
        backoff.reset();
        assert!(backoff.next_wait().as_millis() as u64 <= FIRST_MS);
    }
}
