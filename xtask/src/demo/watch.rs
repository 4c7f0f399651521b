//! Following a job by `cloud-root job watch --json`, across the root's death and return.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use fl_view::JobEvent;

/// Pause before the root is asked again.
const RETRY: Duration = Duration::from_millis(300);
/// Events that were read and not looked at yet.
const EVENTS_MAX: usize = 1_024;

/// What became known of a job.
#[derive(Debug, Clone)]
pub enum News {
    /// The root tells it.
    Told(JobEvent),
    /// The root is not reached.
    Away {
        /// In the command's words.
        why: String,
    },
}

/// A followed job. Each finished round is told once, whatever the root repeats.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<News>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    /// Follows `job` of the root whose home is `home`. `xtask` guards the command that does it.
    pub fn start(xtask: PathBuf, cloud_root: PathBuf, home: PathBuf, job: &str) -> Self {
        let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
        let ended = Arc::new(AtomicBool::new(false));
        let follower = Follower {
            xtask,
            cloud_root,
            home,
            job: job.to_owned(),
            ended: ended.clone(),
            told: BTreeSet::new(),
        };
        thread::spawn(move || follower.follow(&sender));
        Self { events, ended }
    }

    /// What comes next; none when nothing came in time.
    pub fn next(&self, bound: Duration) -> Result<Option<News>> {
        match self.events.recv_timeout(bound) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("nobody follows the job any more")
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

struct Follower {
    xtask: PathBuf,
    cloud_root: PathBuf,
    home: PathBuf,
    job: String,
    ended: Arc<AtomicBool>,
    told: BTreeSet<u32>,
}

impl Follower {
    fn follow(mut self, sender: &SyncSender<News>) {
        while !self.ended.load(Ordering::SeqCst) {
            let why = match self.listen(sender) {
                Ok(Some(why)) => why,
                Ok(None) => return,
                Err(error) => format!("{error:#}"),
            };
            if sender.send(News::Away { why }).is_err() {
                return;
            }
            thread::sleep(RETRY);
        }
    }

    /// Reads until the job is over (then none), or the root is away (then why).
    fn listen(&mut self, sender: &SyncSender<News>) -> Result<Option<String>> {
        let mut child = self
            .command()
            .spawn()
            .context("cannot run cloud-root job watch")?;
        // Its end closes the guard's pipe, and with it ends the command.
        let _stdin = child.stdin.take();
        let over = self.read(&mut child, sender);
        if over {
            drop(_stdin);
            let _ = child.wait();
            return Ok(None);
        }
        let output = child
            .wait_with_output()
            .context("cannot wait for cloud-root job watch")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("cloud-root job watch ended");
        Ok(Some(last.to_owned()))
    }

    /// Passes events on; whether there is nothing more to read or nobody to tell.
    fn read(&mut self, child: &mut Child, sender: &SyncSender<News>) -> bool {
        let Some(stdout) = child.stdout.take() else {
            return false;
        };
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return false };
            let Ok(event) = serde_json::from_str::<JobEvent>(&line) else {
                // Of a newer root.
                continue;
            };
            if let JobEvent::Done(round) = &event
                && !self.told.insert(round.round)
            {
                continue;
            }
            let over = matches!(event, JobEvent::Ended { .. });
            if sender.send(News::Told(event)).is_err() || over || self.ended.load(Ordering::SeqCst)
            {
                return true;
            }
        }
        false
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.xtask);
        command
            .args(["guard", "--"])
            .arg(&self.cloud_root)
            .args(["job", "watch", &self.job, "--json", "--home"])
            .arg(&self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}
