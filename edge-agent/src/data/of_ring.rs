//! The rows that a command has given.

use std::path::Path;

use csv::ReaderBuilder;
use fl_model::{DataSpec, Inputs, Split, TableInputs};

use super::columns::{Columns, Header};
use super::source::{Source, explain};
use super::split::{Splitter, rows_needed};
use super::{DataError, LocalData, load_source};
use crate::ring::RingText;

/// Reads the rows of a ring in `folder`, which holds at most `rows_max`; none where it holds nothing at all.
///
/// # Errors
/// Every [`DataError`]; they name the folder.
pub fn load_ring(
    folder: &Path,
    text: Option<RingText>,
    rows_max: u64,
    spec: &DataSpec,
    split: Option<&Split>,
) -> Result<LocalData, DataError> {
    let file = folder.display().to_string();
    let splitter = split.unwrap_or(&spec.split);
    let window = table_of(&file, spec)?.window;
    let needed = rows_needed(splitter, window.map_or(1, |window| window.length));
    let Some(text) = text else {
        return Err(DataError::NoRowsYet { file, needed });
    };
    let loaded = load_source(file, Source::of_ring(text), spec, split);
    loaded.map_err(|error| error.of_a_ring(needed, rows_max))
}

/// Whether a command whose first line is `header` gives the columns of a job; errors name it `program`.
///
/// # Errors
/// A [`DataError`] of a column.
pub fn check_columns(
    program: &str,
    header: &[u8],
    spec: &DataSpec,
    split: Option<&Split>,
) -> Result<(), DataError> {
    let mut reader = ReaderBuilder::new().from_reader(header);
    let failed = |error: csv::Error| explain(error, program, false);
    let header = Header::new(program, reader.byte_headers().map_err(failed)?)?;
    Columns::new(&header, table_of(program, spec)?, &spec.label)?;
    Splitter::new(&header, split.unwrap_or(&spec.split))?;
    Ok(())
}

