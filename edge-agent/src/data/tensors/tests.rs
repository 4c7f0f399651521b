mod images;

use std::io::{Cursor, Write as _};
use std::path::Path;

use fl_model::{Inputs, TensorElements, TensorScale, TensorSource};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// An `.npy` of version 1.0.
fn npy(descr: &str, fortran: bool, shape: &[u64], bytes: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let shape: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
    let shape = shape.join(" ");
    of_header(
        1,
        &format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n"),
        bytes,
    )
}

fn of_header(version: u8, header: &str, bytes: &[u8]) -> Vec<u8> {
    let mut all = b"\x93NUMPY".to_vec();
    all.extend([version, 0]);
    match version {
        1 => all.extend((header.len() as u16).to_le_bytes()),
        _ => all.extend((header.len() as u32).to_le_bytes()),
    }
    all.extend(header.as_bytes());
    all.extend(bytes);
    all
}

fn floats(shape: &[u64], numbers: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    npy("<f4", false, shape, &bytes)
}

fn bytes(numbers: &[u8]) -> Vec<u8> {
    npy("|u1", false, &[numbers.len() as u64], numbers)
}

/// Ten examples of [2], the last two of them without much to tell, and labels of two classes.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let numbers: Vec<f32> = (0..20).map(|number| number as f32).collect();
    vec![
        ("x", floats(&[10, 2], &numbers)),
        ("y", bytes(&[0, 1, 0, 1, 0, 1, 0, 1, 0, 1])),
    ]
}

fn npz(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn array(name: &str, array: &str, dims: &[u64], elements: TensorElements) -> TensorInput {
    TensorInput {
        name: name.to_owned(),
        source: TensorSource::Array {
            array: array.to_owned(),
            dims: dims.to_vec(),
        },
        elements,
    }
}

const NUMBERS: TensorElements = TensorElements::Numbers(TensorScale::PLAIN);

fn classes(names: &[&str]) -> Label {
    Label::Class {
        column: "y".to_owned(),
        classes: names.iter().map(|&name| name.to_owned()).collect(),
    }
}

fn spec(inputs: Vec<TensorInput>, label: Label) -> DataSpec {
    DataSpec {
        inputs: Inputs::Tensors(inputs),
        label,
        split: Split::Tail { test_fraction: 0.3 },
    }
}

fn x() -> DataSpec {
    spec(
        vec![array("in", "x", &[2], NUMBERS)],
        classes(&["off", "on"]),
    )
}

fn load(path: &Path, spec: &DataSpec) -> Result<LocalData, DataError> {
    super::super::load(path, spec, None)
}

fn of_npz(arrays: &[(&str, Vec<u8>)], spec: &DataSpec) -> Result<LocalData, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    std::fs::write(&path, npz(arrays)).unwrap();
    load(&path, spec)
}

fn tensors(rows: &Rows) -> &[Tensor] {
    match &rows.raw {
        Raw::Tensors(tensors) => tensors,
        Raw::Table(_) => panic!("no tensors"),
    }
}

fn check_error(arrays: &[(&str, Vec<u8>)], spec: &DataSpec, parts: &[&str]) {
    let error = of_npz(arrays, spec).unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
}

#[test]
fn arrays_of_an_npz_and_of_a_folder_are_the_same_examples() {
    let data = of_npz(&good(), &x()).unwrap();
    assert_eq!(
        (data.train.len(), data.test.len(), data.rows_in_file),
        (7, 3, 10)
    );
    let last = Tensor::Numbers(vec![14.0, 15.0, 16.0, 17.0, 18.0, 19.0]);
    assert_eq!(tensors(&data.test), [last]);
    assert_eq!(data.test.answers, Answers::Classes(vec![1, 0, 1]));

    let folder = tempfile::tempdir().unwrap();
    let store = |arrays: &[(&str, Vec<u8>)]| {
        for (name, bytes) in arrays {
            std::fs::write(folder.path().join(format!("{name}.npy")), bytes).unwrap();
        }
    };
    store(&good());
    let other = load(folder.path(), &x()).unwrap();
    assert_eq!((&other.train, &other.test), (&data.train, &data.test));
    let numbers: Vec<f32> = (1..21).map(|number| number as f32).collect();
    store(&[("x", floats(&[10, 2], &numbers))]);
    assert_ne!(load(folder.path(), &x()).unwrap().digest, other.digest);
}

