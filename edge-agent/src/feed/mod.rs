//! A sensor's command: what it prints goes into the ring, row by row.
//!
//! ```text
//!  command ─pipe─► Intake (header, rows) ─► Ring
//!     ▲ guard: ends it when this process does
//! ```
//!
//! Rows are taken as fast as they can be written; a command that prints faster waits at its pipe. Rows
//! follow each other in the ring but where some are known to be missing: after a line that was refused, a
//! command that failed, or a time without this agent. No row is in any message.

mod child;
mod intake;
mod said;
pub(crate) mod trial;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fl_runtime::backoff::Backoff;
use fl_runtime::shutdown::Shutdown;
use fl_runtime::store::StoreError;

use crate::ring::{Begun, Ring};
use crate::run::lock;
use crate::settings::SensorCommand;
use child::Child;
pub use child::GRACE_MS;
use intake::{Event, Intake, Refusal};
use said::Said;

/// First and longest wait before a command is started again, in milliseconds.
const RESTART_MS: (u64, u64) = (1_000, 60_000);

/// Rows are flushed this often: a power cut costs no more of them.
const FLUSH: Duration = Duration::from_secs(5);

/// After so long without a line, a hint is given once.
const SILENT: Duration = Duration::from_secs(30);

/// What a command has given since this process began.
#[derive(Debug, Default)]
pub struct Counts {
    received: AtomicU64,
    refused: AtomicU64,
    restarts: AtomicU64,
}

impl Counts {
    /// Rows that were kept.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Lines that were refused, and rows that the disk did not take.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Times that the command was started again.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

/// Runs a command again and again.
pub(crate) struct Feed {
    command: SensorCommand,
    home: PathBuf,
    ring: Arc<Mutex<Ring>>,
    counts: Arc<Counts>,
    refused: Said,
    lost: Said,
    ended: Said,
}

/// How a run of the command went.
struct Ended {
    how: String,
    rows: u64,
    /// Ended with status 0.
    well: bool,
}

impl Feed {
    /// A command that runs in `home`.
    pub(crate) fn new(
        command: SensorCommand,
        home: PathBuf,
        ring: Arc<Mutex<Ring>>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            command,
            home,
            ring,
            counts,
            refused: Said::default(),
            lost: Said::default(),
            ended: Said::default(),
        }
    }

    /// Runs until it is asked to end, and then ends the command.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut backoff = Backoff::between(RESTART_MS.0, RESTART_MS.1);
        loop {
            let ended = self.once(&shutdown).await;
            if shutdown.is_requested() {
                return;
            }
            if ended.rows > 0 {
                backoff.reset();
            }
            if !ended.well {
                lock(&self.ring).gap();
            }
            let wait = backoff.next_wait();
            self.say_end(&ended, wait);
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(wait) => {}
            }
            self.counts.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn say_end(&mut self, ended: &Ended, wait: Duration) {
        let Some(times) = self.ended.again(1, Instant::now()) else {
            return;
        };
        let (program, how, rows) = (self.program(), &ended.how, ended.rows);
        let since = match times {
            1 => String::new(),
            _ => format!(", for the {times}th time since this was said last"),
        };
        let next = crate::say::seconds(wait);
        match ended.well && rows > 0 {
            true => tracing::info!(
                "{program} {how} after {rows} rows{since}; it is started again in {next}"
            ),
            false => tracing::warn!(
                "{program} {how} after {rows} rows{since}; it is started again in {next}"
            ),
        }
    }

    fn program(&self) -> &str {
        self.command.words.first().map_or("", String::as_str)
    }

