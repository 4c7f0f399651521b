//! A device's own examples: a CSV file, plain or gzip, as the raw columns and answers that a job asks for; or
//! arrays or images, see [`tensors`].
//!
//! A CSV file is read as a stream. What is kept is bounded by [`CELLS_MAX`]; nothing is kept of rows that
//! neither train nor test, or, where a row is an example, whose label is missing. Windows are cut out of rows
//! that follow each other within one part: a row without a label stays in them as input.
//!
//! The rows of a ring are read as a file is, but for two things: a row that does not fit is left out and
//! counted while most do, as a sensor stammers; and a ring that is too short says how long it must be.

mod cells;
mod columns;
mod error;
mod of_ring;
mod sequence;
mod source;
mod split;
mod tensors;
mod whole;

use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder};
use fl_model::{DataSpec, Digest, Inputs, Label, Split, TableInputs, Window};

use columns::{Answer, Columns, Header};
pub use error::DataError;
pub use of_ring::{check_columns, load_ring};
use sequence::Sequence;
pub use source::LINE_BYTES_MAX;
use source::{Source, drain, explain};
use split::{Part, Splitter};
use whole::{TEST, TRAINING, check_classes, check_parts};

/// Most rows × raw columns, or examples × elements, that are kept: 256 MiB of numbers.
pub const CELLS_MAX: usize = 1 << 26;

/// What the examples should give.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// Indices of classes.
    Classes(Vec<u32>),
    /// Numbers.
    Values(Vec<f32>),
}

impl Answers {
    /// One per example.
    pub fn len(&self) -> usize {
        match self {
            Answers::Classes(classes) => classes.len(),
            Answers::Values(values) => values.len(),
        }
    }

    /// Whether there are none.
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

    fn append(&mut self, other: &Self) {
        match (self, other) {
            (Answers::Classes(classes), Answers::Classes(more)) => classes.extend(more),
            (Answers::Values(values), Answers::Values(more)) => values.extend(more),
            // Files are pooled under one job, so under one label.
            _ => unreachable!("answers of two kinds from one label"),
        }
    }
}

/// The labelled examples of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// What they are made of.
    pub raw: Raw,
    /// One answer per example.
    pub answers: Answers,
}

/// What examples are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    /// Rows of a table, or windows over them.
    Table(Table),
    /// Each of the job's inputs, in its order.
    Tensors(Vec<Tensor>),
}

/// Rows of raw columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Raw columns of a row.
    pub columns: usize,
    /// Raw columns `[n, columns]`, row-major, in the job's order; NaN is a missing value.
    pub numbers: Vec<f32>,
    /// How much each example counts in training, where the job says that they count differently.
    pub weights: Option<Vec<f32>>,
    /// Where examples are windows, the first row of each; otherwise every row is one.
    pub starts: Option<Vec<usize>>,
}

/// The examples of one input, one after the other, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// Of a float32 input; NaN is a missing value.
    Numbers(Vec<f32>),
    /// Of an int64 input.
    Indices(Vec<i64>),
}

impl Rows {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Appends those of another file read for the same job. No window goes from one file to the next.
    pub fn append(&mut self, other: &Self) {
        match (&mut self.raw, &other.raw) {
            (Raw::Table(table), Raw::Table(more)) => table.append(more),
            (Raw::Tensors(tensors), Raw::Tensors(more)) => {
                let pairs = tensors.iter_mut().zip(more);
                pairs.for_each(|(tensor, more)| tensor.append(more));
            }
            // Files are pooled under one job, so with the same inputs.
            _ => unreachable!("a table and tensors from one job"),
        }
        self.answers.append(&other.answers);
    }
}

impl Table {
    fn append(&mut self, other: &Self) {
        let before = self.numbers.len() / self.columns.max(1);
        if let (Some(starts), Some(more)) = (&mut self.starts, &other.starts) {
            starts.extend(more.iter().map(|start| before + start));
        }
        self.numbers.extend_from_slice(&other.numbers);
        if let (Some(weights), Some(more)) = (&mut self.weights, &other.weights) {
            weights.extend(more);
        }
    }
}

impl Tensor {
    fn append(&mut self, other: &Self) {
        match (self, other) {
            (Tensor::Numbers(numbers), Tensor::Numbers(more)) => numbers.extend(more),
            (Tensor::Indices(indices), Tensor::Indices(more)) => indices.extend(more),
            // Its kind is that of the job's input.
            _ => unreachable!("tensors of two kinds for one input"),
        }
    }
}

