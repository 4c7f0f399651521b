use std::io::Write as _;
use std::path::PathBuf;

use fl_model::{Feature, FeatureSpec, TableInputs, Window, WindowLabel, WindowLayout};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::*;

mod weights;

fn numeric(column: &str) -> Feature {
    Feature::Numeric {
        column: column.to_owned(),
    }
}

/// Temperature, wind out of a list, and the hour; label above 10.
fn spec() -> DataSpec {
    let wind = Feature::Categorical {
        column: "wind".to_owned(),
        categories: vec!["N".to_owned(), "S".to_owned()],
    };
    let hour = Feature::Cyclic {
        source: "hour".to_owned(),
        period: 24.0,
    };
    DataSpec {
        inputs: Inputs::Table(TableInputs {
            weight: None,
            features: FeatureSpec {
                features: vec![numeric("temp"), wind, hour],
                clip: 5.0,
            },
            time_column: Some("time".to_owned()),
            window: None,
        }),
        label: Label::Above {
            column: "dust".to_owned(),
            limit: 10.0,
        },
        split: Split::Rows {
            train: (0, Some(3)),
            test: (3, None),
        },
    }
}

const GOOD: &str = "\
time,dust,temp,wind,note
2024-01-01T00:00,9,1.5,N,a
2024-01-01 01:00,11,,S,\"b, c\"
2024-01-01T02:00,NA,2.5,N,d
2024-01-01T03:00,12,3.5,,e
2024-01-01T04:00,8,nan,S,f
";

fn written(text: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data file.csv");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn read(text: &[u8], spec: &DataSpec) -> Result<LocalData, DataError> {
    let (_folder, path) = written(text);
    load(&path, spec, None)
}

