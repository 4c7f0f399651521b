//! Bounds, wrap-around, gaps, and what a kill or damage leaves.

use std::io::Read as _;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const HEADER: &[u8] = b"time,x";

/// What only the number of rows bounds.
const ROOMY: Bounds = Bounds {
    rows_max: 1_000,
    bytes_max: 1 << 20,
};

fn open(folder: &TempDir, bounds: Bounds) -> Ring {
    let mut ring = Ring::open(&folder.path().join("ring"), bounds).unwrap();
    ring.begin(HEADER).unwrap();
    ring
}

fn row(number: u64) -> String {
    format!("t{number},{}", number * 3)
}

fn append(ring: &mut Ring, numbers: Range<u64>) {
    let rows: Vec<String> = numbers.map(row).collect();
    ring.append(rows.iter().map(|row| row.as_bytes())).unwrap();
}

fn text_of(folder: &Path, rows: Range<u64>) -> String {
    let mut text = String::new();
    if let Some(mut ring) = RingText::open(folder, rows).unwrap() {
        ring.read_to_string(&mut text).unwrap();
    }
    text
}

fn text(ring: &Ring) -> String {
    text_of(ring.folder(), ring.range())
}

/// Header and rows, with an empty line before each of `gaps`.
fn expected(numbers: Range<u64>, gaps: &[u64]) -> String {
    let mut text = "time,x\n".to_owned();
    for number in numbers {
        if gaps.contains(&number) {
            text.push('\n');
        }
        text.push_str(&row(number));
        text.push('\n');
    }
    text
}

fn bytes_in(folder: &Path) -> u64 {
    let segments = segments_in(folder).unwrap();
    segments.into_iter().map(|(_, bytes)| bytes).sum()
}

#[test]
fn the_newest_rows_count() {
    let check = |rows_max: u64, batches: &[u64]| {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { rows_max, ..ROOMY };
        let mut ring = open(&folder, bounds);
        let mut end = 0;
        for more in batches {
            append(&mut ring, end..end + more);
            end += more;
            let first = end.saturating_sub(rows_max);
            assert_eq!(ring.range(), first..end);
            assert_eq!(text(&ring), expected(first..end, &[]));
            assert!(ring.segments.len() as u64 <= SEGMENTS + 1);
        }
        drop(ring);
        let mut ring = open(&folder, bounds);
        assert_eq!(ring.range(), end.saturating_sub(rows_max)..end);
        append(&mut ring, end..end + 1);
        let first = (end + 1).saturating_sub(rows_max);
        assert_eq!(text(&ring), expected(first..end + 1, &[end]));
    };
    check(10, &[3, 3, 3, 3, 30, 1, 1]);
    check(1_000, &[999, 1, 1, 5_000]);
    check(8, &[1; 40]);
    check(2, &[1; 9]);
}

#[test]
fn bytes_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        rows_max: 1 << 40,
        bytes_max: 4_096,
    };
    let mut ring = open(&folder, bounds);
    for number in 0..2_000 {
        append(&mut ring, number..number + 1);
        assert!(bytes_in(ring.folder()) <= bounds.bytes_max);
    }
    let range = ring.range();
    assert_eq!(range.end, 2_000);
    assert!(range.end - range.start > 100, "{range:?}");
    assert_eq!(text(&ring), expected(range, &[]));
    // Smaller bounds take effect at the next start.
    drop(ring);
    let smaller = Bounds {
        rows_max: 20,
        bytes_max: 1_024,
    };
    let ring = open(&folder, smaller);
    assert_eq!(text(&ring), expected(1_980..2_000, &[]));
    assert!(bytes_in(ring.folder()) <= smaller.bytes_max);
}

#[test]
fn the_longest_line_fits() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds {
        rows_max: 100,
        bytes_max: 8_192,
    };
    let long = vec![b'x'; bounds.line_bytes_max()];
    let mut ring = Ring::open(&folder.path().join("ring"), bounds).unwrap();
    ring.begin(&long).unwrap();
    for _ in 0..30 {
        ring.gap();
        ring.append([&long[..]]).unwrap();
        assert!(bytes_in(ring.folder()) <= bounds.bytes_max);
    }
    assert_eq!(ring.range().end, 30);
    assert!(
        Bounds {
            bytes_max: 1 << 40,
            ..bounds
        }
        .line_bytes_max() as u64
            <= LINE_BYTES_MAX
    );
}

#[test]
fn a_row_that_is_torn_at_any_byte_is_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 0..3);
    let path = ring.path(0);
    let before = bytes_in(ring.folder());
    append(&mut ring, 3..4);
    let whole = fs::read(&path).unwrap();
    drop(ring);
    for cut in before..whole.len() as u64 {
        fs::write(&path, &whole[..cut as usize]).unwrap();
        let mut ring = open(&folder, ROOMY);
        assert_eq!(ring.range(), 0..3, "cut at {cut}");
        assert_eq!(bytes_in(ring.folder()), before);
        append(&mut ring, 3..5);
        assert_eq!(text(&ring), expected(0..5, &[3]), "cut at {cut}");
    }
}

