//! Things that may happen often, said seldom.

use std::time::{Duration, Instant};

/// Says a thing at once, and then at most once a minute.
#[derive(Debug, Default)]
pub(super) struct Said {
    at: Option<Instant>,
    unsaid: u64,
}

impl Said {
    /// Between two times that a thing is said.
    pub(super) const AGAIN: Duration = Duration::from_secs(60);

    /// It has happened `times`: how often since it was said last, where it is to be said now.
    pub(super) fn again(&mut self, times: u64, now: Instant) -> Option<u64> {
        self.unsaid += times;
        let is_due = self.at.is_none_or(|at| now >= at + Self::AGAIN);
        if times == 0 || !is_due {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_counted() {
        let start = Instant::now();
        let mut said = Said::default();
        assert_eq!(said.again(0, start), None);
        assert_eq!(said.again(2, start), Some(2));
        assert_eq!(said.again(3, start + Said::AGAIN / 2), None);
        assert_eq!(said.again(0, start + Said::AGAIN), None);
        assert_eq!(said.again(1, start + Said::AGAIN), Some(4));
    }
}
