//! Follows the roster file, which operators' commands change while the root runs.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fl_wire::SigningKey;
use tokio::sync::watch;

use crate::home::Home;
use crate::publish::Voice;
use crate::roster::RosterFile;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Tells one version of the file from another: it is always replaced as a whole.
type Version = Option<(SystemTime, u64, u64)>;

/// The roster as it was read last.
pub(crate) struct RosterWatch {
    home: Home,
    key: SigningKey,
    seen: Version,
    sender: watch::Sender<Arc<RosterFile>>,
}

impl RosterWatch {
    /// Reads the roster.
    pub(crate) fn start(home: &Home, key: &SigningKey) -> anyhow::Result<Self> {
        // First its version: a change that comes while it is read is read again.
        let seen = version(home);
        let roster = RosterFile::load(home, key)?;
        Ok(Self {
            home: home.clone(),
            key: key.clone(),
            seen,
            sender: watch::Sender::new(Arc::new(roster)),
        })
    }

    /// Where it is read.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<RosterFile>> {
        self.sender.subscribe()
    }

    /// Sends the roster out, and again whenever an operator has changed it. Does not end.
    pub(crate) async fn follow(mut self, voice: &Voice) {
        let roster = self.subscribe();
        tell(voice, &roster).await;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = version(&self.home);
            if now == self.seen {
                continue;
            }
            self.seen = now;
            match RosterFile::load(&self.home, &self.key) {
                Ok(changed) => {
                    tracing::info!("the roster has {} members", changed.members().len());
                    // First here: the root knows a device before its fog lets it in.
                    self.sender.send_replace(Arc::new(changed));
                    tell(voice, &roster).await;
                }
                Err(error) => tracing::error!(
                    "the changed roster is not followed, the one before stays in force: {error:#}"
                ),
            }
        }
    }
}

/// Sends every region its part of the newest roster. Those who tell take turns, so that an older one never
/// follows a newer.
pub(crate) async fn tell(voice: &Voice, roster: &watch::Receiver<Arc<RosterFile>>) {
    let _turn = voice.rosters.lock().await;
    let newest = roster.borrow().clone();
    if let Err(error) = voice.roster(&newest).await {
        tracing::error!("the fogs do not hear of the roster: {error:#}");
    }
}

fn version(home: &Home) -> Version {
    let data = std::fs::metadata(home.roster_file()).ok()?;
    Some((data.modified().ok()?, data.len(), data.ino()))
}
