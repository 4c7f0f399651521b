//! Which rows train and which test.

use csv::ByteRecord;
use fl_model::Split;

use super::columns::{Cell, Header};
use super::error::DataError;

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
    Unused,
    /// Known only when all rows are counted.
    Later,
}

/// A split in a given file.
pub(super) struct Splitter {
    split: Split,
    column: usize,
}

impl Splitter {
    pub(super) fn new(header: &Header, split: &Split) -> Result<Self, DataError> {
        if let Some(problem) = split.problem() {
            let file = header.file.clone();
            return Err(DataError::Split { file, problem });
        }
        let column = match split {
            Split::Column { column, .. } => {
                header.find(column, "says which rows train and test")?
            }
            _ => 0,
        };
        let split = split.clone();
        Ok(Self { split, column })
    }

    /// A split of examples whose number is known.
    pub(super) fn of_examples(file: &str, split: &Split) -> Result<Self, DataError> {
        if let Some(problem) = split.problem() {
            let file = file.to_owned();
            return Err(DataError::Split { file, problem });
        }
        let split = split.clone();
        Ok(Self { split, column: 0 })
    }

    /// The rule.
    pub(super) fn split(&self) -> &Split {
        &self.split
    }

    /// What an example is for, of so many; none is used where a column says it.
    pub(super) fn part_at(&self, example: u64, examples: u64) -> Part {
        match &self.split {
            Split::Rows { train, .. } if within(train, example) => Part::Train,
            Split::Rows { test, .. } if within(test, example) => Part::Test,
            Split::Tail { .. } if example < self.first_test_row(examples) => Part::Train,
            Split::Tail { .. } => Part::Test,
            Split::Rows { .. } | Split::Column { .. } => Part::Unused,
        }
    }

    /// What a row is for; rows are counted from 0 after the header.
    pub(super) fn part(
        &self,
        header: &Header,
        record: &ByteRecord,
        row: u64,
    ) -> Result<Part, DataError> {
        Ok(match &self.split {
            Split::Rows { .. } => self.part_at(row, u64::MAX),
            Split::Tail { .. } => Part::Later,
            Split::Column { train, test, .. } => {
                let column = self.column;
                let cell = Cell {
                    record,
                    row,
                    column,
                };
                match header.text(&cell)? {
                    text if text == train => Part::Train,
                    text if text == test => Part::Test,
                    _ => Part::Unused,
                }
            }
        })
    }

    /// For a split by share: the first test row of a file with that many rows.
    pub(super) fn first_test_row(&self, rows: u64) -> u64 {
        match self.split {
            Split::Tail { test_fraction } => rows - tail_rows(rows, test_fraction),
            _ => rows,
        }
    }

    /// Why a part can have no rows, and what to change.
    pub(super) fn why_empty(
        &self,
        train: bool,
        (rows, unlabelled, examples): (u64, u64, &str),
    ) -> String {
        let given = match &self.split {
            Split::Rows { train: first, .. } if train => rows_text(first),
            Split::Rows { test, .. } => rows_text(test),
            Split::Tail { test_fraction } => format!("test_fraction is {test_fraction}"),
            Split::Column {
                column,
                train: value,
                ..
            } if train => {
                format!("they are those whose {column:?} is {value:?}")
            }
            Split::Column {
                column,
                test: value,
                ..
            } => {
                format!("they are those whose {column:?} is {value:?}")
            }
        };
        format!(
            "{given}, the file has {rows} rows, {unlabelled} of the {examples} chosen have no label: \
             change the split or the data"
        )
    }
}

fn within((first, end): &(u64, Option<u64>), row: u64) -> bool {
    row >= *first && end.is_none_or(|end| row < end)
}

/// With how many rows, all labelled and without a gap, both parts have `length` rows; none where the rows
/// themselves say which part they are of.
pub(super) fn rows_needed(split: &Split, length: u32) -> Option<u64> {
    let length = u64::from(length.max(1));
    match split {
        Split::Rows { train, test } => Some(train.0.max(test.0).saturating_add(length)),
        Split::Column { .. } => None,
        Split::Tail { test_fraction } => {
            let smaller = test_fraction.min(1.0 - test_fraction);
            let about = ((length as f64 - 0.5) / smaller) as u64;
            // Rounding moves it by a row or two.
            (about.saturating_sub(2)..=about.saturating_add(2)).find(|&rows| {
                let test = tail_rows(rows, *test_fraction);
                test >= length && rows.saturating_sub(test) >= length
            })
        }
    }
}

/// Test rows of a file with that many rows, for a split by share.
fn tail_rows(rows: u64, test_fraction: f64) -> u64 {
    (rows as f64 * test_fraction).round() as u64
}

fn rows_text((first, end): &(u64, Option<u64>)) -> String {
    match end {
        Some(end) => format!("they are rows {first} to {}", end.saturating_sub(1)),
        None => format!("they are the rows from {first} on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_rows_are_needed_and_no_fewer() {
        let check = |test_fraction: f64, length: u32| {
            let split = Split::Tail { test_fraction };
            let needed = rows_needed(&split, length).unwrap();
            let enough = |rows: u64| {
                let test = tail_rows(rows, test_fraction);
                test.min(rows - test) >= u64::from(length)
            };
            assert!(enough(needed), "{test_fraction} {length} {needed}");
            assert!(
                (0..needed).all(|rows| !enough(rows)),
                "{test_fraction} {length} {needed}"
            );
        };
        for test_fraction in [0.01, 0.1, 0.2, 0.25, 0.3, 0.5, 0.75, 0.9, 0.999] {
            for length in [1, 2, 7, 24, 100] {
                check(test_fraction, length);
            }
        }
        let rows = Split::Rows {
            train: (0, Some(60)),
            test: (60, None),
        };
        assert_eq!(rows_needed(&rows, 24), Some(84));
        let column = Split::Column {
            column: "part".to_owned(),
            train: "a".to_owned(),
            test: "b".to_owned(),
        };
        assert_eq!(rows_needed(&column, 1), None);
    }
}
