//! Reading a child's log while it writes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of a log that is looked at for its last lines, in bytes.
const TAIL_BYTES_MAX: u64 = 16 << 10;

/// A child's log file and how far it was read.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
    read_bytes: u64,
    unfinished: Vec<u8>,
}

impl Log {
    /// Starts behind what the file holds now: an earlier run's lines are not read again.
    pub fn from_now_on(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let read_bytes = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            read_bytes,
            unfinished: Vec::new(),
        })
    }

    /// The whole lines that came since the last call.
    pub fn new_lines(&mut self) -> io::Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read_bytes))?;
        self.read_bytes += file.read_to_end(&mut self.unfinished)? as u64;
        let Some(end) = self.unfinished.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.unfinished.split_off(end + 1);
        let whole = std::mem::replace(&mut self.unfinished, rest);
        Ok(String::from_utf8_lossy(&whole)
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// The last `count` lines of the file at `path`, for an error message.
    pub fn tail(path: &Path, count: usize) -> io::Result<Vec<String>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(count);
        Ok(lines[first..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn gives_whole_lines_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "earlier run\n").unwrap();
        let mut log = Log::from_now_on(&path).unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        let mut check = |written: &str, expected: &[&str]| {
            file.write_all(written.as_bytes()).unwrap();
            assert_eq!(log.new_lines().unwrap(), expected, "after {written:?}");
        };
        check("", &[]);
        check("one\ntw", &["one"]);
        check("o", &[]);
        check("\nthree\n", &["two", "three"]);
        assert_eq!(Log::tail(&path, 2).unwrap(), ["two", "three"]);
    }
}
