//! Where the job's columns lie in the file, and a row as numbers.

use std::str;

use csv::ByteRecord;
use fl_model::{Feature, Label, TableInputs};

use super::cells;
use super::error::DataError;

/// Names less alike than this are not suggested (Jaro-Winkler, 1 is equal).
const SUGGESTION_MIN: f64 = 0.7;

/// Most column names that a message lists.
const NAMES_SHOWN_MAX: usize = 40;

/// Longest piece of a cell that a message shows, in characters.
const TEXT_SHOWN_MAX: usize = 40;

/// Sources of cyclic features that come from the time column.
const HOUR: &str = "hour";
const MONTH: &str = "month";

/// The header of a file.
pub(super) struct Header {
    pub(super) file: String,
    names: Vec<String>,
}

impl Header {
    pub(super) fn new(file: &str, record: &ByteRecord) -> Result<Self, DataError> {
        let file = file.to_owned();
        let name = |cell: &[u8]| str::from_utf8(cell).map(|name| name.trim().to_owned());
        let names: Result<Vec<_>, _> = record.iter().map(name).collect();
        match names {
            Ok(names) if names.iter().all(String::is_empty) => Err(DataError::Empty { file }),
            Ok(names) => Ok(Self { file, names }),
            Err(_) => Err(DataError::NotUtf8 { file, line: 1 }),
        }
    }

    /// The position of a column.
    pub(super) fn find(&self, column: &str, used_for: &str) -> Result<usize, DataError> {
        let mut found = (0..).zip(&self.names).filter(|(_, name)| *name == column);
        match (found.next(), found.next()) {
            (Some((position, _)), None) => Ok(position),
            (Some(_), Some(_)) => Err(DataError::ColumnTwice {
                file: self.file.clone(),
                column: column.to_owned(),
            }),
            (None, _) => Err(DataError::MissingColumn {
                file: self.file.clone(),
                column: column.to_owned(),
                used_for: used_for.to_owned(),
                hint: self.hint(column),
            }),
        }
    }

    fn hint(&self, column: &str) -> String {
        if let [only] = &self.names[..]
            && only.contains([';', '\t'])
        {
            return "its cells must be separated by commas".to_owned();
        }
        let alike = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &column.to_lowercase());
        let nearest = self
            .names
            .iter()
            .max_by(|a, b| alike(a).total_cmp(&alike(b)));
        match nearest.filter(|name| alike(name) >= SUGGESTION_MIN) {
            Some(name) => format!("the nearest is {name:?}; rename one, or change the job"),
            None => {
                let shown: Vec<&str> = self.names.iter().map(String::as_str).collect();
                let shown = shown[..shown.len().min(NAMES_SHOWN_MAX)].join(", ");
                format!("it has {shown}; rename one, or change the job")
            }
        }
    }

    /// The text of a cell, without blanks around it.
    pub(super) fn text<'a>(&self, cell: &Cell<'a>) -> Result<&'a str, DataError> {
        let text = str::from_utf8(cell.record.get(cell.column).unwrap_or_default());
        text.map(str::trim).map_err(|_| DataError::NotUtf8 {
            file: self.file.clone(),
            line: cell.line(),
        })
    }

    /// Reads a cell, and names it where that fails.
    fn read<T>(
        &self,
        cell: &Cell<'_>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, DataError> {
        let text = self.text(cell)?;
        read(text).map_err(|problem| DataError::Cell {
            file: self.file.clone(),
            line: cell.line(),
            row: cell.row,
            column: self.names.get(cell.column).cloned().unwrap_or_default(),
            text: text.chars().take(TEXT_SHOWN_MAX).collect(),
            problem,
        })
    }
}

/// A cell of a row.
pub(super) struct Cell<'a> {
    pub(super) record: &'a ByteRecord,
    pub(super) row: u64,
    pub(super) column: usize,
}

impl Cell<'_> {
    fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }
}

/// How a raw input column comes out of a row.
enum Input {
    Number(usize),
    Category(usize, Vec<String>),
    Hour(usize),
    Month(usize),
}

/// The answer of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Answer {
    Class(u32),
    Value(f32),
}