#[test]
fn every_type_of_numbers_is_read() {
    let label = || ("y", bytes(&[0, 1, 0, 1]));
    let check = |descr: &str, bytes: Vec<u8>, elements, expected: Tensor| {
        let one = array("in", "x", &[], elements);
        let mut spec = spec(vec![one], classes(&["a", "b"]));
        spec.split = Split::Tail { test_fraction: 0.5 };
        let arrays = [("x", npy(descr, false, &[4], &bytes)), label()];
        let data = of_npz(&arrays, &spec).unwrap_or_else(|error| panic!("{descr}: {error}"));
        assert_eq!(tensors(&data.test), [expected], "{descr}");
    };
    let numbers = || Tensor::Numbers(vec![3.0, 4.0]);
    macro_rules! all {
        ($element:ty, $to:ident) => {
            [1, 2, 3, 4]
                .map(|number| (number as $element).$to())
                .concat()
        };
    }
    check("<f4", all!(f32, to_le_bytes), NUMBERS, numbers());
    check(">f4", all!(f32, to_be_bytes), NUMBERS, numbers());
    check("<f8", all!(f64, to_le_bytes), NUMBERS, numbers());
    check("|u1", all!(u8, to_le_bytes), NUMBERS, numbers());
    check("|i1", all!(i8, to_le_bytes), NUMBERS, numbers());
    check("<i2", all!(i16, to_le_bytes), NUMBERS, numbers());
    check("<u2", all!(u16, to_le_bytes), NUMBERS, numbers());
    check(">i4", all!(i32, to_be_bytes), NUMBERS, numbers());
    check("<i8", all!(i64, to_le_bytes), NUMBERS, numbers());
    let indices = || Tensor::Indices(vec![3, 4]);
    check(
        "<i8",
        all!(i64, to_le_bytes),
        TensorElements::Indices,
        indices(),
    );
    check(
        "|u1",
        all!(u8, to_le_bytes),
        TensorElements::Indices,
        indices(),
    );
    let truth = Tensor::Numbers(vec![0.0, 1.0]);
    check("|b1", vec![1, 1, 0, 1], NUMBERS, truth);
}

#[test]
fn labels_may_be_missing_above_a_limit_or_plain_numbers() {
    let numbers: Vec<f32> = (0..10).map(|number| number as f32).collect();
    let mut labels = numbers.clone();
    labels[1] = f32::NAN;
    labels[9] = f32::NAN;
    let arrays = [
        ("x", floats(&[10], &numbers)),
        ("y", floats(&[10, 1], &labels)),
    ];
    let column = || "y".to_owned();
    let inputs = || vec![array("in", "x", &[], NUMBERS)];
    let data = of_npz(&arrays, &spec(inputs(), Label::Value { column: column() })).unwrap();
    assert_eq!(data.unlabelled, 2);
    assert_eq!(data.test.answers, Answers::Values(vec![7.0, 8.0]));
    assert_eq!(tensors(&data.test), [Tensor::Numbers(vec![7.0, 8.0])]);
    let above = Label::Above {
        column: column(),
        limit: 4.0,
    };
    let data = of_npz(&arrays, &spec(inputs(), above)).unwrap();
    assert_eq!(data.train.answers, Answers::Classes(vec![0, 0, 0, 0, 1, 1]));
}

#[test]
fn splits_are_by_share_by_numbers_or_by_an_array() {
    let mut arrays = good();
    arrays.push(("part", bytes(&[1, 1, 2, 2, 0, 0, 1, 2, 2, 0])));
    let check = |split: Split, train: usize, test: usize| {
        let spec = DataSpec { split, ..x() };
        let data = of_npz(&arrays, &spec).unwrap();
        assert_eq!(
            (data.train.len(), data.test.len()),
            (train, test),
            "{spec:?}"
        );
    };
    check(Split::Tail { test_fraction: 0.1 }, 9, 1);
    let rows = Split::Rows {
        train: (0, Some(4)),
        test: (8, None),
    };
    check(rows, 4, 2);
    let column = |train: &str, test: &str| Split::Column {
        column: "part".to_owned(),
        train: train.to_owned(),
        test: test.to_owned(),
    };
    check(column("1", "2"), 3, 4);
    let refuse = |split, parts: &[&str]| check_error(&arrays, &DataSpec { split, ..x() }, parts);
    refuse(column("7", "2"), &["no training examples", "\"7\""]);
    refuse(Split::Tail { test_fraction: 0.0 }, &["test_fraction"]);
    let none = Split::Column {
        column: "parts".to_owned(),
        train: "1".to_owned(),
        test: "2".to_owned(),
    };
    refuse(none, &["no array \"parts\"", "part, x, y"]);
}

