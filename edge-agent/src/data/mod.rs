//! A device's own rows: a CSV file, plain or gzip, as the raw columns and answers that a job asks for.
//!
//! The file is read as a stream. What is kept is bounded by [`CELLS_MAX`]; nothing is kept of rows that
//! neither train nor test, or whose label is missing.

mod cells;
mod columns;
mod error;
mod source;
mod split;

use std::io;
use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use fl_model::{DataSpec, Digest, Label, Split};

use columns::{Answer, Columns, Header};
pub use error::DataError;
use source::{Exceeded, Source};
use split::{Part, Splitter};

/// Most rows × raw columns that are kept of a file: 256 MiB of numbers.
pub const CELLS_MAX: usize = 1 << 26;

/// What the rows should give.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Indices of classes.
    Classes(Vec<u32>),
    /// Numbers.
    Values(Vec<f32>),
}

impl Answers {
    /// One per row.
    pub fn len(&self) -> usize {
        match self {
            Answers::Classes(classes) => classes.len(),
            Answers::Values(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn none_yet(label: &Label) -> Self {
        match label.classes() {
            Some(_) => Answers::Classes(Vec::new()),
            None => Answers::Values(Vec::new()),
        }
    }

    fn push(&mut self, answer: Answer) {
        match (self, answer) {
            (Answers::Classes(classes), Answer::Class(class)) => classes.push(class),
            (Answers::Values(values), Answer::Value(value)) => values.push(value),
            // Both kinds follow from the same label.
            _ => unreachable!("answers of two kinds from one label"),
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Answers::Classes(classes) => Answers::Classes(classes.split_off(at)),
            Answers::Values(values) => Answers::Values(values.split_off(at)),
        }
    }

    fn append(&mut self, other: &Self) {
        match (self, other) {
            (Answers::Classes(classes), Answers::Classes(more)) => classes.extend(more),
            (Answers::Values(values), Answers::Values(more)) => values.extend(more),
            // Files are pooled under one job, so under one label.
            _ => unreachable!("answers of two kinds from one label"),
        }
    }
}

/// Labelled rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// Raw columns `[n, columns]`, row-major, in the job's order; NaN is a missing value.
    pub raw: Vec<f32>,
    /// One answer per row.
    pub answers: Answers,
}

impl Rows {
    fn none_yet(label: &Label) -> Self {
        Self {
            raw: Vec::new(),
            answers: Answers::none_yet(label),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Appends the rows of another file read for the same job.
    pub fn append(&mut self, other: &Self) {
        self.raw.extend_from_slice(&other.raw);
        self.answers.append(&other.answers);
    }
}

/// A data file as one job sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalData {
    /// Rows to train on.
    pub train: Rows,
    /// Rows to be tested on.
    pub test: Rows,
    /// Rows in the file.
    pub rows_in_file: u64,
    /// Rows that would have trained or tested, had they a label.
    pub unlabelled: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// Reads a file for a job; `split` wins over the job's own.
///
/// # Errors
/// Every [`DataError`].
pub fn load(path: &Path, spec: &DataSpec, split: Option<&Split>) -> Result<LocalData, DataError> {
    let source = Source::open(path)?;
    let (digest, gzip) = (source.digest(), source.gzip);
    let file = path.display().to_string();
    let mut reader = ReaderBuilder::new().from_reader(source);
    let read = read_rows(&file, &mut reader, spec, split.unwrap_or(&spec.split));
    match read {
        Ok(mut data) => {
            data.digest = digest.get();
            Ok(data)
        }
        // Damage shows in the text before it shows in the checksum behind it: it is what to name.
        Err(_) if gzip && let Err(source) = drain(reader.get_mut()) => {
            Err(DataError::Gzip { file, source })
        }
        Err(error) => Err(error),
    }
}

/// Reads the rest of a file, as far as its bounds allow.
fn drain(source: &mut Source) -> Result<(), io::Error> {
    match io::copy(source, &mut io::sink()) {
        Err(error) if !error.get_ref().is_some_and(|e| e.is::<Exceeded>()) => Err(error),
        _ => Ok(()),
    }
}

fn read_rows(
    file: &str,
    reader: &mut Reader<Source>,
    spec: &DataSpec,
    split: &Split,
) -> Result<LocalData, DataError> {
    let gzip = reader.get_ref().gzip;
    let failed = |error: csv::Error| explain(error, file, gzip);
    let header = Header::new(file, reader.byte_headers().map_err(failed)?)?;
    let columns = Columns::new(&header, spec)?;
    let splitter = Splitter::new(&header, split)?;

    let mut collector = Collector::new(&columns, &spec.label);
    let mut record = ByteRecord::new();
    let mut rows = 0u64;
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let part = splitter.part(&header, &record, rows)?;
        collector.take(&header, &record, rows, part)?;
        rows += 1;
    }
    if rows == 0 {
        let file = file.to_owned();
        return Err(DataError::NoRows { file });
    }
    let data = collector.finish(splitter.first_test_row(rows), rows);
    check_parts(file, &data, &splitter)?;
    check_classes(file, &data.train, &spec.label)?;
    Ok(data)
}

struct Collector<'a> {
    columns: &'a Columns,
    train: Rows,
    test: Rows,
    /// Of rows whose part is not known yet: their numbers in the file.
    later: Vec<u64>,
    unlabelled: u64,
}

impl<'a> Collector<'a> {
    fn new(columns: &'a Columns, label: &Label) -> Self {
        Self {
            columns,
            train: Rows::none_yet(label),
            test: Rows::none_yet(label),
            later: Vec::new(),
            unlabelled: 0,
        }
    }

    fn take(
        &mut self,
        header: &Header,
        record: &ByteRecord,
        row: u64,
        part: Part,
    ) -> Result<(), DataError> {
        if part == Part::Unused {
            return Ok(());
        }
        let Some(answer) = self.columns.answer(header, record, row)? else {
            self.unlabelled += 1;
            return Ok(());
        };
        let kept = self.train.raw.len() + self.test.raw.len();
        if kept + self.columns.width() > CELLS_MAX {
            return Err(DataError::TooLarge {
                file: header.file.clone(),
                what: "the number of rows × columns in use",
                limit: CELLS_MAX as u64,
            });
        }
        let rows = match part {
            Part::Test => &mut self.test,
            _ => &mut self.train,
        };
        self.columns
            .push_inputs(header, record, row, &mut rows.raw)?;
        rows.answers.push(answer);
        if part == Part::Later {
            self.later.push(row);
        }
        Ok(())
    }

    fn finish(mut self, first_test_row: u64, rows_in_file: u64) -> LocalData {
        if !self.later.is_empty() {
            let trains = self.later.partition_point(|&row| row < first_test_row);
            let raw = self.train.raw.split_off(trains * self.columns.width());
            let answers = self.train.answers.split_off(trains);
            self.test = Rows { raw, answers };
        }
        LocalData {
            train: self.train,
            test: self.test,
            rows_in_file,
            unlabelled: self.unlabelled,
            digest: Digest([0; 32]),
        }
    }
}

fn check_parts(file: &str, data: &LocalData, splitter: &Splitter) -> Result<(), DataError> {
    for (part, rows, train) in [("training", &data.train, true), ("test", &data.test, false)] {
        if rows.is_empty() {
            return Err(DataError::NoPart {
                file: file.to_owned(),
                part,
                why: splitter.why_empty(train, data.rows_in_file, data.unlabelled),
            });
        }
    }
    Ok(())
}

fn check_classes(file: &str, train: &Rows, label: &Label) -> Result<(), DataError> {
    let Answers::Classes(classes) = &train.answers else {
        return Ok(());
    };
    let Some(only) = classes
        .first()
        .filter(|first| classes.iter().all(|c| c == *first))
    else {
        return Ok(());
    };
    let class = match label {
        Label::Class { classes, .. } => format!("{:?}", classes[*only as usize]),
        Label::Above { limit, .. } if *only == 0 => format!("0 (not above {limit})"),
        Label::Above { limit, .. } => format!("1 (above {limit})"),
        Label::Value { .. } => only.to_string(),
    };
    Err(DataError::OneClass {
        file: file.to_owned(),
        rows: classes.len(),
        class,
        column: label.column().to_owned(),
    })
}

/// What an error of the reader means.
fn explain(error: csv::Error, file: &str, gzip: bool) -> DataError {
    let file = file.to_owned();
    match error.into_kind() {
        ErrorKind::Io(source) => {
            let exceeded = source.get_ref().and_then(|e| e.downcast_ref::<Exceeded>());
            if let Some(&Exceeded { what, limit }) = exceeded {
                return DataError::TooLarge { file, what, limit };
            }
            match gzip {
                true => DataError::Gzip { file, source },
                false => DataError::Read { file, source },
            }
        }
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => DataError::Ragged {
            file,
            line: pos.map_or(0, |pos| pos.line()),
            expected: expected_len,
            found: len,
        },
        // Byte records fail in no other way; the text says what it is should that change.
        other => DataError::Read {
            file,
            source: io::Error::other(format!("{other:?}")),
        },
    }
}

#[cfg(test)]
mod tests;