#[test]
fn a_header_that_is_torn_at_any_byte_is_no_segment() {
    let bounds = Bounds {
        rows_max: 16,
        ..ROOMY
    };
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, bounds);
    append(&mut ring, 0..2);
    let whole = fs::read(ring.path(0)).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap();
    let path = ring.path(2);
    drop(ring);
    for cut in 0..=header {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut ring = open(&folder, bounds);
        assert_eq!(ring.range(), 0..2, "cut at {cut}");
        append(&mut ring, 2..3);
        assert_eq!(text(&ring), expected(0..3, &[2]), "cut at {cut}");
        fs::remove_file(&path).unwrap();
    }
    // Where nothing is left, nothing is there.
    fs::write(folder.path().join("ring").join(name(0)), b"12").unwrap();
    let ring = Ring::open(&folder.path().join("ring"), bounds).unwrap();
    assert!(ring.header().is_empty() && ring.range().is_empty());
}

#[test]
fn a_damaged_row_is_missing_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 0..5);
    let path = ring.path(0);
    drop(ring);
    let damaged = fs::read_to_string(&path).unwrap().replace("t2,6", "t2,7");
    fs::write(&path, damaged).unwrap();
    let ring = open(&folder, ROOMY);
    assert_eq!(ring.range(), 0..5);
    let left = "time,x\nt0,0\nt1,3\n\nt3,9\nt4,12\n";
    assert_eq!(text(&ring), left);
    drop(ring);
    // Zeros at the end, as some file systems leave them after a power cut.
    let mut zeros = fs::read(&path).unwrap();
    zeros.extend([0; 5_000]);
    fs::write(&path, zeros).unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 5..6);
    assert_eq!(text(&ring), format!("{left}\nt5,15\n"));
}

#[test]
fn a_gap_stands_once_before_the_row_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    ring.gap();
    append(&mut ring, 0..2);
    ring.gap();
    ring.gap();
    append(&mut ring, 2..4);
    ring.gap();
    assert_eq!(text(&ring), expected(0..4, &[2]));
    assert_eq!(text_of(ring.folder(), 2..4), expected(2..4, &[]));
    assert_eq!(text_of(ring.folder(), 1..3), expected(1..3, &[2]));
    assert_eq!(text_of(ring.folder(), 0..0), "time,x\n");
}

#[test]
fn other_columns_set_the_rows_aside() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 0..3);
    assert_eq!(ring.begin(HEADER).unwrap(), Begun::Same);
    let aside = folder.path().join("ring.aside");
    let begun = ring.begin(b"time,y").unwrap();
    let expected_aside = Begun::Aside {
        rows: 3,
        folder: aside.clone(),
    };
    assert_eq!(begun, expected_aside);
    assert_eq!(text(&ring), "time,y\n");
    ring.append([&b"a,1"[..]; 4]).unwrap();
    let others = "time,y\na,1\na,1\na,1\na,1\n";
    assert_eq!(text(&ring), others);
    assert_eq!(text_of(&aside, 0..3), expected(0..3, &[]));
    // No row was ever kept under the last columns but one: nothing to set aside.
    drop(ring);
    let mut ring = Ring::open(&folder.path().join("ring"), ROOMY).unwrap();
    assert_eq!(ring.header(), b"time,y");
    assert!(matches!(
        ring.begin(b"z").unwrap(),
        Begun::Aside { rows: 4, .. }
    ));
    assert_eq!(ring.begin(HEADER).unwrap(), Begun::New);
    assert_eq!(text_of(&aside, 3..7), others);
    append(&mut ring, 4..5);
    assert_eq!(text(&ring), expected(4..5, &[]));
}

#[test]
fn rows_come_back_with_their_columns_whatever_was_printed_between() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 0..3);
    let aside = folder.path().join("ring.aside");
    let began = |ring: &mut Ring, header: &str| ring.begin(header.as_bytes()).unwrap();
    let back = |aside_rows| Begun::Back {
        rows: 3,
        aside: aside_rows,
        folder: aside.clone(),
    };
    // An error where the header is due, and nothing after it.
    began(&mut ring, "no sensor");
    assert_eq!(began(&mut ring, "time,x"), back(0));
    assert!(!aside.exists());
    assert_eq!(text(&ring), expected(0..3, &[]));
    // Errors with lines after them: fewer rows do not take the place of more.
    began(&mut ring, "no sensor");
    ring.append([&b"try again"[..]]).unwrap();
    let removed = Begun::Removed {
        rows: 1,
        folder: aside.clone(),
    };
    assert_eq!(began(&mut ring, "still no sensor"), removed);
    assert_eq!(text(&ring), "still no sensor\n");
    assert_eq!(text_of(&aside, 0..3), expected(0..3, &[]));
    ring.append([&b"give up"[..]; 2]).unwrap();
    // After a restart, too.
    drop(ring);
    let mut ring = Ring::open(&folder.path().join("ring"), ROOMY).unwrap();
    assert_eq!(began(&mut ring, "time,x"), back(2));
    assert_eq!(rows_in(&aside, 10).unwrap(), 2);
    append(&mut ring, 3..5);
    assert_eq!(text(&ring), expected(0..5, &[3]));
    drop(ring);
    assert_eq!(text(&open(&folder, ROOMY)), expected(0..5, &[3]));
}