fn check_error(text: &[u8], spec: &DataSpec, expected: &[&str]) {
    let message = read(text, spec)
        .expect_err(&format!("{expected:?}"))
        .to_string();
    for part in [&["data file.csv"], expected].concat() {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

#[test]
fn rows_become_raw_columns_and_answers() {
    let data = read(GOOD.as_bytes(), &spec()).unwrap();
    assert_eq!(data.rows_in_file, 5);
    assert_eq!(data.unlabelled, 1);
    assert_eq!(data.train.answers, Answers::Classes(vec![0, 1]));
    assert_eq!(data.test.answers, Answers::Classes(vec![1, 0]));
    let shown = |raw: &[f32]| format!("{raw:?}");
    assert_eq!(
        shown(&table(&data.train).numbers),
        "[1.5, 0.0, 0.0, NaN, 1.0, 1.0]"
    );
    assert_eq!(
        shown(&table(&data.test).numbers),
        "[3.5, NaN, 3.0, NaN, 1.0, 4.0]"
    );
    assert_eq!(data.digest, Digest::of(GOOD.as_bytes()));
}

#[test]
fn gzip_is_told_by_content_and_gives_the_same_rows() {
    let packed = gzip(GOOD.as_bytes());
    let data = read(&packed, &spec()).unwrap();
    let plain = read(GOOD.as_bytes(), &spec()).unwrap();
    assert_eq!(format!("{:?}", data.train), format!("{:?}", plain.train));
    assert_eq!(format!("{:?}", data.test), format!("{:?}", plain.test));
    assert_eq!(data.digest, Digest::of(&packed));

    for damaged in [&packed[..packed.len() - 9], &packed[..20]] {
        check_error(damaged, &spec(), &["gzip", "again"]);
    }
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    check_error(&flipped, &spec(), &["gzip"]);
}

#[test]
fn what_needs_no_attention_gets_none() {
    let marked = [b"\xef\xbb\xbf", GOOD.as_bytes()].concat();
    assert_eq!(read(&marked, &spec()).unwrap().train.len(), 2);
    let windows = GOOD.replace('\n', "\r\n");
    assert_eq!(read(windows.as_bytes(), &spec()).unwrap().train.len(), 2);
    let blanks = GOOD
        .replace(",S,", " , S ,")
        .replace("dust,temp", "dust , temp");
    assert_eq!(read(blanks.as_bytes(), &spec()).unwrap().test.len(), 2);
    let latin = [GOOD.as_bytes(), b"2024-01-01T05:00,1,1,N,caf\xe9\n"].concat();
    assert_eq!(read(&latin, &spec()).unwrap().test.len(), 3);
}

#[test]
fn each_error_names_its_place_and_a_remedy() {
    let spec = spec();
    let check = |change: fn(&str) -> String, expected: &[&str]| {
        check_error(change(GOOD).as_bytes(), &spec, expected);
    };
    check(|_| String::new(), &["is empty"]);
    check(|_| "\n\n".to_owned(), &["is empty"]);
    check(|text| text.lines().next().unwrap().to_owned(), &["no rows"]);
    check(
        |text| text.replace("temp", "Temp"),
        &["\"temp\"", "a feature", "nearest is \"Temp\""],
    );
    check(
        |text| text.replace("temp", "x"),
        &["\"temp\"", "it has time, dust, x"],
    );
    check(|text| text.replace("dust", "pm"), &["\"dust\"", "label"]);
    check(
        |text| text.replace("time", "x"),
        &["\"time\"", "time column"],
    );
    check(
        |text| text.replace("note", "temp"),
        &["more than one", "\"temp\""],
    );
    check(|text| text.replace(',', ";"), &["commas"]);
    check(
        |text| text.replace("1.5", "1;5"),
        &["line 2", "row 0", "\"temp\"", "\"1;5\""],
    );
    check(|text| text.replace("1.5", "inf"), &["\"inf\"", "32-bit"]);
    check(
        |text| text.replace("11,,S", "11,,W"),
        &["line 3", "\"wind\"", "\"W\"", "N, S"],
    );
    check(
        |text| text.replace("T00:00", ""),
        &["line 2", "\"time\"", "2024-05-31T23:00"],
    );
    check(
        |text| text.replace(",f", ""),
        &["line 6", "4 cells", "5 columns"],
    );
    check(
        |text| text.replace("11", "1"),
        &["every one of the 2", "class 0", "\"dust\""],
    );
    check(
        |text| text.lines().take(4).collect::<Vec<_>>().join("\n"),
        &["no test rows"],
    );
    check(
        |text| text.replace("9,", "NA,").replace("11,", ","),
        &["no training rows", "no label"],
    );
}

#[test]
fn what_others_are_told_quotes_no_row() {
    let spec = spec();
    let check = |text: String, secret: &str, expected: &[&str]| {
        let error = read(text.as_bytes(), &spec).unwrap_err();
        assert!(error.to_string().contains(secret), "{error}");
        let told = error.told();
        assert!(!told.contains(secret), "{told}");
        for part in [&["data file.csv"], expected].concat() {
            assert!(told.contains(part), "{part:?} in {told}");
        }
    };
    let place = ["line 2", "row 0", "\"temp\"", "not a number"];
    check(GOOD.replace("1.5", "Jane Doe"), "Jane Doe", &place);
    let listed = ["line 3", "\"wind\"", "N, S"];
    check(GOOD.replace("11,,S", "11,,Jane Doe"), "Jane Doe", &listed);
    let headless = "Jane Doe,9,1.5,N,a\n".to_owned();
    check(headless, "Jane Doe", &["no column", "log"]);
    let one_class = ["one class", "\"dust\"", "limit"];
    check(GOOD.replace("11", "1"), "not above 10", &one_class);
}

#[test]
fn what_is_not_text_is_told_by_its_line() {
    let in_header = GOOD.as_bytes().iter().copied().chain(*b"\n");
    let mut bytes: Vec<u8> = in_header.collect();
    bytes[2] = 0xff;
    check_error(&bytes, &spec(), &["line 1", "UTF-8"]);
    let in_cell = GOOD.replace("1.5", "\u{1}").into_bytes();
    let in_cell: Vec<u8> = in_cell
        .iter()
        .map(|&b| if b == 1 { 0xff } else { b })
        .collect();
    check_error(&in_cell, &spec(), &["line 2", "UTF-8"]);
}

#[test]
fn a_missing_file_is_told_from_an_unreadable_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("none.csv"), &spec(), None).unwrap_err();
    assert!(matches!(missing, DataError::Missing { .. }), "{missing}");
    assert!(missing.to_string().contains("data.file"), "{missing}");
    let unreadable = load(folder.path(), &spec(), None).unwrap_err();
    let parts = ["is a folder", "columns", "data.file"];
    let said = unreadable.to_string();
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn a_line_that_never_ends_is_refused() {
    let mut text = GOOD.as_bytes().to_vec();
    text.resize(text.len() + 2 * source::LINE_BYTES_MAX as usize, b'x');
    check_error(&text, &spec(), &["too large", "a line"]);
    check_error(&gzip(&text), &spec(), &["too large", "a line"]);
}

#[test]
fn splits_count_rows_before_any_is_dropped() {
    let text = "x,y,part\n1,1,train\n2,,train\n3,0,train\n4,1,test\n5,0,test\n6,1,other\n7,0,test\n8,1,test\n";
    let with = |split| DataSpec {
        inputs: FeatureSpec {
            features: vec![numeric("x")],
            clip: 5.0,
        }
        .into(),
        label: Label::Class {
            column: "y".to_owned(),
            classes: vec!["0".to_owned(), "1".to_owned()],
        },
        split,
    };
    let check = |split: Split, train: &[f32], test: &[f32]| {
        let data = read(text.as_bytes(), &with(split.clone())).unwrap();
        assert_eq!(table(&data.train).numbers, train, "{split:?}");
        assert_eq!(table(&data.test).numbers, test, "{split:?}");
    };
    let rows = |train, test| Split::Rows { train, test };
    check(
        rows((0, Some(4)), (4, None)),
        &[1.0, 3.0, 4.0],
        &[5.0, 6.0, 7.0, 8.0],
    );
    check(rows((6, None), (0, Some(2))), &[7.0, 8.0], &[1.0]);
    let tail = |test_fraction| Split::Tail { test_fraction };
    check(tail(0.25), &[1.0, 3.0, 4.0, 5.0, 6.0], &[7.0, 8.0]);
    let column = |train: &str, test: &str| Split::Column {
        column: "part".to_owned(),
        train: train.to_owned(),
        test: test.to_owned(),
    };
    check(column("train", "test"), &[1.0, 3.0], &[4.0, 5.0, 7.0, 8.0]);

    let refuse = |split: Split, expected: &[&str]| {
        check_error(text.as_bytes(), &with(split), expected);
    };
    refuse(rows((0, Some(4)), (3, None)), &["row 3", "overlap"]);
    refuse(
        rows((80, None), (0, Some(4))),
        &["no training rows", "from 80 on", "8 rows"],
    );
    refuse(tail(0.01), &["no test rows", "0.01"]);
    refuse(tail(1.5), &["test_fraction"]);
    refuse(column("train", "train"), &["different"]);
    refuse(column("train", "exam"), &["no test rows", "\"exam\""]);
}

#[test]
fn a_cyclic_feature_without_a_time_column_is_a_column() {
    let mut spec = spec();
    inputs(&mut spec).time_column = None;
    check_error(GOOD.as_bytes(), &spec, &["\"hour\"", "a feature"]);
    let text = "dust,temp,wind,hour\n9,1,N,5\n11,2,S,6\n12,3,N,7\n8,4,S,9\n";
    let data = read(text.as_bytes(), &spec).unwrap();
    assert_eq!(table(&data.train).numbers[2], 5.0);
    assert_eq!(table(&data.test).numbers[2], 9.0);
}

#[test]
fn regression_takes_numbers() {
    let mut spec = spec();
    spec.label = Label::Value {
        column: "dust".to_owned(),
    };
    let data = read(GOOD.as_bytes(), &spec).unwrap();
    assert_eq!(data.train.answers, Answers::Values(vec![9.0, 11.0]));
}

/// Windows over rows of two columns, `x` counting from 0; label `y`, or a class by the limit 0.
fn windowed(split: Split, length: u32, stride: u32, label: WindowLabel) -> DataSpec {
    let column = "y".to_owned();
    DataSpec {
        inputs: Inputs::Table(TableInputs {
            weight: None,
            features: FeatureSpec {
                features: vec![numeric("x"), numeric("z")],
                clip: 5.0,
            },
            time_column: None,
            window: Some(Window {
                length,
                stride,
                layout: WindowLayout::TimeFirst,
                label,
            }),
        }),
        label: match label {
            WindowLabel::Last => Label::Value { column },
            WindowLabel::Majority => Label::Above { column, limit: 0.0 },
        },
        split,
    }
}

/// The rows of a table.
pub(super) fn table(rows: &Rows) -> &Table {
    match &rows.raw {
        Raw::Table(table) => table,
        Raw::Tensors(_) => panic!("no table"),
    }
}

/// The table of a spec that has one.
fn inputs(spec: &mut DataSpec) -> &mut TableInputs {
    match &mut spec.inputs {
        Inputs::Table(table) => table,
        Inputs::Tensors(_) => panic!("no table"),
    }
}

const WINDOWED: &str = "\
x,z,y,part
0,,5,train
1,1,,train
2,1,7,train
3,1,8,other
4,,,train
5,1,-1,train
6,1,-2,train
7,1,3,test
8,1,4,test
9,1,,test
";

#[test]
fn windows_stay_within_a_part_and_keep_rows_without_a_label() {
    let check = |split: Split, size: (u32, u32), starts: [&[usize]; 2], answers: [&[f32]; 2]| {
        let spec = windowed(split, size.0, size.1, WindowLabel::Last);
        let data = read(WINDOWED.as_bytes(), &spec).unwrap();
        for (part, (starts, answers)) in [&data.train, &data.test]
            .into_iter()
            .zip(starts.into_iter().zip(answers))
        {
            assert_eq!(table(part).starts.as_deref(), Some(starts), "{spec:?}");
            assert_eq!(part.answers, Answers::Values(answers.to_vec()), "{spec:?}");
            assert_eq!(part.len(), starts.len());
        }
        data
    };
    let column = Split::Column {
        column: "part".to_owned(),
        train: "train".to_owned(),
        test: "test".to_owned(),
    };
    // Training rows 0 to 2 and 4 to 6 of the file: rows 0 to 2 and 3 to 5 of the part.
    let data = check(
        column.clone(),
        (2, 1),
        [&[1, 3, 4], &[0]],
        [&[7.0, -1.0, -2.0], &[4.0]],
    );
    assert_eq!((data.unlabelled, data.rows_in_file), (2, 10));
    let x: Vec<f32> = table(&data.train)
        .numbers
        .iter()
        .step_by(2)
        .copied()
        .collect();
    assert_eq!(x, [0.0, 1.0, 2.0, 4.0, 5.0, 6.0]);
    assert!(
        table(&data.train).numbers[1].is_nan(),
        "a missing value stays one"
    );
    check(
        column,
        (1, 2),
        [&[0, 2, 5], &[0]],
        [&[5.0, 7.0, -2.0], &[3.0]],
    );
    let tail = Split::Tail { test_fraction: 0.3 };
    check(tail, (2, 4), [&[4], &[0]], [&[-1.0], &[4.0]]);
    let rows = Split::Rows {
        train: (2, Some(7)),
        test: (7, None),
    };
    check(rows, (2, 5), [&[0], &[0]], [&[8.0], &[4.0]]);
}

#[test]
fn a_window_of_classes_may_take_the_majority() {
    let split = Split::Rows {
        train: (0, Some(7)),
        test: (7, None),
    };
    let spec = windowed(split, 3, 1, WindowLabel::Majority);
    let data = read(WINDOWED.as_bytes(), &spec).unwrap();
    assert_eq!(data.train.answers, Answers::Classes(vec![1, 1, 1, 0, 0]));
    assert_eq!(data.test.answers, Answers::Classes(vec![1]));
    assert_eq!(data.unlabelled, 0);
}

#[test]
fn windows_that_cannot_be_cut_are_explained() {
    let column = |train: &str, test: &str| Split::Column {
        column: "part".to_owned(),
        train: train.to_owned(),
        test: test.to_owned(),
    };
    let check = |split: Split, length: u32, expected: &[&str]| {
        let spec = windowed(split, length, 1, WindowLabel::Last);
        check_error(WINDOWED.as_bytes(), &spec, expected);
    };
    let few = [
        "no training windows",
        "6 training rows",
        "3 at most",
        "is 4 rows",
        "shorten",
    ];
    check(column("train", "test"), 4, &few);
    check(column("train", "exam"), 2, &["no test windows", "\"exam\""]);
    let rows = Split::Rows {
        train: (0, Some(7)),
        test: (8, None),
    };
    check(
        rows.clone(),
        3,
        &["no test windows", "2 test rows", "is 3 rows"],
    );
    check(
        rows,
        2,
        &["no test windows", "windows chosen have no label"],
    );
    check(column("train", "test"), 0, &["length is 0"]);
    check(column("train", "test"), 5000, &["1 to 4096"]);
    let mut number = windowed(column("train", "test"), 2, 1, WindowLabel::Last);
    inputs(&mut number).window.as_mut().unwrap().label = WindowLabel::Majority;
    check_error(WINDOWED.as_bytes(), &number, &["majority", "\"y\""]);
}

#[test]
fn windows_of_pooled_files_do_not_run_from_one_into_the_next() {
    let split = Split::Rows {
        train: (0, Some(7)),
        test: (7, None),
    };
    let spec = windowed(split, 2, 2, WindowLabel::Last);
    let mut rows = read(WINDOWED.as_bytes(), &spec).unwrap().train;
    let other = rows.clone();
    rows.append(&other);
    assert_eq!(table(&other).starts, Some(vec![2, 4]));
    assert_eq!(table(&rows).starts, Some(vec![2, 4, 9, 11]));
    assert_eq!(rows.answers.len(), 4);
    assert_eq!(table(&rows).numbers.len(), 28);
}
