//! A device's newest rows on disk: what a command has given, as far as the bounds allow.
//!
//! ```text
//! ring/00000000000000000000.rows     segments, named by the number of their first row
//!      00000000000000012500.rows     the last one grows
//!
//! 5f1c9f6e time,temperature          the header, in every segment
//! 3b0c1a77 2024-05-31T23:00,21.5     a row; before each line, the CRC-32 of its text
//! 00000000                           no text: rows are missing here
//! ```
//!
//! Rows are numbered from 0 as they come. A full segment is flushed and a new one begun; the oldest is
//! removed when the others hold enough rows, or when the next could exceed the bytes. A process that is
//! killed leaves at most a torn last line, which the next start cuts off. Closed segments do not change,
//! and rows are only ever added to the last one: hard links and two numbers are a snapshot.

mod folder;
mod lines;
#[cfg(test)]
mod tests;
mod text;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use fl_runtime::store::{StoreError, sync_folder};

pub(crate) use folder::remove_folder;
use folder::{Whole, name, segments_in};
pub use folder::{header_in, rows_in};
pub(crate) use lines::{Line, Splitter};
use lines::{PREFIX_BYTES, encode};
pub use text::RingText;

/// Segments in which the bounds are counted out.
const SEGMENTS: u64 = 8;

/// Longest line of a ring, in bytes without its end, with which it is read as a data file's is.
const LINE_BYTES_MAX: u64 = crate::data::LINE_BYTES_MAX - 1;

/// Bytes that are read of a segment at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// What is added to the ring's name for rows that were set aside.
const ASIDE: &str = "aside";

/// What is added to the ring's name while it changes places with the rows aside.
const PARKED: &str = "parked";

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most rows: the newest count.
    pub rows_max: u64,
    /// Most bytes on disk.
    pub bytes_max: u64,
}

impl Bounds {
    fn segment_rows(&self) -> u64 {
        self.rows_max.div_ceil(SEGMENTS).max(1)
    }

    fn segment_bytes(&self) -> u64 {
        self.bytes_max / SEGMENTS
    }

    /// Most bytes of a line: a header and a row of this length fit a segment.
    pub fn line_bytes_max(&self) -> usize {
        let own = (self.segment_bytes() / 2).saturating_sub(2 * (PREFIX_BYTES as u64 + 1));
        own.min(LINE_BYTES_MAX) as usize
    }
}

/// What a header means to the rows that are there.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// There were none.
    New,
    /// They have the same columns.
    Same,
    /// They had other columns and lie in another folder now.
    Aside {
        /// How many of them.
        rows: u64,
        /// Their folder.
        folder: PathBuf,
    },
    /// They had other columns and are removed: of those aside there are more.
    Removed {
        /// How many of them.
        rows: u64,
        /// The folder of those aside.
        folder: PathBuf,
    },
    /// Rows with these columns were aside and are back; where there were others, they are aside now.
    Back {
        /// How many are back.
        rows: u64,
        /// How many are aside now.
        aside: u64,
        /// The folder of those.
        folder: PathBuf,
    },
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    rows: u64,
    bytes: u64,
}

/// The writing side; one per ring.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    bounds: Bounds,
    /// Empty where there is none yet.
    header: Vec<u8>,
    segments: VecDeque<Segment>,
    /// The last segment, open for appending.
    file: Option<File>,
    gap: bool,
    is_flushed: bool,
}