#[test]
fn a_kill_while_rows_come_back_loses_none() {
    let check = |renamed: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = open(&folder, ROOMY);
        append(&mut ring, 0..3);
        ring.begin(b"other").unwrap();
        ring.append([&b"1"[..]]).unwrap();
        drop(ring);
        for (from, to) in renamed {
            fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
        }
        let ring = open(&folder, ROOMY);
        assert_eq!(text(&ring), expected(0..3, &[]), "{renamed:?}");
        let aside = folder.path().join("ring.aside");
        assert_eq!(rows_in(&aside, 10).unwrap(), 1, "{renamed:?}");
        assert!(!folder.path().join("ring.parked").exists());
    };
    check(&[]);
    check(&[("ring", "ring.parked")]);
    check(&[("ring", "ring.parked"), ("ring.aside", "ring")]);
}

#[test]
fn no_row_goes_under_a_header_that_could_not_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, ROOMY);
    append(&mut ring, 0..3);
    let aside = folder.path().join("ring.aside");
    fs::write(&aside, "in the way").unwrap();
    ring.begin(b"other").unwrap_err();
    ring.append([&b"1"[..]]).unwrap_err();
    assert_eq!(ring.begin(HEADER).unwrap(), Begun::Same);
    assert_eq!(text(&ring), expected(0..3, &[]));
    ring.begin(b"other").unwrap_err();
    fs::remove_file(&aside).unwrap();
    assert!(matches!(
        ring.begin(b"other").unwrap(),
        Begun::Aside { rows: 3, .. }
    ));
}

#[test]
fn a_snapshot_stays_as_it_is() {
    let bounds = Bounds {
        rows_max: 20,
        ..ROOMY
    };
    let folder = tempfile::tempdir().unwrap();
    let mut ring = open(&folder, bounds);
    append(&mut ring, 0..50);
    let links = folder.path().join("links");
    fs::create_dir(&links).unwrap();
    let range = ring.link_into(&links).unwrap();
    assert!(ring.is_flushed());
    assert_eq!(range, 30..50);
    let fixed = text_of(&links, range.clone());
    assert_eq!(fixed, expected(30..50, &[]));
    append(&mut ring, 50..51);
    assert_eq!(text_of(&links, range.clone()), fixed);
    append(&mut ring, 51..200);
    ring.begin(b"other").unwrap();
    drop(ring);
    open(&folder, bounds);
    assert_eq!(text_of(&links, range), fixed);
}

#[test]
fn an_empty_ring_has_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = Ring::open(&folder.path().join("ring"), ROOMY).unwrap();
    assert!(RingText::open(ring.folder(), 0..0).unwrap().is_none());
    let error = ring.append([&b"1"[..]]).unwrap_err().to_string();
    assert!(error.contains("header"), "{error}");
    let missing = folder.path().join("missing");
    let error = RingText::open(&missing, 0..1).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}

/// What can happen to a ring.
#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Gap,
    Flush,
    /// The process is killed while it writes a row, of which so many bytes are there.
    Kill(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u64..30).prop_map(Step::Append),
        1 => Just(Step::Gap),
        1 => Just(Step::Flush),
        1 => (0usize..30).prop_map(Step::Kill),
    ];
    prop::collection::vec(step, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_ring_holds_the_newest_rows_whatever_happens(
        steps in steps(),
        rows_max in 1u64..60,
        bytes_max in 512u64..4_096,
    ) {
        let bounds = Bounds { rows_max, bytes_max };
        let folder = tempfile::tempdir().unwrap();
        let mut ring = open(&folder, bounds);
        let (mut end, mut gaps) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Append(more) => {
                    append(&mut ring, end..end + more);
                    end += more;
                }
                Step::Gap => {
                    ring.gap();
                    gaps.push(end);
                }
                Step::Flush => ring.flush().unwrap(),
                Step::Kill(bytes) => {
                    let last = ring.path(ring.segments.back().unwrap().first);
                    drop(ring);
                    let mut torn = Vec::new();
                    encode(row(end).as_bytes(), &mut torn);
                    let torn = &torn[..bytes.min(torn.len() - 1)];
                    let mut file = OpenOptions::new().append(true).open(last).unwrap();
                    file.write_all(torn).unwrap();
                    ring = open(&folder, bounds);
                    gaps.push(end);
                }
            }
            let range = ring.range();
            prop_assert_eq!(range.end, end);
            prop_assert!(range.end - range.start <= rows_max);
            let fits = 7 * (bytes_max / SEGMENTS) / 60;
            prop_assert!(range.end - range.start >= rows_max.min(end).min(fits), "{range:?}");
            prop_assert!(bytes_in(ring.folder()) <= bytes_max);
            let own: Vec<u64> = gaps.iter().copied().filter(|gap| *gap > range.start).collect();
            prop_assert_eq!(text(&ring), expected(range, &own));
        }
    }
}