/// The columns of a job that takes a table.
pub(super) fn table_of<'a>(file: &str, spec: &'a DataSpec) -> Result<&'a TableInputs, DataError> {
    match &spec.inputs {
        Inputs::Table(table) => Ok(table),
        Inputs::Tensors(_) => Err(DataError::Inputs {
            file: file.to_owned(),
            problem: "a command gives rows, and the job asks for arrays or images".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fl_model::{Feature, FeatureSpec, Label, Window, WindowLabel, WindowLayout};

    use super::*;
    use crate::data::Answers;
    use crate::ring::{Bounds, Ring};

    const ROWS_MAX: u64 = 100;

    fn spec(window: Option<u32>) -> DataSpec {
        let window = window.map(|length| Window {
            length,
            stride: 1,
            layout: WindowLayout::TimeFirst,
            label: WindowLabel::Last,
        });
        DataSpec {
            inputs: Inputs::Table(TableInputs {
                features: FeatureSpec {
                    features: vec![Feature::Numeric {
                        column: "x".to_owned(),
                    }],
                    clip: 5.0,
                },
                time_column: None,
                weight: None,
                window,
            }),
            label: Label::Value {
                column: "y".to_owned(),
            },
            split: Split::Tail { test_fraction: 0.5 },
        }
    }

    /// Rows of a ring; an empty one is a gap.
    fn read(rows: &[&str], spec: &DataSpec) -> Result<LocalData, DataError> {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("ring");
        let bounds = Bounds {
            rows_max: ROWS_MAX,
            bytes_max: 1 << 20,
        };
        let mut ring = Ring::open(&folder, bounds).unwrap();
        ring.begin(b"x,y").unwrap();
        for row in rows {
            match row.is_empty() {
                true => ring.gap(),
                false => ring.append([row.as_bytes()]).unwrap(),
            }
        }
        let text = RingText::newest(&folder, ROWS_MAX).unwrap();
        load_ring(&folder, text, ROWS_MAX, spec, None)
    }

    fn values(answers: &Answers) -> Vec<f32> {
        match answers {
            Answers::Values(values) => values.clone(),
            Answers::Classes(_) => panic!("classes"),
        }
    }

    #[test]
    fn no_window_goes_over_a_gap_or_a_row_that_does_not_fit() {
        let check = |rows: &[&str], train: &[f32], test: &[f32], unfit: u64| {
            let data = read(rows, &spec(Some(2))).unwrap();
            assert_eq!(values(&data.train.answers), train, "{rows:?}");
            assert_eq!(values(&data.test.answers), test, "{rows:?}");
            assert_eq!(data.unfit, unfit, "{rows:?}");
            let all = rows.iter().filter(|row| !row.is_empty()).count() as u64;
            assert_eq!(data.rows_in_file, all);
        };
        let rows = ["0,0", "0,1", "0,2", "0,3", "0,4", "0,5", "0,6", "0,7"];
        check(&rows, &[1.0, 2.0, 3.0], &[5.0, 6.0, 7.0], 0);
        let gaps = [
            "0,0", "", "0,1", "0,2", "0,3", "", "0,4", "0,5", "", "", "0,6", "0,7",
        ];
        check(&gaps, &[2.0, 3.0], &[5.0, 7.0], 0);
        let unfit = [
            "0,0", "0,1", "ERR,2", "0,3", "0,4", "0,5", "0,oops", "0,7", "0,8", "0,9",
        ];
        check(&unfit, &[1.0, 4.0], &[8.0, 9.0], 2);
    }

    #[test]
    fn most_rows_that_do_not_fit_are_a_fault_of_the_job_or_the_command() {
        let error = read(&["0,0", "a,1", "b,2", "0,3"], &spec(None));
        assert_eq!(error.unwrap().unfit, 2);
        let error = read(&["0,0", "a,1", "b,2", "0,3", "c,4"], &spec(None)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("\"x\"") && said.contains("row 1"), "{said}");
        assert!(!error.told().contains("\"a\""), "{}", error.told());
    }

    #[test]
    fn too_few_rows_are_told_with_how_many_it_takes() {
        let check = |rows: &[&str], spec: &DataSpec, parts: &[&str]| {
            let error = read(rows, spec).unwrap_err();
            for said in [error.to_string(), error.told()] {
                let has_all = parts.iter().all(|part| said.contains(part));
                assert!(has_all, "{parts:?} in {said}");
            }
        };
        check(&[], &spec(Some(4)), &["holds no rows yet", "needs 8"]);
        check(
            &["0,0"],
            &spec(None),
            &["no training rows", "from 2 rows on"],
        );
        check(
            &["0,0"; 7],
            &spec(Some(4)),
            &["no training windows", "from 8 rows on"],
        );
        let long = ["120 rows are needed", "data.rows_max is 100: raise it"];
        check(&["0,0"; 7], &spec(Some(60)), &long);
        assert!(read(&["0,0"; 8], &spec(Some(4))).is_ok());

        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("ring");
        let text = RingText::newest(&missing, ROWS_MAX).unwrap();
        let error = load_ring(&missing, text, ROWS_MAX, &spec(None), None).unwrap_err();
        assert!(error.to_string().contains("needs 2"), "{error}");
        fs::create_dir(&missing).unwrap();
        assert!(RingText::newest(&missing, ROWS_MAX).unwrap().is_none());
    }

    #[test]
    fn the_longest_lines_that_a_ring_takes_are_read() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("ring");
        let bounds = Bounds {
            rows_max: ROWS_MAX,
            bytes_max: 64 << 20,
        };
        let bytes_max = bounds.line_bytes_max();
        assert_eq!(bytes_max as u64, crate::data::LINE_BYTES_MAX - 1);
        let longest = |begin: &str| format!("{begin}{}", "n".repeat(bytes_max - begin.len()));
        let mut ring = Ring::open(&folder, bounds).unwrap();
        ring.begin(longest("x,y,").as_bytes()).unwrap();
        ring.append([longest("0,1,").as_bytes(); 3]).unwrap();
        let text = RingText::newest(&folder, ROWS_MAX).unwrap();
        let data = load_ring(&folder, text, ROWS_MAX, &spec(None), None).unwrap();
        assert_eq!((data.rows_in_file, data.unfit), (3, 0));
    }

    #[test]
    fn a_header_is_held_to_the_job() {
        check_columns("./read", b"y,x,z", &spec(None), None).unwrap();
        let error = check_columns("./read", b"y,X", &spec(None), None).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("./read has no column \"x\""), "{said}");
    }
}
