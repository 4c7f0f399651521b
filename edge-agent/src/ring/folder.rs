//! The segments in a ring's folder.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use fl_runtime::store::StoreError;

use super::lines::{PREFIX_BYTES, decode};
use super::{LINE_BYTES_MAX, Line, PIECE_BYTES, Splitter};

/// Ends the name of a segment.
const SUFFIX: &str = ".rows";

/// Digits of a segment's name: of any number of 64 bits.
const NAME_DIGITS: usize = 20;

/// How many rows of a ring in `folder` count, which another process may be writing.
///
/// # Errors
/// [`StoreError`].
pub fn rows_in(folder: &Path, rows_max: u64) -> Result<u64, StoreError> {
    let Some((first, rows)) = ends_in(folder)?.map(|(first, last)| (first, last.rows)) else {
        return Ok(0);
    };
    let oldest = segments_in(folder)?
        .first()
        .map_or(first, |(oldest, _)| *oldest);
    Ok((first - oldest + rows).min(rows_max))
}

/// The header of a ring in `folder`, where there is one.
///
/// # Errors
/// [`StoreError`].
pub fn header_in(folder: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let header = ends_in(folder)?.map(|(_, last)| last.header);
    Ok(header.filter(|header| !header.is_empty()))
}

/// First row and contents of the last segment; none where there is no ring.
pub(super) fn ends_in(folder: &Path) -> Result<Option<(u64, Whole)>, StoreError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let Some((first, _)) = segments_in(folder)?.pop() else {
        return Ok(None);
    };
    Ok(Some((first, Whole::of(&folder.join(name(first)))?)))
}

/// What is whole in the last segment.
#[derive(Default)]
pub(super) struct Whole {
    /// Empty where not even that is.
    pub(super) header: Vec<u8>,
    pub(super) rows: u64,
    /// Up to the end of the last line that is whole.
    pub(super) bytes: u64,
    /// Damaged lines since: rows that cannot be read, where a good one follows.
    damaged: u64,
}

impl Whole {
    /// Reads a segment.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let mut file = File::open(path).map_err(StoreError::io("open", path))?;
        let mut splitter = Splitter::new(LINE_BYTES_MAX as usize + PREFIX_BYTES);
        let mut piece = vec![0; PIECE_BYTES];
        let mut whole = Self::default();
        let mut at = 0u64;
        loop {
            let read = file.read(&mut piece);
            let read = read.map_err(StoreError::io("read", path))?;
            if read == 0 {
                return Ok(whole);
            }
            let mut ends = (at + 1..)
                .zip(&piece[..read])
                .filter(|(_, byte)| **byte == b'\n');
            splitter.push(&piece[..read], |line| {
                // As many lines are handed out as end in the piece.
                let end = ends.next().map_or(0, |(end, _)| end);
                whole.take(line, end);
            });
            at += read as u64;
        }
    }

    fn take(&mut self, line: Line<'_>, end: u64) {
        let text = match line {
            Line::Text(line) => decode(line),
            Line::TooLong => None,
        };
        match text {
            None => self.damaged += 1,
            Some(header) if self.bytes == 0 && self.damaged == 0 => {
                self.header = header.to_vec();
                self.bytes = end;
            }
            // Rows without a header are of no use.
            Some(_) if self.header.is_empty() => {}
            Some(row) => {
                self.rows += std::mem::take(&mut self.damaged) + u64::from(!row.is_empty());
                self.bytes = end;
            }
        }
    }
}

/// The name of the segment that begins with this row.
pub(super) fn name(first: u64) -> String {
    format!("{first:0NAME_DIGITS$}{SUFFIX}")
}

/// The segments of a folder in the order of their rows: number of the first row, bytes.
pub(super) fn segments_in(folder: &Path) -> Result<Vec<(u64, u64)>, StoreError> {
    let failed = || StoreError::io("list", folder);
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let file = entry.file_name();
        let first = file.to_str().and_then(|file| file.strip_suffix(SUFFIX));
        let first = first.filter(|first| first.len() == NAME_DIGITS);
        if let Some(first) = first.and_then(|first| first.parse().ok()) {
            let bytes = entry.metadata().map_err(failed())?.len();
            segments.push((first, bytes));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Removes a folder with all that is in it, where there is one.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
