//! Lines for a person who looks after a device.

use std::path::Path;
use std::time::Duration;

use fl_model::{Phase, RoundKey};

use crate::data::{LocalData, Raw, Table};

/// The phase of a round: `round 3`, or with what it asks for where that is not training.
pub(crate) fn place(key: &RoundKey) -> String {
    match key.phase {
        Phase::Train => format!("round {}", key.round),
        Phase::Statistics => format!("round {}, statistics", key.round),
        Phase::Evaluate => format!("round {}, evaluation", key.round),
    }
}

/// A duration as seconds with two digits that matter.
pub(crate) fn seconds(of: Duration) -> String {
    match of.as_secs_f64() {
        s if s < 0.01 => format!("{:.1} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.0} s"),
    }
}

/// Bytes in the unit that suits them, decimal.
pub(crate) fn bytes(of: usize) -> String {
    match of as f64 {
        b if b < 1e3 => format!("{of} B"),
        b if b < 1e6 => format!("{:.1} kB", b / 1e3),
        b => format!("{:.1} MB", b / 1e6),
    }
}

/// A loss, and an accuracy where there is one.
pub(crate) fn scores(loss: f64, accuracy: Option<f64>) -> String {
    match accuracy {
        Some(accuracy) => format!("loss {loss:.4}, accuracy {accuracy:.4}"),
        None => format!("loss {loss:.4}"),
    }
}

/// What was read from a data file.
pub(crate) fn rows(file: &Path, data: &LocalData) -> String {
    let (what, which) = match &data.train.raw {
        Raw::Table(Table { starts: None, .. }) => ("rows", ", of which"),
        Raw::Table(_) => ("rows", "; of their windows"),
        Raw::Tensors(_) => ("examples", ", of which"),
    };
    let unfit = match data.unfit {
        0 => String::new(),
        unfit => format!("; {unfit} rows do not fit the job and are left out"),
    };
    format!(
        "read {}: {} {what}{which} {} train, {} test and {} have no label{unfit}",
        file.display(),
        data.rows_in_file,
        data.train.len(),
        data.test.len(),
        data.unlabelled
    )
}

/// The first bytes of a text as one line, cut between characters: control characters, which another's
/// terminal would obey, become spaces.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    let text = text.replace(char::is_control, " ");
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_in_units_that_suit_them() {
        let check = |ms, expected: &str| assert_eq!(seconds(Duration::from_millis(ms)), expected);
        check(2, "2.0 ms");
        check(20, "0.02 s");
        check(12_345, "12 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(5_210), "5.2 kB");
        assert_eq!(bytes(13_000_000), "13.0 MB");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("aéb", 2), "a");
        assert_eq!(cut("é", 0), "");
        assert_eq!(cut("a\n\u{1b}[31mb", 9), "a  [31mb");
    }
}
