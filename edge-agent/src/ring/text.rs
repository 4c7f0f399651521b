//! The rows of a ring, or of a snapshot of one, as CSV text.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use fl_runtime::store::StoreError;

use super::folder::{ends_in, name, segments_in};
use super::lines::{PREFIX_BYTES, decode};
use super::{LINE_BYTES_MAX, Line, PIECE_BYTES, Splitter};

/// Header and rows, a line each. An empty line stands where rows are missing: such lines are no rows in
/// CSV.
///
/// Each segment is opened at the start, so that one that the ring removes meanwhile is still read.
#[derive(Debug)]
pub struct RingText {
    segments: VecDeque<(u64, File)>,
    splitter: Splitter,
    cutter: Cutter,
    at: usize,
}

impl RingText {
    /// The rows with these numbers in the segments in `folder`; none where there are no segments.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: &Path, rows: Range<u64>) -> Result<Option<Self>, StoreError> {
        let mut segments = VecDeque::new();
        let found = segments_in(folder)?;
        for (place, (first, _)) in found.iter().enumerate() {
            let ends_before = found
                .get(place + 1)
                .is_some_and(|(next, _)| *next <= rows.start);
            let comes_after = *first > rows.end || (*first == rows.end && !rows.is_empty());
            if ends_before || comes_after {
                continue;
            }
            let path = folder.join(name(*first));
            match File::open(&path) {
                Ok(file) => segments.push_back((*first, file)),
                // The ring has removed it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::io("open", &path)(error)),
            }
        }
        let cutter = Cutter::new(rows);
        Ok((!segments.is_empty()).then_some(Self {
            segments,
            splitter: new_splitter(),
            cutter,
            at: 0,
        }))
    }

    /// The newest rows of a ring that another process may be writing; none where there is no ring.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest(folder: &Path, rows_max: u64) -> Result<Option<Self>, StoreError> {
        let Some((first, last)) = ends_in(folder)? else {
            return Ok(None);
        };
        let end = first + last.rows;
        Self::open(folder, end.saturating_sub(rows_max)..end)
    }

    /// Reads the next piece of the first segment that has one.
    fn more(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; PIECE_BYTES];
        while let Some((first, file)) = self.segments.front_mut() {
            self.cutter.enter(*first);
            let read = file.read(&mut piece)?;
            if read > 0 {
                let cutter = &mut self.cutter;
                self.splitter.push(&piece[..read], |line| cutter.take(line));
                return Ok(true);
            }
            // A last line without an end is torn, or being written.
            self.splitter = new_splitter();
            self.segments.pop_front();
        }
        Ok(false)
    }
}

fn new_splitter() -> Splitter {
    Splitter::new(LINE_BYTES_MAX as usize + PREFIX_BYTES)
}

impl Read for RingText {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.cutter.out.len() {
            self.cutter.out.clear();
            self.at = 0;
            if !self.more()? {
                return Ok(0);
            }
        }
        let left = &self.cutter.out[self.at..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Picks the rows that are asked for out of the lines of segment after segment.
#[derive(Debug)]
struct Cutter {
    rows: Range<u64>,
    header: Option<Vec<u8>>,
    /// The segment's first row; the number of the next row; whether its header is still to come, and
    /// whether it is the right one.
    segment: Option<u64>,
    next: u64,
    header_due: bool,
    fits: bool,
    gap: bool,
    has_rows: bool,
    out: Vec<u8>,
}

impl Cutter {
    fn new(rows: Range<u64>) -> Self {
        Self {
            rows,
            header: None,
            segment: None,
            next: 0,
            header_due: true,
            fits: true,
            gap: false,
            has_rows: false,
            out: Vec::new(),
        }
    }

    fn enter(&mut self, first: u64) {
        if self.segment == Some(first) {
            return;
        }
        self.gap |= self.segment.is_some() && first != self.next;
        self.segment = Some(first);
        self.next = first;
        self.header_due = true;
    }

    fn take(&mut self, line: Line<'_>) {
        let text = match line {
            Line::Text(line) => decode(line),
            Line::TooLong => None,
        };
        if std::mem::take(&mut self.header_due) {
            self.take_header(text);
            return;
        }
        match text {
            Some([]) => self.gap = true,
            text => {
                let number = self.next;
                self.next += 1;
                match text.filter(|_| self.fits) {
                    Some(row) if self.rows.contains(&number) => self.put(row),
                    Some(_) => {}
                    None => self.gap = true,
                }
            }
        }
    }

    fn take_header(&mut self, text: Option<&[u8]>) {
        self.fits = match (&self.header, text) {
            (Some(known), text) => text == Some(known),
            (None, Some(header)) => {
                self.header = Some(header.to_vec());
                self.out.extend_from_slice(header);
                self.out.push(b'\n');
                true
            }
            (None, None) => false,
        };
    }

    fn put(&mut self, row: &[u8]) {
        if std::mem::take(&mut self.gap) && self.has_rows {
            self.out.push(b'\n');
        }
        self.has_rows = true;
        self.out.extend_from_slice(row);
        self.out.push(b'\n');
    }
}
