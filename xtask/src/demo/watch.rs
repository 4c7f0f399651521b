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
use serde::Deserialize;

/// Pause before the root is asked again.
const RETRY: Duration = Duration::from_millis(300);
/// Events that were read and not looked at yet.
const EVENTS_MAX: usize = 1_024;

/// A round that is over, as the root tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct RoundReport {
    /// Its number; 0 gathers statistics.
    pub round: u32,
    /// `statistics` or `train`.
    pub phase: String,
    /// `merged` or `no_quorum`.
    pub outcome: String,
    /// Devices in it.
    pub participants: usize,
    /// Mean training loss of the last local epoch.
    pub train_loss: Option<f64>,
    /// Mean loss on the test rows.
    pub loss: Option<f64>,
    /// Share of test rows told right.
    pub accuracy: Option<f64>,
    /// Mean absolute error on the test rows, for regression.
    pub absolute_error: Option<f64>,
    /// Bytes of contributions.
    pub edge_up_bytes: u64,
    /// Bytes of partial sums.
    pub fog_up_bytes: u64,
    /// Bytes of plans and objects to the devices.
    pub down_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Its trace.
    pub trace_id: String,
    /// Who was asked and is not in.
    pub missing: Vec<Absence>,
    /// Roots that took over during it.
    #[serde(default)]
    pub failovers: u32,
}

impl RoundReport {
    /// Whether it made a new model.
    pub fn trained(&self) -> bool {
        self.phase == "train" && self.outcome == "merged"
    }
}

/// A device, or a whole region, that was asked and is not in a round.
#[derive(Debug, Clone, Deserialize)]
pub struct Absence {
    /// The device; none for a whole region.
    pub device: Option<String>,
    /// Its region.
    pub region: String,
    /// Why it is not in.
    pub reason: String,
}

/// Something that happened to the job.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JobEvent {
    /// A phase of a round began.
    Opened {
        /// Round.
        round: u32,
        /// Phase.
        phase: String,
    },
    /// A region's partial sum is in.
    Accepted {
        /// Round.
        round: u32,
        /// Phase.
        phase: String,
        /// Region.
        region: String,
        /// Devices in it.
        devices: u32,
    },
    /// A round is over.
    Done(Box<RoundReport>),
    /// Too few devices are there.
    Waiting {
        /// Devices connected.
        online: u32,
        /// Devices needed.
        quorum: u32,
    },
    /// The job is over.
    Ended {
        /// `finished` or `stopped`.
        how: String,
    },
    /// The root is not reached.
    #[serde(skip)]
    Away {
        /// In the command's words.
        why: String,
    },
    /// Of a newer root.
    #[serde(other)]
    Unknown,
}

/// A followed job. Each finished round is told once, whatever the root repeats.
#[derive(Debug)]
pub struct Watch {
    events: Receiver<JobEvent>,
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

    /// The next event; none when none came in time.
    pub fn next(&self, bound: Duration) -> Result<Option<JobEvent>> {
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
    fn follow(mut self, sender: &SyncSender<JobEvent>) {
        while !self.ended.load(Ordering::SeqCst) {
            let why = match self.listen(sender) {
                Ok(Some(why)) => why,
                Ok(None) => return,
                Err(error) => format!("{error:#}"),
            };
            if sender.send(JobEvent::Away { why }).is_err() {
                return;
            }
            thread::sleep(RETRY);
        }
    }

    /// Reads until the job is over (then none), or the root is away (then why).
    fn listen(&mut self, sender: &SyncSender<JobEvent>) -> Result<Option<String>> {
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
    fn read(&mut self, child: &mut Child, sender: &SyncSender<JobEvent>) -> bool {
        let Some(stdout) = child.stdout.take() else {
            return false;
        };
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return false };
            let Ok(event) = serde_json::from_str::<JobEvent>(&line) else {
                continue;
            };
            if let JobEvent::Done(round) = &event
                && !self.told.insert(round.round)
            {
                continue;
            }
            let over = matches!(event, JobEvent::Ended { .. });
            if sender.send(event).is_err() || over || self.ended.load(Ordering::SeqCst) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_root_writes_them() {
        let read = |text: &str| serde_json::from_str::<JobEvent>(text).unwrap();
        let done = r#"{"event":"done","round":3,"phase":"train","outcome":"merged","participants":11,
            "expected":12,"train_loss":0.4,"loss":0.3,"accuracy":0.8,"absolute_error":null,
            "edge_up_bytes":1,"fog_up_bytes":2,"down_bytes":3,"seconds":0.5,"trace_id":"ab",
            "missing":[{"device":"x","region":"n","reason":"gone"},{"region":"s","reason":"late"}],
            "failovers":1}"#;
        let JobEvent::Done(round) = read(done) else {
            panic!("no round");
        };
        assert!(round.trained() && round.failovers == 1);
        assert_eq!(round.missing[0].device.as_deref(), Some("x"));
        assert_eq!(round.missing[1].device, None);
        let waiting = read(r#"{"event":"waiting","online":2,"quorum":8}"#);
        assert!(matches!(
            waiting,
            JobEvent::Waiting {
                online: 2,
                quorum: 8
            }
        ));
        let new = read(r#"{"event":"promoted","by":"somebody"}"#);
        assert!(matches!(new, JobEvent::Unknown));
        assert!(matches!(
            read(r#"{"event":"ended","how":"finished"}"#),
            JobEvent::Ended { .. }
        ));
    }
}