impl Ring {
    /// Opens the ring in `folder`, which is created when it does not exist, and cuts off what a killed
    /// process has left of a row. What comes next does not follow what is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        end_exchange(folder)?;
        Self::open_one(folder, bounds)
    }

    fn open_one(folder: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("create folder", folder))?;
        let mut ring = Self {
            folder: folder.to_owned(),
            bounds,
            header: Vec::new(),
            segments: VecDeque::new(),
            file: None,
            gap: true,
            is_flushed: true,
        };
        let mut found = segments_in(folder)?;
        while let Some((first, bytes)) = found.pop() {
            if ring.reopen(first, bytes)? {
                break;
            }
        }
        let mut next = ring.segments.front().map_or(0, |last| last.first);
        for (first, bytes) in found.into_iter().rev() {
            let rows = next - first;
            ring.segments.push_front(Segment { first, rows, bytes });
            next = first;
        }
        ring.make_room(0)?;
        Ok(ring)
    }

    /// Opens the last segment for appending; false where nothing in it can be read, and it is removed.
    fn reopen(&mut self, first: u64, bytes: u64) -> Result<bool, StoreError> {
        let path = self.path(first);
        let whole = Whole::of(&path)?;
        if whole.bytes < bytes {
            tracing::warn!(
                "{}: its last {} bytes are no whole row, as a process leaves them that is killed: they are \
                 cut off",
                path.display(),
                bytes - whole.bytes
            );
        }
        if whole.header.is_empty() {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            return Ok(false);
        }
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(StoreError::io("open", &path))?;
        file.set_len(whole.bytes)
            .map_err(StoreError::io("shorten", &path))?;
        self.header = whole.header;
        self.file = Some(file);
        self.segments.push_front(Segment {
            first,
            rows: whole.rows,
            bytes: whole.bytes,
        });
        Ok(true)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The header line; empty where nothing was ever received.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The numbers of the rows that count: the newest, as many as the bounds say.
    pub fn range(&self) -> Range<u64> {
        let end = self.end();
        let first = self.segments.front().map_or(0, |segment| segment.first);
        first.max(end.saturating_sub(self.bounds.rows_max))..end
    }

    fn end(&self) -> u64 {
        let last = self.segments.back();
        last.map_or(0, |segment| segment.first + segment.rows)
    }

    /// A command begins with this header. Rows with other columns are set aside, where fewer make room for
    /// them; rows aside that have these columns come back.
    ///
    /// # Errors
    /// [`StoreError`]; no row is taken until another attempt goes well.
    pub fn begin(&mut self, header: &[u8]) -> Result<Begun, StoreError> {
        if self.header.is_empty() {
            // An attempt before this one may have failed anywhere.
            *self = Self::open(&self.folder, self.bounds)?;
        }
        if self.header == header {
            return Ok(Begun::Same);
        }
        let begun = self.change(header);
        if begun.is_err() {
            self.file = None;
            self.header.clear();
            self.segments.clear();
        }
        begun
    }

    fn change(&mut self, header: &[u8]) -> Result<Begun, StoreError> {
        self.flush()?;
        self.file = None;
        let (rows, end) = (self.rows(), self.end());
        let folder = self.folder.with_extension(ASIDE);
        let aside = match folder.is_dir() {
            true => Some(Self::open_one(&folder, self.bounds)?),
            false => None,
        };
        let aside_rows = aside.as_ref().map_or(0, Self::rows);
        if aside.is_some_and(|aside| aside.header == header) && aside_rows > 0 {
            self.bring_back(&folder)?;
            return Ok(Begun::Back {
                rows: aside_rows,
                aside: rows,
                folder,
            });
        }
        let begun = match rows {
            0 => Begun::New,
            _ if rows < aside_rows => Begun::Removed { rows, folder },
            _ => {
                remove_folder(&folder)?;
                rename(&self.folder, &folder)?;
                fs::create_dir(&self.folder)
                    .map_err(StoreError::io("create folder", &self.folder))?;
                self.segments.clear();
                Begun::Aside { rows, folder }
            }
        };
        while let Some(segment) = self.segments.pop_front() {
            self.remove(segment.first)?;
        }
        self.header = header.to_vec();
        self.start_segment(end)?;
        Ok(begun)
    }

    /// Changes places with the rows in `aside`; where there are none here, nothing is aside then.
    fn bring_back(&mut self, aside: &Path) -> Result<(), StoreError> {
        match self.rows() {
            0 => remove_folder(&self.folder)?,
            _ => rename(&self.folder, &self.folder.with_extension(PARKED))?,
        }
        rename(aside, &self.folder)?;
        *self = Self::open(&self.folder, self.bounds)?;
        Ok(())
    }

    fn rows(&self) -> u64 {
        let range = self.range();
        range.end - range.start
    }

    /// Rows are missing between those that are there and the next.
    pub fn gap(&mut self) {
        self.gap = true;
    }

    /// Appends rows, each a line without its end, in as few writes as their segments take.
    ///
    /// # Errors
    /// [`StoreError`]: the rows that were not written are lost, and what is on disk is whole.
    pub fn append<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        if self.header.is_empty() {
            let early = io::Error::other("a header comes first");
            return Err(StoreError::io("write rows to", &self.folder)(early));
        }
        for row in rows {
            let mut line = Vec::with_capacity(row.len() + 2 * (PREFIX_BYTES + 1));
            if self.gap && self.end() + batch.rows > self.range().start {
                encode(b"", &mut line);
            }
            encode(row, &mut line);
            if self.is_full(&batch, line.len() as u64) {
                self.write(&mut batch)?;
                self.start_segment(self.end())?;
            }
            self.gap = false;
            batch.bytes.extend_from_slice(&line);
            batch.rows += 1;
        }
        self.write(&mut batch)
    }

    fn is_full(&self, batch: &Batch, more_bytes: u64) -> bool {
        let Some(last) = self.segments.back().filter(|_| self.file.is_some()) else {
            return true;
        };
        let bytes = last.bytes + batch.bytes.len() as u64 + more_bytes;
        last.rows + batch.rows >= self.bounds.segment_rows() || bytes > self.bounds.segment_bytes()
    }

    fn write(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let written = match (self.segments.back_mut(), self.file.as_mut()) {
            _ if batch.rows == 0 => return Ok(()),
            (Some(last), Some(file)) => {
                self.is_flushed = false;
                let written = file.write_all(&batch.bytes);
                match &written {
                    Ok(()) => {
                        last.rows += batch.rows;
                        last.bytes += batch.bytes.len() as u64;
                    }
                    // A part of a row may be there.
                    Err(_) => file.set_len(last.bytes).unwrap_or_default(),
                }
                written
            }
            _ => Err(io::Error::other("no segment is open")),
        };
        *batch = Batch::default();
        written.map_err(|error| {
            self.gap = true;
            StoreError::io("write rows to", &self.folder)(error)
        })
    }

    /// Flushes what was written: after a power cut it is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if let Some(file) = self.file.as_ref().filter(|_| !self.is_flushed) {
            file.sync_data()
                .map_err(StoreError::io("flush", &self.folder))?;
        }
        self.is_flushed = true;
        Ok(())
    }

    /// Whether [`Self::flush`] has nothing to do.
    pub fn is_flushed(&self) -> bool {
        self.is_flushed
    }

    fn start_segment(&mut self, first: u64) -> Result<(), StoreError> {
        self.flush()?;
        self.file = None;
        self.make_room(self.bounds.segment_bytes())?;
        let path = self.path(first);
        let mut line = Vec::new();
        encode(&self.header, &mut line);
        // An empty segment may be there: no row of it was ever written.
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let mut file = made.map_err(StoreError::io("create", &path))?;
        file.write_all(&line)
            .map_err(StoreError::io("write", &path))?;
        drop(file);
        let file = OpenOptions::new().append(true).open(&path);
        self.file = Some(file.map_err(StoreError::io("open", &path))?);
        self.segments.retain(|segment| segment.first != first);
        self.segments.push_back(Segment {
            first,
            rows: 0,
            bytes: line.len() as u64,
        });
        self.is_flushed = false;
        sync_folder(&self.folder)
    }

    /// Removes the oldest segments: those that the rest can do without, and as many as it takes for `bytes`
    /// more.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        while let Some(oldest) = self.segments.front().copied() {
            let end = self.end();
            let rest = end - (oldest.first + oldest.rows);
            let held: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
            let is_needed = rest < self.bounds.rows_max && held + bytes <= self.bounds.bytes_max;
            if is_needed || self.segments.len() == 1 {
                return Ok(());
            }
            self.remove(oldest.first)?;
            self.segments.pop_front();
        }
        Ok(())
    }

    fn remove(&self, first: u64) -> Result<(), StoreError> {
        let path = self.path(first);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Links the segments of all rows that count into `folder`, which must be on the same file system, and
    /// gives the rows' numbers. What the ring does next does not change them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn link_into(&mut self, folder: &Path) -> Result<Range<u64>, StoreError> {
        self.flush()?;
        let range = self.range();
        for segment in &self.segments {
            if segment.first + segment.rows <= range.start && segment.rows > 0 {
                continue;
            }
            let (from, to) = (self.path(segment.first), folder.join(name(segment.first)));
            // Some file systems know no links.
            let linked = fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop));
            linked.map_err(StoreError::io("link or copy", &from))?;
        }
        Ok(range)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(name(first))
    }
}

/// Ends what [`Ring::bring_back`] has begun, or takes it back where it has come to half of it only.
fn end_exchange(folder: &Path) -> Result<(), StoreError> {
    let parked = folder.with_extension(PARKED);
    let aside = folder.with_extension(ASIDE);
    match parked.is_dir() {
        true if !folder.exists() => rename(&parked, folder),
        true if !aside.exists() => rename(&parked, &aside),
        // No kill leaves all three.
        _ => remove_folder(&parked),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("rename", from))
}

/// Rows of one segment that are written at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    rows: u64,
}