    async fn once(&mut self, shutdown: &Shutdown) -> Ended {
        let program = self.program().to_owned();
        let said = program.clone();
        let on_error = move |line: &str| tracing::info!("{said} says: {line}");
        let mut child = match Child::start(&self.command.words, &self.home, on_error) {
            Ok(child) => child,
            Err(error) => {
                return Ended {
                    how: format!("cannot be started: {error}"),
                    rows: 0,
                    well: false,
                };
            }
        };
        tracing::debug!("{program} is started");
        let mut intake = Intake::new(self.command.bounds.line_bytes_max());
        let mut run = Taken::default();
        let silent = tokio::time::sleep(SILENT);
        tokio::pin!(silent);
        let mut is_silent = true;
        let mut flush_at = None;
        loop {
            if lock(&self.ring).is_flushed() {
                flush_at = None;
            } else if flush_at.is_none() {
                flush_at = Some(tokio::time::Instant::now() + FLUSH);
            }
            let due = flush_at.unwrap_or_else(tokio::time::Instant::now);
            tokio::select! {
                () = shutdown.requested() => break,
                read = child.read() => match read {
                    Ok(Some(piece)) => {
                        let events = intake.push(piece);
                        is_silent &= events.is_empty();
                        self.take(events, &mut run);
                        if run.is_unusable {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!("what {program} prints cannot be read: {error}");
                        break;
                    }
                },
                () = tokio::time::sleep_until(due), if flush_at.is_some() => self.flush(),
                () = &mut silent, if is_silent => {
                    is_silent = false;
                    tracing::warn!(
                        "{program} has printed no line in {} s: a program that prints into a pipe may hold its \
                         output back; let it flush after each row (python3 -u, stdbuf -oL)",
                        SILENT.as_secs()
                    );
                }
            }
        }
        let status = child.end().await;
        let well = status.as_ref().is_ok_and(ExitStatus::success) && !run.is_unusable;
        if well {
            let events = intake.end();
            self.take(events, &mut run);
        }
        self.flush();
        Ended {
            how: match status {
                _ if run.is_unusable => "was ended".to_owned(),
                Ok(status) => match status.code() {
                    Some(code) if code > fl_guard::SIGNAL_CODE_BASE => {
                        format!("was killed by signal {}", code - fl_guard::SIGNAL_CODE_BASE)
                    }
                    Some(code) => format!("ended with status {code}"),
                    None => format!("ended with its guard ({status})"),
                },
                Err(error) => format!("ended, and its status cannot be told ({error})"),
            },
            rows: run.rows,
            well,
        }
    }

    /// Writes what has come; the other tasks of this thread go on meanwhile.
    fn take(&mut self, events: Vec<Event>, run: &mut Taken) {
        if events.is_empty() {
            return;
        }
        tokio::task::block_in_place(|| {
            let ring = self.ring.clone();
            let mut ring = lock(&ring);
            let mut rows: Vec<Vec<u8>> = Vec::new();
            let mut refusals = 0;
            let mut first = None;
            for event in events {
                match event {
                    Event::Row(row) => {
                        rows.push(row);
                        continue;
                    }
                    Event::Header(header) => self.begin(&mut ring, &header),
                    Event::NoHeader(problem) => {
                        tracing::warn!("{}: {problem}", self.program());
                        run.is_unusable = true;
                    }
                    Event::Refused(line, why) => {
                        refusals += 1;
                        first.get_or_insert((line, why));
                        self.append(&mut ring, &mut rows, run);
                        ring.gap();
                    }
                }
            }
            self.append(&mut ring, &mut rows, run);
            self.say_refused(refusals, first);
        });
    }

    fn begin(&self, ring: &mut Ring, header: &[u8]) {
        match ring.begin(header) {
            Ok(Begun::New | Begun::Same) => {}
            Ok(Begun::Aside { rows, folder }) => tracing::warn!(
                "{} names other columns than before: the {rows} rows under the old ones are set aside in {} \
                 and not trained on any more, until it names these again",
                self.program(),
                folder.display()
            ),
            Ok(Begun::Removed { rows, folder }) => tracing::warn!(
                "{} names other columns than before: the {rows} rows under the old ones are removed, for {} \
                 holds more",
                self.program(),
                folder.display()
            ),
            Ok(Begun::Back {
                rows,
                aside,
                folder,
            }) => tracing::warn!(
                "{} names columns of before again: {rows} rows under them are back, and {aside} under others \
                 are set aside in {}",
                self.program(),
                folder.display()
            ),
            Err(error) => tracing::warn!("the rows of {} cannot be kept: {error}", self.program()),
        }
    }

    fn append(&mut self, ring: &mut Ring, rows: &mut Vec<Vec<u8>>, run: &mut Taken) {
        if rows.is_empty() {
            return;
        }
        let count = rows.len() as u64;
        let written: Result<(), StoreError> = ring.append(rows.iter().map(Vec::as_slice));
        rows.clear();
        match written {
            Ok(()) => {
                run.rows += count;
                self.counts.received.fetch_add(count, Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.refused.fetch_add(count, Ordering::Relaxed);
                if let Some(lost) = self.lost.again(count, Instant::now()) {
                    tracing::error!("{lost} rows of {} are lost: {error}", self.program());
                }
            }
        }
    }

    fn say_refused(&mut self, count: u64, first: Option<(u64, Refusal)>) {
        self.counts.refused.fetch_add(count, Ordering::Relaxed);
        let times = self.refused.again(count, Instant::now());
        if let (Some(times), Some((line, why))) = (times, first) {
            tracing::warn!(
                "{times} lines of {} are left out, line {line} of this run among them: {why}",
                self.program()
            );
        }
    }

    fn flush(&self) {
        let flushed = tokio::task::block_in_place(|| lock(&self.ring).flush());
        if let Err(error) = flushed {
            tracing::error!("rows may not outlive a power cut: {error}");
        }
    }
}

/// What a run of the command has given so far.
#[derive(Debug, Default)]
struct Taken {
    rows: u64,
    is_unusable: bool,
}
