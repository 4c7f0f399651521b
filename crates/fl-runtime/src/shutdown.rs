//! When a process is asked to end.

use std::io::Read as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Set to 1, it makes a process end when its standard input closes: a parent that dies, however it
/// dies, takes its children with it.
pub const EXIT_WITH_STDIN: &str = "FL_EXIT_WITH_STDIN";

/// Told to all parts of a process at once; clones belong together.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: watch::Sender<Option<&'static str>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// One that only [`Self::request`] sets off.
    pub fn new() -> Self {
        Self {
            requested: watch::Sender::new(None),
        }
    }

    /// One that SIGINT, SIGTERM and, when [`EXIT_WITH_STDIN`] is 1, the end of standard input set off.
    /// A second signal ends the process at once.
    ///
    /// # Errors
    /// What the system says when it does not let us have the signals.
    pub fn listen() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let on_signal = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let why = tokio::select! {
                    _ = interrupt.recv() => "interrupted",
                    _ = terminate.recv() => "asked to terminate",
                };
                if on_signal.is_requested() {
                    std::process::exit(SECOND_SIGNAL_EXIT_CODE);
                }
                on_signal.request(why);
            }
        });
        if std::env::var_os(EXIT_WITH_STDIN).is_some_and(|value| value == "1") {
            let on_close = shutdown.clone();
            // A thread of its own: the runtime would wait for a blocking read when it ends.
            std::thread::spawn(move || {
                wait_for_end_of_stdin();
                on_close.request("standard input closed");
            });
        }
        Ok(shutdown)
    }

    /// Asks every part to end; the first reason given stays.
    pub fn request(&self, why: &'static str) {
        self.requested.send_if_modified(|requested| {
            if requested.is_some() {
                return false;
            }
            tracing::info!("ending: {why}");
            *requested = Some(why);
            true
        });
    }

    /// Whether the process was asked to end.
    pub fn is_requested(&self) -> bool {
        self.requested.borrow().is_some()
    }

    /// Waits until the process is asked to end; at once when it was. May be dropped and called anew.
    pub async fn requested(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.requested.subscribe().wait_for(Option::is_some).await;
    }
}

/// What shells report for a process that SIGINT ended.
const SECOND_SIGNAL_EXIT_CODE: i32 = 130;

fn wait_for_end_of_stdin() {
    let mut ignored = [0; 256];
    let mut stdin = std::io::stdin().lock();
    while let Ok(1..) = stdin.read(&mut ignored) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_hears_it_also_later() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        shutdown.request("test");
        waiting.await.unwrap();
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }
}
