//! What the log no longer needs, taken away from the bus. A failure costs nothing but room, and is
//! tried again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fl_model::{Digest, ObjectRef};
use fl_runtime::nats::{Nats, Stream};
use tokio::sync::Notify;

use crate::board::Board;

/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What is to be taken away.
#[derive(Debug, Default)]
struct Due {
    /// Messages of [`Stream::Partials`]: a filter of subjects, and the sequence up to which they go.
    purges: BTreeSet<(String, Option<u64>)>,
    objects: BTreeSet<Digest>,
    /// Whether all jobs of the log are known, and with them what is still needed.
    started: bool,
    /// A job cannot be read: nobody knows what it needs.
    held: bool,
}

/// Takes things away when the bus lets it.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    due: Mutex<Due>,
    asked: Notify,
    /// Held by who takes an object away, or puts one that somebody may want to take away.
    bucket: tokio::sync::Mutex<()>,
}

impl Sweep {
    fn due(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partials under these subjects are settled.
    pub(crate) fn partials(&self, filter: String) {
        self.due().purges.insert((filter, None));
        self.asked.notify_one();
    }

    /// The message with that sequence keeps a region's partial from its subject.
    pub(crate) fn intruder(&self, subject: String, sequence: u64) {
        self.due().purges.insert((subject, Some(sequence)));
        self.asked.notify_one();
    }

    /// Nobody needs these any more but, perhaps, another job.
    pub(crate) fn objects(&self, retired: Vec<ObjectRef>) {
        let retired = retired.iter().map(|object| object.digest);
        self.due().objects.extend(retired);
        self.asked.notify_one();
    }

    /// The objects are needed again; while the guard lives none is taken away.
    pub(crate) async fn keep(&self, objects: &[Vec<u8>]) -> tokio::sync::MutexGuard<'_, ()> {
        let guard = self.bucket.lock().await;
        for object in objects {
            self.forget(Digest::of(object));
        }
        guard
    }

    /// The object is needed again; for who holds the guard of [`Sweep::keep`].
    pub(crate) fn forget(&self, object: Digest) {
        self.due().objects.remove(&object);
    }

    /// All jobs of the log are known: objects may go.
    pub(crate) fn start(&self) {
        let before = std::mem::replace(&mut self.due().started, true);
        if !before {
            self.asked.notify_one();
        }
    }

    /// A job cannot be read: all objects stay until the next start.
    pub(crate) fn hold_objects(&self) {
        self.due().held = true;
    }

    /// Takes away what is asked for, for as long as this future runs.
    pub(crate) async fn run(&self, nats: &Nats, board: &Board) {
        let mut told = false;
        loop {
            match self.round(nats, board).await {
                Ok(()) => {
                    told = false;
                    self.asked.notified().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("what is settled stays on the bus for now: {error:#}");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tries everything that is due, up to the first failure.
    async fn round(&self, nats: &Nats, board: &Board) -> anyhow::Result<()> {
        let purges = self.due().purges.clone();
        for purge in purges {
            let (filter, until) = &purge;
            nats.purge(Stream::Partials, filter, *until).await?;
            self.due().purges.remove(&purge);
        }
        while let Some(object) = self.next_object() {
            let _alone = self.bucket.lock().await;
            let due = self.due().objects.contains(&object);
            if due && !board.needs(object) {
                nats.remove_object(object).await?;
            }
            self.forget(object);
        }
        Ok(())
    }

    fn next_object(&self) -> Option<Digest> {
        let due = self.due();
        let may_go = due.started && !due.held;
        may_go.then(|| due.objects.first().copied())?
    }
}

#[cfg(test)]
mod tests {
    use fl_model::LogEntry;
    use fl_round::RootRound;
    use fl_runtime::nats::StreamLimits;
    use fl_runtime::testing::{JETSTREAM, NatsProcess, until};

    use super::*;
    use crate::settings::RoundSettings;
    use crate::testing::{spec, submitted};

    /// A board with a job that needs `model` and `parameters`.
    fn board() -> Board {
        let entry: LogEntry = submitted(spec());
        let limits = RoundSettings::default().limits();
        let root = RootRound::replay(limits, &[entry]).unwrap();
        let board = Board::default();
        board.insert(&root, Vec::new(), 0, true);
        board
    }

    async fn has(nats: &Nats, name: &str) -> bool {
        let digest = Digest::of(name.as_bytes());
        nats.has_object(digest).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn objects_go_once_no_job_needs_them() {
        let server = NatsProcess::running(JETSTREAM);
        let nats = server.connect().await;
        nats.ensure_streams(&StreamLimits::default()).await.unwrap();
        let (sweep, board) = (Sweep::default(), board());
        let names = ["model", "parameters", "old", "older", "back"];
        for name in names {
            nats.put_object(name.as_bytes()).await.unwrap();
        }
        let retired = names.map(|name| ObjectRef::to(name.as_bytes()));
        sweep.objects(retired.to_vec());
        let gone = async |name: &str| {
            until(name, async || (!has(&nats, name).await).then_some(())).await;
        };
        let script = async {
            // While not every job is known nothing goes.
            sweep.partials("fl.partial.none.>".to_owned());
            until("the purge", async || {
                sweep.due().purges.is_empty().then_some(())
            })
            .await;
            assert!(has(&nats, "old").await);
            // What is put anew is needed anew.
            drop(sweep.keep(&[b"back".to_vec()]).await);
            sweep.start();
            gone("old").await;
            gone("older").await;
            until("the end", async || {
                sweep.due().objects.is_empty().then_some(())
            })
            .await;
            for name in ["model", "parameters", "back"] {
                assert!(has(&nats, name).await, "{name}");
            }
            // A job of the log that nobody can read may need anything.
            sweep.hold_objects();
            sweep.objects(vec![ObjectRef::to(b"back")]);
            sweep.partials("fl.partial.none.>".to_owned());
            until("the purge", async || {
                sweep.due().purges.is_empty().then_some(())
            })
            .await;
            assert!(has(&nats, "back").await);
        };
        tokio::select! {
            () = sweep.run(&nats, &board) => {}
            () = script => {}
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_purge_that_fails_is_tried_again() {
        let mut server = NatsProcess::running(JETSTREAM);
        let nats = server.connect().await;
        nats.ensure_streams(&StreamLimits::default()).await.unwrap();
        let subject = "fl.partial.job.1.train.north.0";
        let partial = nats.append(Stream::Partials, subject, "partial".into(), 0, None);
        partial.await.unwrap();
        let (sweep, board) = (Sweep::default(), board());
        server.kill();
        sweep.partials("fl.partial.job.1.train.>".to_owned());
        let failed = sweep.round(&nats, &board).await;
        assert!(failed.is_err());
        server.start();
        let script = until("the purge", async || {
            sweep.due().purges.is_empty().then_some(())
        });
        tokio::select! {
            () = sweep.run(&nats, &board) => {}
            () = script => {}
        }
        let last = until("an answer", async || {
            nats.last(Stream::Partials, subject).await.ok()
        });
        assert!(last.await.is_none());
    }
}
