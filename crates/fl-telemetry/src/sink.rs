//! `spans.jsonl`: every span that a process exports, also where no collector is.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use crate::collector::ExportError;

/// The file's name in a process's home folder.
pub const SPANS_FILE: &str = "spans.jsonl";
/// At this size the file becomes `spans.jsonl.1`, in place of an older one, and a new one begins [By].
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Appends one `{"resourceSpans": […]}` object per line.
#[derive(Debug)]
pub(crate) struct FileSink {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl FileSink {
    /// Opens `spans.jsonl` in `home` for appending. A line that a killed process left unfinished is ended, so that it
    /// spoils no other.
    pub(crate) fn open(home: &Path) -> Result<Self, ExportError> {
        let path = home.join(SPANS_FILE);
        Self::open_file(&path).map_err(|source| ExportError::File { path, source })
    }

    fn open_file(path: &Path) -> std::io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(path)?;
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(bytes - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
        })
    }

    /// Appends one line.
    pub(crate) fn append(&mut self, request: &ExportTraceServiceRequest) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if self.bytes > 0 && self.bytes + line.len() as u64 > FILE_BYTES_MAX {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            *self = Self::open_file(&self.path.clone())?;
        }
        self.file.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}
