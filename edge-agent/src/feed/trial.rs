//! A command run for a moment, to see what it gives. Nothing of it is kept.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::child::Child;
use super::intake::{Event, Intake};
use crate::run::lock;
use crate::settings::SensorCommand;

/// How long a command is listened to, in milliseconds.
const LISTEN_MS: u64 = 5_000;

/// Most rows that are waited for.
const ROWS_MAX: u64 = 1_000;

/// What a command gave.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// Its header; empty where it printed none.
    pub(crate) header: Vec<u8>,
    /// Rows that would be kept.
    pub(crate) rows: u64,
    /// Lines that would be refused, with what is wrong with the first.
    pub(crate) refused: u64,
    /// What is wrong with the header, or with the first line that is refused.
    pub(crate) problem: Option<String>,
    /// Whether nothing that it prints can be used.
    pub(crate) is_unusable: bool,
    /// How it ended, where it did by itself.
    pub(crate) ended: Option<String>,
    /// The last line of its standard error.
    pub(crate) said: String,
    /// How long it ran.
    pub(crate) took: Duration,
}

/// Runs a command in `home` until it has given enough, ends, or the time is over.
pub(crate) async fn try_command(command: &SensorCommand, home: &Path) -> Trial {
    let began = Instant::now();
    let mut trial = Trial::default();
    let said = Arc::new(Mutex::new(String::new()));
    let last = said.clone();
    let on_error = move |line: &str| *lock(&last) = line.to_owned();
    let mut child = match Child::start(&command.words, home, on_error) {
        Ok(child) => child,
        Err(error) => {
            trial.ended = Some(format!("cannot be started: {error}"));
            return trial;
        }
    };
    let mut intake = Intake::new(command.bounds.line_bytes_max());
    let listen = tokio::time::sleep(Duration::from_millis(LISTEN_MS));
    tokio::pin!(listen);
    let mut is_over = false;
    while !is_over && !trial.is_unusable && trial.rows < ROWS_MAX {
        tokio::select! {
            () = &mut listen => break,
            read = child.read() => match read {
                Ok(Some(piece)) => trial.take(intake.push(piece)),
                Ok(None) | Err(_) => is_over = true,
            },
        }
    }
    trial.took = began.elapsed();
    if let Ok(status) = child.end().await
        && is_over
    {
        if status.success() {
            trial.take(intake.end());
        }
        trial.ended = Some(format!("ended ({status})"));
    }
    trial.said = lock(&said).clone();
    trial
}

impl Trial {
    fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Header(header) => self.header = header,
                Event::Row(_) => self.rows += 1,
                Event::NoHeader(problem) => {
                    self.problem = Some(problem.to_string());
                    self.is_unusable = true;
                }
                Event::Refused(line, why) => {
                    self.refused += 1;
                    self.problem
                        .get_or_insert_with(|| format!("line {line}: {why}"));
                }
            }
        }
    }
}
