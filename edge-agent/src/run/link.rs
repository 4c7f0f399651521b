//! Whether a running agent has its broker, in a file of its home: for `check`, and so for a container's
//! health check, which must not throw the agent out by taking its name at the broker.

use std::path::{Path, PathBuf};

use fl_runtime::mqtt::Event;

const CONNECTED: &str = "connected\n";
const AWAY: &str = "away\n";

/// The agent's side.
pub(super) struct Link {
    file: PathBuf,
}

impl Link {
    /// Of an agent that has only started.
    pub(super) fn new(home: &Path) -> Self {
        let link = Self { file: file(home) };
        link.note(AWAY);
        link
    }

    /// Notes what the session says of the broker.
    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Connected => self.note(CONNECTED),
            Event::Disconnected { .. } => self.note(AWAY),
            Event::Message(_) => {}
        }
    }

    /// Not flushed: after a crash nobody reads it.
    fn note(&self, state: &str) {
        if let Err(error) = std::fs::write(&self.file, state) {
            let file = self.file.display();
            tracing::warn!("cannot write {file}, so `check` cannot tell of the broker: {error}");
        }
    }
}

/// Whether the running agent of a home is connected to its broker.
pub(crate) fn is_connected(home: &Path) -> bool {
    std::fs::read_to_string(file(home)).is_ok_and(|state| state == CONNECTED)
}

fn file(home: &Path) -> PathBuf {
    home.join("broker-link")
}