#[test]
fn what_is_wrong_with_arrays_is_named() {
    let with = |name: &'static str, bytes: Vec<u8>| {
        let mut arrays = good();
        arrays.retain(|(own, _)| *own != name);
        arrays.push((name, bytes));
        arrays
    };
    let numbers = [0.5; 20];
    let check = |bytes: Vec<u8>, parts: &[&str]| check_error(&with("x", bytes), &x(), parts);
    check(
        floats(&[10, 1, 2], &numbers),
        &["\"x\"", "[10, 1, 2]", "[1, 2]", "takes [2]", "reshape"],
    );
    check(floats(&[5, 2, 2], &numbers), &["[5, 2, 2]"]);
    check(
        floats(&[9, 2], &numbers[..18]),
        &["9 examples", "\"y\" has 10"],
    );
    check(floats(&[10, 2], &numbers[..19]), &["cut off"]);
    check(floats(&[9, 2], &numbers), &["9 examples"]);
    check(floats(&[10, 2], &[0.5; 21]), &["\"x\" goes on behind"]);
    check(floats(&[], &numbers[..1]), &["one number"]);
    let raw = vec![0; 80];
    check(
        npy("<f4", true, &[10, 2], &raw),
        &["Fortran order", "ascontiguousarray"],
    );
    check(
        npy("|O", false, &[10, 2], &raw),
        &["Python objects", "never read"],
    );
    check(npy("<U4", false, &[10, 2], &raw), &["<U4", "convert"]);
    check(npy("<f2", false, &[10, 2], &raw), &["<f2", "float32"]);
    check(b"PK nothing of the kind".to_vec(), &["no .npy array"]);
    check(Vec::new(), &["no .npy array"]);
    let infinite = [f32::INFINITY; 20];
    check(floats(&[10, 2], &infinite), &["example 0", "infinite"]);
    let labels = |bytes: Vec<u8>, parts: &[&str]| check_error(&with("y", bytes), &x(), parts);
    labels(
        bytes(&[0, 1, 0, 2, 0, 1, 0, 1, 0, 1]),
        &["\"y\"", "example 3", "2 classes", "index"],
    );
    labels(
        npy("|i1", false, &[10], &[0, 1, 0, 255, 0, 1, 0, 1, 0, 1]),
        &["example 3", "-1", "without these examples"],
    );
    labels(
        npy("|u1", false, &[10], &[0, 1].repeat(6)),
        &["\"y\" goes on behind"],
    );
    labels(
        floats(&[10], &numbers[..10]),
        &["\"y\"", "fractions", "int64"],
    );
    labels(
        bytes(&[0; 10]),
        &[
            "every one",
            "\"off\"",
            "training examples in which \"y\" varies",
        ],
    );
    labels(
        npy("|u1", false, &[5, 2], &[0; 10]),
        &["[5, 2]", "one number for each"],
    );
    let indices = spec(
        vec![array("in", "x", &[2], TensorElements::Indices)],
        classes(&["off", "on"]),
    );
    check_error(&good(), &indices, &["\"x\"", "fractions", "int64"]);
    let missing = spec(
        vec![array("in", "z", &[2], NUMBERS)],
        classes(&["off", "on"]),
    );
    check_error(&good(), &missing, &["no array \"z\"", "x, y"]);
    let outside = spec(
        vec![array("in", "../x", &[2], NUMBERS)],
        classes(&["a", "b"]),
    );
    check_error(&good(), &outside, &["../x", "name"]);
}

