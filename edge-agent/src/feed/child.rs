//! A sensor's command as a child process, under a guard that ends it with us however we end.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::said::Said;
use crate::ring::{Line, Splitter};
use crate::say;
use crate::settings::ENVIRONMENT_PREFIX;

/// How long a command may take over its own end before it is killed, in milliseconds.
pub const GRACE_MS: u64 = 2_000;

/// Bytes that are read of a command at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How long what has ended may still be read from, and what prints no more may run on, in milliseconds.
const LEFT_MS: u64 = 1_000;

/// Longest line of standard error that is repeated, in bytes.
const ERROR_LINE_BYTES_MAX: usize = 512;

/// Lines of standard error that are repeated in a minute.
const ERROR_LINES_MAX: u32 = 60;

/// A running command.
pub(super) struct Child {
    process: Process,
    /// The guard ends the command when this closes.
    guard: Option<ChildStdin>,
    output: Option<ChildStdout>,
    /// Repeats standard error.
    errors: Option<JoinHandle<()>>,
    piece: Vec<u8>,
}

impl Child {
    /// Runs a program and its arguments in a folder. What it says on standard error goes to `on_error`.
    pub(super) fn start(
        words: &[String],
        folder: &Path,
        on_error: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let mut command = Command::from(fl_guard::guarded(program));
        let command = command.args(arguments).current_dir(folder);
        // Passwords of ours are none of its business.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX) {
                command.env_remove(name);
            }
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = process.stderr.take();
        let errors = errors.map(|errors| tokio::spawn(repeat(errors, on_error)));
        Ok(Self {
            guard: process.stdin.take(),
            output: process.stdout.take(),
            errors,
            process,
            piece: vec![0; PIECE_BYTES],
        })
    }

    /// The next piece of its standard output; none when there is no more. May be dropped and called anew.
    pub(super) async fn read(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(output) = &mut self.output else {
            return Ok(None);
        };
        let left = Duration::from_millis(LEFT_MS);
        let read = tokio::select! {
            biased;
            read = output.read(&mut self.piece) => read?,
            // It has ended; a process that it has left behind may hold its output open.
            _ = self.process.wait() => {
                let read = tokio::time::timeout(left, output.read(&mut self.piece)).await;
                read.unwrap_or(Ok(0))?
            }
        };
        if read == 0 {
            self.output = None;
            return Ok(None);
        }
        Ok(Some(&self.piece[..read]))
    }

    /// Its end: by itself where it prints no more, or else asked for, and forced after [`GRACE_MS`]. What it
    /// said on standard error has been handed on by then.
    pub(super) async fn end(mut self) -> io::Result<ExitStatus> {
        let errors = self.errors.take();
        let status = self.ended().await;
        if let Some(errors) = errors {
            // A process that it has left behind may hold it open; what failed there is told there.
            let _ = tokio::time::timeout(Duration::from_millis(LEFT_MS), errors).await;
        }
        status
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        if self.output.take().is_none() {
            let left = Duration::from_millis(LEFT_MS);
            if let Ok(status) = tokio::time::timeout(left, self.process.wait()).await {
                return status;
            }
        }
        drop(self.guard.take());
        self.process.wait().await
    }
}

/// Hands on what a command says on standard error: so many lines a minute, cut to a length. The last needs no
/// end.
async fn repeat(mut errors: impl AsyncRead + Unpin, mut on_error: impl FnMut(&str)) {
    let mut splitter = Splitter::new(ERROR_LINE_BYTES_MAX);
    let mut piece = vec![0; PIECE_BYTES];
    let (mut minute, mut lines, mut left_out) = (Instant::now(), 0, 0u64);
    let (mut is_over, mut in_line) = (false, false);
    while !is_over {
        let read = errors.read(&mut piece).await.unwrap_or(0);
        is_over = read == 0;
        let said = match is_over && in_line {
            true => b"\n",
            false => &piece[..read],
        };
        in_line = !said.ends_with(b"\n");
        if minute.elapsed() >= Said::AGAIN {
            if left_out > 0 {
                on_error(&format!("({left_out} more lines)"));
            }
            (minute, lines, left_out) = (Instant::now(), 0, 0);
        }
        splitter.push(said, |line| {
            let text = match line {
                Line::Text(text) => String::from_utf8_lossy(text),
                Line::TooLong => "(a long line)".into(),
            };
            match lines < ERROR_LINES_MAX {
                true => on_error(&say::cut(text.trim_end(), ERROR_LINE_BYTES_MAX)),
                false => left_out += 1,
            }
            lines += 1;
        });
    }
    if left_out > 0 {
        on_error(&format!("({left_out} more lines)"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::run::lock;

    #[tokio::test]
    async fn every_line_of_standard_error_is_handed_on() {
        let check = async |said: &[u8], expected: &[&str]| {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let heard = lines.clone();
            repeat(said, move |line| lock(&heard).push(line.to_owned())).await;
            assert_eq!(*lock(&lines), expected);
        };
        check(b"", &[]).await;
        check(b"a\n", &["a"]).await;
        check(b"a\r\n\nb", &["a", "", "b"]).await;
        check(&[b'x'; 600], &["(a long line)"]).await;
        let many = [&b"a\n".repeat(60)[..], b"b\nc"].concat();
        let expected = [&["a"; 60][..], &["(2 more lines)"]].concat();
        check(&many, &expected).await;
    }
}