/// The job's columns in a file.
pub(super) struct Columns {
    inputs: Vec<Input>,
    label: (usize, Label),
    weight: Option<usize>,
}

impl Columns {
    pub(super) fn new(
        header: &Header,
        table: &TableInputs,
        label: &Label,
    ) -> Result<Self, DataError> {
        let input = |feature: &Feature| Self::input(header, table, feature);
        let inputs: Result<Vec<_>, _> = table.features.features.iter().map(input).collect();
        let column = header.find(label.column(), "is the job's label")?;
        let weight = table.weight.as_ref();
        let weight = weight.map(|column| header.find(column, "is the job's weight"));
        Ok(Self {
            inputs: inputs?,
            weight: weight.transpose()?,
            label: (column, label.clone()),
        })
    }

    fn input(header: &Header, table: &TableInputs, feature: &Feature) -> Result<Input, DataError> {
        let find = |column: &str| header.find(column, "is a feature of the job");
        let time = |column: &str| header.find(column, "is the job's time column");
        match (feature, table.time_column.as_deref()) {
            (Feature::Cyclic { source, .. }, Some(column)) if source == HOUR => {
                time(column).map(Input::Hour)
            }
            (Feature::Cyclic { source, .. }, Some(column)) if source == MONTH => {
                time(column).map(Input::Month)
            }
            (Feature::Numeric { column }, _) => find(column).map(Input::Number),
            (Feature::Cyclic { source, .. }, _) => find(source).map(Input::Number),
            (Feature::Categorical { column, categories }, _) => {
                find(column).map(|position| Input::Category(position, categories.clone()))
            }
        }
    }

    /// How many raw columns a row has.
    pub(super) fn width(&self) -> usize {
        self.inputs.len()
    }

    /// Appends a row's raw columns; a missing value is NaN.
    pub(super) fn push_inputs(
        &self,
        header: &Header,
        record: &ByteRecord,
        row: u64,
        into: &mut Vec<f32>,
    ) -> Result<(), DataError> {
        for input in &self.inputs {
            let cell = |&column: &usize| Cell {
                record,
                row,
                column,
            };
            let value = match input {
                Input::Number(column) => {
                    let number = header.read(&cell(column), cells::number)?;
                    number.map(|number| number as f32)
                }
                Input::Category(column, list) => {
                    let read = |text: &str| cells::position(text, list);
                    header.read(&cell(column), read)?.map(|index| index as f32)
                }
                Input::Hour(column) => {
                    let time = header.read(&cell(column), cells::hour_and_month)?;
                    time.map(|(hour, _)| hour as f32)
                }
                Input::Month(column) => {
                    let time = header.read(&cell(column), cells::hour_and_month)?;
                    time.map(|(_, month)| month as f32)
                }
            };
            into.push(value.unwrap_or(f32::NAN));
        }
        Ok(())
    }

    /// How much a row counts, where the job says that rows count differently.
    pub(super) fn weight(
        &self,
        header: &Header,
        record: &ByteRecord,
        row: u64,
    ) -> Result<Option<f32>, DataError> {
        let cell = |column| Cell {
            record,
            row,
            column,
        };
        let weight = self
            .weight
            .map(|column| header.read(&cell(column), cells::weight));
        weight.transpose()
    }

    /// A row's answer, or none where it is missing.
    pub(super) fn answer(
        &self,
        header: &Header,
        record: &ByteRecord,
        row: u64,
    ) -> Result<Option<Answer>, DataError> {
        let (column, label) = &self.label;
        let cell = Cell {
            record,
            row,
            column: *column,
        };
        Ok(match label {
            Label::Above { limit, .. } => {
                let number = header.read(&cell, cells::number)?;
                number.map(|number| Answer::Class(u32::from(number > *limit)))
            }
            Label::Class { classes, .. } => {
                let read = |text: &str| cells::position(text, classes);
                let index = header.read(&cell, read)?;
                index.map(|index| Answer::Class(index as u32))
            }
            Label::Value { .. } => {
                let number = header.read(&cell, cells::number)?;
                number.map(|number| Answer::Value(number as f32))
            }
        })
    }
}