/// A data file as one job sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalData {
    /// What to train on.
    pub train: Rows,
    /// What to be tested on.
    pub test: Rows,
    /// Rows in the file.
    pub rows_in_file: u64,
    /// Examples that would have trained or tested, had they a label.
    pub unlabelled: u64,
    /// Rows of a ring that do not fit the job.
    pub unfit: u64,
    /// SHA-256 of what was read: a file, the names and bytes of a folder's, or the text of a ring's rows.
    pub digest: Digest,
}

/// Reads a file for a job; `split` wins over the job's own.
///
/// # Errors
/// Every [`DataError`].
pub fn load(path: &Path, spec: &DataSpec, split: Option<&Split>) -> Result<LocalData, DataError> {
    load_prefix(path, path, u64::MAX, spec, split)
}

/// Reads for a job what the first `bytes` of the file were, from a copy or a link of it at `place`; arrays and
/// images as a whole.
///
/// # Errors
/// Every [`DataError`]; they name `path`.
pub fn load_prefix(
    path: &Path,
    place: &Path,
    bytes: u64,
    spec: &DataSpec,
    split: Option<&Split>,
) -> Result<LocalData, DataError> {
    let file = path.display().to_string();
    if let Inputs::Tensors(inputs) = &spec.inputs {
        return tensors::load(file, place, spec, inputs, split);
    }
    if place.is_dir() {
        let problem =
            "it is a folder, and the job asks for columns: set data.file to a CSV file".into();
        return Err(DataError::layout(file, problem));
    }
    let source = Source::open(&file, place, bytes)?;
    load_source(file, source, spec, split)
}

/// The files that a job reads of what lies at `path`, by their names in it; of a file, one without a name.
///
/// # Errors
/// Those of [`DataError`] that keep a job from telling which they are.
pub fn files(
    path: &Path,
    spec: &DataSpec,
    split: Option<&Split>,
) -> Result<Vec<PathBuf>, DataError> {
    match &spec.inputs {
        Inputs::Tensors(inputs) if path.is_dir() => tensors::files(path, spec, inputs, split),
        _ => Ok(vec![PathBuf::new()]),
    }
}

fn load_source(
    file: String,
    source: Source,
    spec: &DataSpec,
    split: Option<&Split>,
) -> Result<LocalData, DataError> {
    let table = of_ring::table_of(&file, spec)?;
    let (digest, gzip) = (source.digest(), source.gzip);
    let mut reader = ReaderBuilder::new().from_reader(source);
    let read = read_rows(
        &file,
        &mut reader,
        spec,
        table,
        split.unwrap_or(&spec.split),
    );
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

fn read_rows(
    file: &str,
    reader: &mut Reader<Source>,
    spec: &DataSpec,
    table: &TableInputs,
    split: &Split,
) -> Result<LocalData, DataError> {
    let (gzip, ring) = (reader.get_ref().gzip, reader.get_ref().ring);
    let failed = |error: csv::Error| explain(error, file, gzip);
    let header = Header::new(file, reader.byte_headers().map_err(failed)?)?;
    if let Some(problem) = table.window.and_then(|window| window.problem(&spec.label)) {
        let file = file.to_owned();
        return Err(DataError::Window { file, problem });
    }
    let columns = Columns::new(&header, table, &spec.label)?;
    let splitter = Splitter::new(&header, split)?;

    let mut collector = Collector::new(&columns, &spec.label, table.window, ring);
    let mut record = ByteRecord::new();
    let mut rows = 0u64;
    let mut line = reader.position().line();
    while reader.read_byte_record(&mut record).map_err(failed)? {
        let before = std::mem::replace(&mut line, reader.position().line());
        if ring && line > before + 1 {
            collector.gap();
        }
        let part = splitter.part(&header, &record, rows);
        match part.and_then(|part| collector.take(&header, &record, rows, part)) {
            Err(error) if ring && error.is_of_one_row() => collector.leave_out(error),
            taken => taken?,
        }
        rows += 1;
    }
    collector.check_fit(rows)?;
    if rows == 0 {
        let file = file.to_owned();
        return Err(DataError::NoRows { file });
    }
    let data = collector.finish(file, &splitter, rows)?;
    let examples = table.window.map_or("rows", |_| "windows");
    check_parts(file, &data, &splitter, examples)?;
    check_classes(file, &data.train, &spec.label, examples)?;
    Ok(data)
}

struct Collector<'a> {
    columns: &'a Columns,
    label: &'a Label,
    window: Option<Window>,
    ring: bool,
    train: Sequence,
    test: Sequence,
    /// Of rows whose part is not known yet: their numbers in the file.
    later: Vec<u64>,
    /// The first of them without a weight, and what is wrong with it.
    unweighted: Option<(u64, DataError)>,
    unlabelled: u64,
    /// Rows that were left out, and what was wrong with the first.
    unfit: u64,
    first_unfit: Option<DataError>,
}

