//! What a command says to whoever started it.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use fl_model::shell_word;

/// Whether anybody still reads what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Somebody, as far as one can tell.
    There,
    /// Nobody: the other end of the pipe is closed, as `| head` and `| grep -q` leave it.
    Gone,
}

/// Standard output takes nothing, and not because nobody reads it.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

/// Prints `text` as it is. That nobody reads it is no error: the command has done its work, and ends
/// with the status that it would have had.
///
/// # Errors
/// [`OutputError`]: the output is a file on a full disk, for example.
pub fn print(text: impl Display) -> Result<Reader, OutputError> {
    let mut output = io::stdout().lock();
    match write!(output, "{text}").and_then(|()| output.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}

/// Prints `text` and ends its line.
///
/// # Errors
/// As [`print`].
pub fn print_line(text: impl Display) -> Result<Reader, OutputError> {
    print(format_args!("{text}\n"))
}

/// Shows on standard error how far something is; it is overwritten by what comes next.
pub fn show_progress(text: impl Display) {
    // Nobody reads it: there is nobody to tell.
    let _ = write!(io::stderr().lock(), "\r{text}\r");
}

/// Says on standard error why a command failed; returns the status to end with.
pub fn fail(program: &str, error: &(dyn Error + 'static)) -> ExitCode {
    // Nobody reads it: the status says it.
    let _ = writeln!(io::stderr().lock(), "{program}: {}", explain(error));
    ExitCode::FAILURE
}

/// An error and its causes; a cause that the words before it hold already is not said twice.
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        cause = next.source();
    }
    said
}

/// A command of `program` on a home, as it can be pasted into a shell in any folder.
pub fn home_command(program: &str, words: &str, home: &Path) -> String {
    format!("{program} {words} --home {}", path_word(home))
}

/// A path as a shell takes it in any folder.
pub fn path_word(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    shell_word(&absolute.as_deref().unwrap_or(path).to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failed {
        #[error("settings: {0}")]
        Said(#[source] io::Error),
        #[error("settings cannot be used")]
        Unsaid(#[source] io::Error),
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::other("the disk is full");
        let check = |error: Failed, expected: &str| assert_eq!(explain(&error), expected);
        check(Failed::Said(cause()), "settings: the disk is full");
        check(
            Failed::Unsaid(cause()),
            "settings cannot be used: the disk is full",
        );
    }

    #[test]
    fn a_command_is_for_any_folder() {
        let here = std::env::current_dir().unwrap().join("home-1");
        assert_eq!(
            path_word(Path::new("home-1")),
            shell_word(&here.to_string_lossy())
        );
        let quoted = home_command("edge-agent", "run", Path::new("/srv/a home"));
        assert_eq!(quoted, "edge-agent run --home '/srv/a home'");
    }
}
