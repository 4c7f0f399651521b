/// Milliseconds on the process's own monotonic clock.
pub type Millis = u64;

/// When a machine wants to be woken, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout {
    /// At this time or later.
    pub at: Millis,
    /// For logs.
    pub why: &'static str,
}

impl Timeout {
    /// The earlier of two.
    pub(crate) fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        [a, b].into_iter().flatten().min()
    }
}
