//! What the process tests share.

use std::path::Path;
use std::time::{Duration, Instant};

/// Generous: a loaded machine must not fail a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The built xtask binary.
pub(crate) fn xtask() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xtask"))
}

/// Polls until `probe` gives a value; panics with `what` past the patience.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process does any work: a zombie that waits for its reaper does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit(')')
                .next()
                .map(|rest| !rest.trim().starts_with('Z'))
        })
        .unwrap_or(false)
}

/// The number that a script wrote to a file, once it is there.
pub(crate) fn pid_in(file: &Path) -> u32 {
    eventually("a written process id", || {
        let text = std::fs::read_to_string(file).ok()?;
        text.ends_with('\n').then(|| text.trim().parse().ok())?
    })
}
