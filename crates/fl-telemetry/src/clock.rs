//! Times of spans: wall-clock microseconds, and intervals that never touch.
//!
//! Jaeger's critical path skips a span that ends in the microsecond in which a sibling starts, and siblings are often
//! timed by different processes. So every start is rounded up to a multiple of 4 µs and every end down to 2 µs past
//! one: two spans are then at least 2 µs apart whoever measured them, phases that follow each other do not overlap,
//! and a child that lay inside its parent still does (rounding keeps the order).

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Starts are multiples of this [µs].
const GRID_US: u64 = 4;
/// Ends are this far past a multiple of the grid; also the shortest span [µs].
const END_PHASE_US: u64 = 2;
/// Rows beyond this many of one start stay in chance order, so that none moves by more than half a millisecond.
const STAGGER_ROWS_MAX: u64 = 128;
const STAGGER_US_MAX: u64 = STAGGER_ROWS_MAX * GRID_US;
/// No time beyond this is shown (year 2262, where OTLP's signed readers of nanoseconds end) [µs].
const TIME_MAX_US: u64 = i64::MAX as u64 / 1000 / GRID_US * GRID_US;

/// This machine's wall clock, in microseconds since 1970; 0 on a clock before 1970. It labels spans and decides
/// nothing.
pub fn wall_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        })
}

/// A span's time, in microseconds since 1970, on the grid described above; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    start_us: u64,
    end_us: u64,
}

impl Interval {
    /// From the times measured; an end before the start gives the shortest interval.
    pub fn new(start_us: u64, end_us: u64) -> Self {
        let start_us = start_us
            .min(TIME_MAX_US)
            .next_multiple_of(GRID_US)
            .min(TIME_MAX_US);
        let end_us = end_us.min(TIME_MAX_US + END_PHASE_US);
        let end_us = (end_us.saturating_sub(END_PHASE_US) / GRID_US * GRID_US + END_PHASE_US)
            .max(start_us + END_PHASE_US);
        Self { start_us, end_us }
    }

    /// Start [µs since 1970].
    pub fn start_us(&self) -> u64 {
        self.start_us
    }

    /// End [µs since 1970], after the start.
    pub fn end_us(&self) -> u64 {
        self.end_us
    }

    /// Length [µs].
    pub fn duration_us(&self) -> u64 {
        self.end_us - self.start_us
    }

    /// Length [s], as attributes and metrics have it.
    pub fn duration_s(&self) -> f64 {
        self.duration_us() as f64 / 1e6
    }

    /// The part of this interval inside `parent`; where they do not meet, the shortest interval at the nearer edge.
    pub fn within(&self, parent: &Interval) -> Self {
        let start_us = self
            .start_us
            .clamp(parent.start_us, parent.end_us - END_PHASE_US);
        let end_us = self.end_us.min(parent.end_us).max(start_us + END_PHASE_US);
        Self { start_us, end_us }
    }

    /// The interval without its first moments, in which the row that it belongs to may not have begun yet (see
    /// [`staggered`]); one that is not much longer than those stays as it is.
    pub(crate) fn after_stagger(&self) -> Self {
        if self.duration_us() < 4 * STAGGER_US_MAX {
            return *self;
        }
        Self {
            start_us: self.start_us + STAGGER_US_MAX,
            end_us: self.end_us,
        }
    }

    /// The shortest interval that holds both.
    pub fn cover(&self, other: &Interval) -> Self {
        Self {
            start_us: self.start_us.min(other.start_us),
            end_us: self.end_us.max(other.end_us),
        }
    }

    /// Whether `other` lies inside this interval.
    pub fn contains(&self, other: &Interval) -> bool {
        self.start_us <= other.start_us && other.end_us <= self.end_us
    }
}

/// The start of the nth of several rows that begin together. Jaeger orders rows by start and lets chance decide
/// between equal ones; a few microseconds keep them in the order in which they were told.
pub(crate) fn staggered(start_us: u64, nth: usize) -> u64 {
    let nth = (nth as u64).saturating_add(1).min(STAGGER_ROWS_MAX);
    start_us.saturating_add(nth * GRID_US)
}

/// How far to move a batch of spans that covers `start_us..end_us` so that it lies inside `window`: not at all where
/// it does already, else by the least that helps; a batch longer than the window is aligned with the window's start.
/// All in µs.
pub(crate) fn shift_into(start_us: i64, end_us: i64, window: &Interval) -> i64 {
    let (window_start, window_end) = (signed(window.start_us), signed(window.end_us));
    let to_start = window_start.saturating_sub(start_us);
    let to_end = window_end.saturating_sub(end_us);
    // The batch must move right by at least `to_start` and by at most `to_end`.
    if to_start <= 0 && to_end >= 0 {
        0
    } else if to_start > 0 || to_end < to_start {
        to_start
    } else {
        to_end
    }
}

/// A time as a signed number, for differences; beyond the range of `i64` it saturates.
pub(crate) fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_stay_two_microseconds_apart() {
        for start in 1000..1008 {
            for end in start..start + 12 {
                let first = Interval::new(start, end);
                assert!(first.start_us() < first.end_us());
                for next in end..end + 6 {
                    let second = Interval::new(next, next + 50);
                    assert!(
                        first.end_us().abs_diff(second.start_us()) >= 2,
                        "{first:?} touches {second:?}"
                    );
                    if end > start + 8 {
                        assert!(
                            first.end_us() < second.start_us(),
                            "{first:?} overlaps {second:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_child_stays_inside() {
        for parent_end in 1001..1020 {
            let parent = Interval::new(1000, parent_end);
            for start in 990..1030 {
                for end in [start, start + 1, start + 7, 2000] {
                    let child = Interval::new(start, end).within(&parent);
                    assert!(
                        parent.contains(&child),
                        "{child:?} sticks out of {parent:?}"
                    );
                    assert_eq!((child.start_us() % 4, child.end_us() % 4), (0, 2));
                }
            }
        }
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        for (start, end) in [(u64::MAX, u64::MAX), (u64::MAX, 0), (0, u64::MAX), (0, 0)] {
            let absurd = Interval::new(start, end);
            assert!(absurd.start_us() < absurd.end_us());
            assert!(absurd.end_us().checked_mul(1000).is_some());
        }
    }

    #[test]
    fn a_batch_moves_by_the_least() {
        let window = Interval::new(1000, 2002);
        for (start, end, expected) in [
            (1000, 2002, 0),
            (1100, 1900, 0),
            (900, 1500, 100),
            (1900, 2300, -298),
            (0, 5000, 1000),
            (1500, 5000, -500),
            (i64::MIN, i64::MAX, i64::MAX),
        ] {
            assert_eq!(shift_into(start, end, &window), expected, "{start}..{end}");
        }
    }
}