#[test]
fn hostile_headers_end_within_bounds() {
    let check = |bytes: Vec<u8>, part: &str| {
        let mut arrays = good();
        arrays[0].1 = bytes;
        check_error(&arrays, &x(), &[part]);
    };
    let shape =
        |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    check(of_header(1, &"[".repeat(9_000), &[]), "nests too deeply");
    check(of_header(1, &" ".repeat(20_000), &[]), "20000 bytes");
    let mut claims = of_header(2, "", &[]);
    claims[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    check(claims, "4294967295 bytes");
    let huge = u64::MAX.to_string();
    check(
        of_header(1, &shape(&format!("({huge}, {huge})")), &[]),
        "be counted",
    );
    check(
        of_header(1, &shape("(99999999999999999999, 2)"), &[]),
        "be counted",
    );
    check(of_header(1, &shape("'x'"), &[]), "no .npy array");
    check(of_header(3, "\u{1F980}", &[]), "no .npy array");
    let large = DataSpec {
        inputs: Inputs::Tensors(vec![array("in", "x", &[1 << 24], NUMBERS)]),
        ..x()
    };
    check_error(&good(), &large, &["too large", "67108864"]);
    let many = npy("|u1", false, &[1 << 40], &[0]);
    let arrays = [("x", floats(&[10, 2], &[0.0; 20])), ("y", many)];
    check_error(&arrays, &x(), &["too large"]);
}

#[test]
fn a_path_without_arrays_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let missing = load(&path, &x()).unwrap_err().to_string();
    assert!(missing.contains("does not exist"), "{missing}");
    std::fs::write(&path, "a,b\n1,2\n").unwrap();
    let csv = load(&path, &x()).unwrap_err().to_string();
    assert!(csv.contains(".npz or a folder"), "{csv}");
    let whole = npz(&good());
    std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
    let cut = load(&path, &x()).unwrap_err().to_string();
    assert!(cut.contains("cut off or damaged as an .npz"), "{cut}");
    std::fs::write(&path, &good()[0].1).unwrap();
    let single = load(&path, &x()).unwrap_err().to_string();
    assert!(single.contains("numpy.savez"), "{single}");
}

#[test]
fn a_damaged_member_is_called_damaged_whatever_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let mut arrays = good();
    arrays.push(("part", bytes(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 0])));
    let split = Split::Column {
        column: "part".to_owned(),
        train: "1".to_owned(),
        test: "2".to_owned(),
    };
    let spec = DataSpec { split, ..x() };
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in &arrays {
        zip.start_file(format!("{name}.npy"), stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    let whole = zip.finish().unwrap().into_inner();
    std::fs::write(&path, &whole).unwrap();
    load(&path, &spec).unwrap();
    for (name, array) in &arrays {
        // Its last byte: of an example that neither trains nor tests; and its first, of one that does.
        let start = whole.windows(array.len()).position(|own| own == array);
        let end = start.unwrap() + array.len();
        let elements = array.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in [end - 1, end - array.len() + elements] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            let error = load(&path, &spec).unwrap_err().to_string();
            let expected = format!("array {name:?} is damaged");
            assert!(error.contains(&expected), "{expected} in {error}");
        }
    }
}

#[test]
fn a_member_compressed_in_another_way_is_told_how_to_store_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.npz");
    let mut bytes = npz(&good());
    // The method stands in the header before a member and in the directory at the end: bzip2.
    for (header, method) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let found = bytes.windows(4).enumerate();
        let found = found.filter(|(_, own)| own == header);
        let places: Vec<usize> = found.map(|(at, _)| at + method).collect();
        places.into_iter().for_each(|at| bytes[at] = 12);
    }
    std::fs::write(&path, bytes).unwrap();
    let error = load(&path, &x()).unwrap_err().to_string();
    for part in ["data.npz", "\"y\"", "savez_compressed", "deflate"] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

#[test]
fn messages_name_the_file_and_not_its_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("own.npz"), folder.path().join("copy"));
    let check = |bytes: &[u8], spec: &DataSpec| {
        std::fs::write(&copy, bytes).unwrap();
        let error = super::super::load_prefix(&path, &copy, u64::MAX, spec, None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("own.npz") && !error.contains("copy:"),
            "{error}"
        );
    };
    check(b"a,b\n", &x());
    check(&npz(&good()[..1]), &x());
    let images = images::grey();
    check(&npz(&good()), &images);
    let y = spec(vec![array("in", "x", &[3], NUMBERS)], classes(&["a", "b"]));
    check(&npz(&good()), &y);
}