impl<'a> Collector<'a> {
    fn new(columns: &'a Columns, label: &'a Label, window: Option<Window>, ring: bool) -> Self {
        Self {
            columns,
            label,
            window,
            ring,
            train: Sequence::default(),
            test: Sequence::default(),
            later: Vec::new(),
            unweighted: None,
            unlabelled: 0,
            unfit: 0,
            first_unfit: None,
        }
    }

    /// The next row does not follow the last one.
    fn gap(&mut self) {
        self.train.gap();
        self.test.gap();
    }

    /// Goes on without a row.
    fn leave_out(&mut self, why: DataError) {
        self.unfit += 1;
        self.first_unfit.get_or_insert(why);
        self.gap();
    }

    /// Where more rows were left out than not, they are not the ones to blame.
    fn check_fit(&mut self, rows: u64) -> Result<(), DataError> {
        match self.first_unfit.take() {
            Some(why) if self.unfit > rows / 2 => Err(why),
            _ => Ok(()),
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
        let answer = self.columns.answer(header, record, row)?;
        if answer.is_none() && self.window.is_none() {
            self.unlabelled += 1;
            return Ok(());
        }
        let weight = self.columns.weight(header, record, row);
        let weight = self.needed(weight, row, part)?;
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
        let before = rows.raw.len();
        let pushed = self.columns.push_inputs(header, record, row, &mut rows.raw);
        if let Err(error) = pushed {
            rows.raw.truncate(before);
            return Err(error);
        }
        rows.push(row, answer, weight);
        if part == Part::Later {
            self.later.push(row);
        }
        Ok(())
    }

    /// The weight of a row where it trains: what tests counts once. A ring's rows are left out one by one, so that
    /// it must be known of each when it is read.
    fn needed(
        &mut self,
        weight: Result<Option<f32>, DataError>,
        row: u64,
        part: Part,
    ) -> Result<Option<f32>, DataError> {
        match (weight, part) {
            (Err(_), Part::Test) => Ok(Some(1.0)),
            (Err(error), Part::Later) if !self.ring => {
                self.unweighted.get_or_insert((row, error));
                Ok(Some(1.0))
            }
            (weight, _) => weight,
        }
    }

    fn finish(
        mut self,
        file: &str,
        splitter: &Splitter,
        rows_in_file: u64,
    ) -> Result<LocalData, DataError> {
        let columns = self.columns.width();
        if !self.later.is_empty() {
            let first_test_row = splitter.first_test_row(rows_in_file);
            if let Some((row, error)) = self.unweighted.take()
                && row < first_test_row
            {
                return Err(error);
            }
            let trains = self.later.partition_point(|&row| row < first_test_row);
            self.test = self.train.split_off(trains, columns);
        }
        let label = self.label;
        let (train, test) = match &self.window {
            None => (
                self.train.into_rows(columns, label),
                self.test.into_rows(columns, label),
            ),
            Some(window) => {
                check_length(file, &self.train, TRAINING, window)?;
                check_length(file, &self.test, TEST, window)?;
                let (train, without) = self.train.into_windows(columns, label, window);
                self.unlabelled += without;
                let (test, without) = self.test.into_windows(columns, label, window);
                self.unlabelled += without;
                (train, test)
            }
        };
        Ok(LocalData {
            train,
            test,
            rows_in_file,
            unlabelled: self.unlabelled,
            unfit: self.unfit,
            digest: Digest([0; 32]),
        })
    }
}

/// Refuses a part whose rows are too few for one window; one without any rows is explained by the split.
fn check_length(
    file: &str,
    rows: &Sequence,
    part: &'static str,
    window: &Window,
) -> Result<(), DataError> {
    let (all, longest, length) = (rows.len(), rows.longest_run(), window.length);
    if all == 0 || longest >= length as usize {
        return Ok(());
    }
    Err(DataError::NoPart {
        file: file.to_owned(),
        part,
        examples: "windows",
        why: format!(
            "there are {all} {part} rows, of which {longest} at most follow each other in the file, and a \
             window is {length} rows: shorten the job's window, or change the split or the data"
        ),
    })
}

#[cfg(test)]
mod tests;
