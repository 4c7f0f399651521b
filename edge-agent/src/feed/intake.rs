//! What a command prints, as a header and rows that CSV readers take for one row a line.

use csv::ReaderBuilder;

use crate::ring::{Line, Splitter};

/// What some programs put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a line is not kept. Nothing of the line itself is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Longer than the bound.
    #[error("longer than {bytes_max} bytes, the most that a line may have")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// Another number of cells than the header.
    #[error(
        "{found} cells where the header names {expected} columns; a cell with a comma in it must stand in \
         quotes"
    )]
    Cells {
        /// Cells in the line.
        found: usize,
        /// Columns in the header.
        expected: usize,
    },
    /// A cell that goes on in the next line.
    #[error("a quote that does not end in its line: a row is a line")]
    Quote,
    /// A line within the line.
    #[error("a carriage return within the line: a row is a line")]
    CarriageReturn,
}

/// Why the first line is no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHeader {
    /// It is no line of cells at all.
    #[error("its first line, which must name the columns, is refused: {0}")]
    Refused(Refusal),
    /// Not text.
    #[error("its first line, which must name the columns, is not UTF-8 text")]
    NotUtf8,
    /// A row, as it seems.
    #[error(
        "its first line must name the columns, and cell {cell} of it is a number or a time: print a header \
         first, at every start, and begin names with a letter"
    )]
    Values {
        /// Which cell, from 1.
        cell: usize,
    },
}

/// What comes out of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first line.
    Header(Vec<u8>),
    /// It cannot be one: nothing of what follows can be used.
    NoHeader(NoHeader),
    /// A row with as many cells as the header.
    Row(Vec<u8>),
    /// A line, counted from 1, that is left out.
    Refused(u64, Refusal),
}

/// Reads one run of a command. Keeps at most one line.
#[derive(Debug)]
pub(crate) struct Intake {
    splitter: Splitter,
    lines: Lines,
}

#[derive(Debug)]
struct Lines {
    bytes_max: usize,
    columns: Option<usize>,
    failed: bool,
    count: u64,
}

impl Intake {
    /// For lines of at most so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            // With the carriage return of those that end in one.
            splitter: Splitter::new(bytes_max + 1),
            lines: Lines {
                bytes_max,
                columns: None,
                failed: false,
                count: 0,
            },
        }
    }

    /// Takes the next piece of what the command prints.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let lines = &mut self.lines;
        self.splitter
            .push(piece, |line| events.extend(lines.take(line)));
        events
    }

    /// The command has ended well: a last line needs no end.
    pub(crate) fn end(&mut self) -> Vec<Event> {
        self.push(b"\n")
    }
}

impl Lines {
    fn take(&mut self, line: Line<'_>) -> Option<Event> {
        self.count += 1;
        if self.failed {
            return None;
        }
        let text = match line {
            Line::Text(text) => text.strip_suffix(b"\r").unwrap_or(text),
            Line::TooLong => &[],
        };
        let text = match self.columns {
            None => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text),
            Some(_) => text,
        };
        let cells = match line {
            Line::Text(_) if text.len() <= self.bytes_max => cells(text),
            _ => Err(Refusal::TooLong {
                bytes_max: self.bytes_max,
            }),
        };
        match (self.columns, cells) {
            (_, Ok(_)) if text.is_empty() => None,
            (None, cells) => Some(self.take_header(text, cells)),
            (Some(expected), Ok(found)) if found != expected => {
                let refusal = Refusal::Cells { found, expected };
                Some(Event::Refused(self.count, refusal))
            }
            (Some(_), Ok(_)) => Some(Event::Row(text.to_vec())),
            (Some(_), Err(refusal)) => Some(Event::Refused(self.count, refusal)),
        }
    }

    fn take_header(&mut self, text: &[u8], cells: Result<usize, Refusal>) -> Event {
        let checked = cells
            .map_err(NoHeader::Refused)
            .and_then(|cells| check_names(text).map(|()| cells));
        match checked {
            Ok(cells) => {
                self.columns = Some(cells);
                Event::Header(text.to_vec())
            }
            Err(problem) => {
                self.failed = true;
                Event::NoHeader(problem)
            }
        }
    }
}

fn check_names(header: &[u8]) -> Result<(), NoHeader> {
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(header);
    for record in reader.records() {
        let record = record.map_err(|_| NoHeader::NotUtf8)?;
        if let Some(cell) = record.iter().position(is_value) {
            return Err(NoHeader::Values { cell: cell + 1 });
        }
    }
    Ok(())
}

/// Whether a cell is a number or a time rather than a name.
fn is_value(cell: &str) -> bool {
    let cell = cell.trim();
    let has_digit = cell.contains(|c: char| c.is_ascii_digit());
    let begins = cell.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    let is_of = |c: char| c.is_ascii_digit() || "+-.:eETZ ".contains(c);
    has_digit && begins && cell.chars().all(is_of)
}

/// Cells of a line, by RFC 4180 as the csv crate reads it: a quote counts at the start of a cell, two of them
/// within one are one.
fn cells(line: &[u8]) -> Result<usize, Refusal> {
    #[derive(PartialEq)]
    enum At {
        Start,
        Plain,
        Quoted,
        QuoteInQuoted,
    }
    if line.contains(&b'\r') {
        return Err(Refusal::CarriageReturn);
    }
    let (mut at, mut count) = (At::Start, 1);
    for byte in line {
        at = match (at, byte) {
            (At::Quoted, b'"') => At::QuoteInQuoted,
            (At::Quoted, _) | (At::Start | At::QuoteInQuoted, b'"') => At::Quoted,
            (_, b',') => {
                count += 1;
                At::Start
            }
            _ => At::Plain,
        };
    }
    match at {
        At::Quoted => Err(Refusal::Quote),
        _ => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let mut intake = Intake::new(20);
        let mut events = intake.push(text.as_bytes());
        events.extend(intake.end());
        events
    }

    fn header(text: &str) -> Event {
        Event::Header(text.as_bytes().to_vec())
    }

    fn row(text: &str) -> Event {
        Event::Row(text.as_bytes().to_vec())
    }

    #[test]
    fn a_header_then_rows() {
        let check = |text: &str, expected: &[Event]| assert_eq!(events(text), expected, "{text:?}");
        check("", &[]);
        check("a,b\n1,2\n", &[header("a,b"), row("1,2")]);
        check(
            "\u{feff}a,b\r\n1,2\r\n\r\n3,4",
            &[header("a,b"), row("1,2"), row("3,4")],
        );
        check("\n\na\n1\n", &[header("a"), row("1")]);
        let ragged = Refusal::Cells {
            found: 1,
            expected: 2,
        };
        let long = Refusal::TooLong { bytes_max: 20 };
        check(
            "a,b\n1\n\"x,\",2\n\"1,2\n1\r,2\n12345678901234567890,\n,",
            &[
                header("a,b"),
                Event::Refused(2, ragged),
                row("\"x,\",2"),
                Event::Refused(4, Refusal::Quote),
                Event::Refused(5, Refusal::CarriageReturn),
                Event::Refused(6, long),
                row(","),
            ],
        );
    }

    #[test]
    fn a_row_is_no_header_and_nothing_after_it_is_taken() {
        let check = |text: &str, expected: NoHeader| {
            assert_eq!(
                events(&format!("{text}\n1,2\n")),
                [Event::NoHeader(expected)]
            );
        };
        check("1.5,2", NoHeader::Values { cell: 1 });
        check("t,\" -3e2 \"", NoHeader::Values { cell: 2 });
        check("x,2024-05-31T23:00Z", NoHeader::Values { cell: 2 });
        check("a,\"b", NoHeader::Refused(Refusal::Quote));
        for names in ["2m_temp,PM2.5", "nan,inf", "-,e", ",x"] {
            assert_eq!(events(names), [header(names)]);
        }
        let mut intake = Intake::new(20);
        let problem = Event::NoHeader(NoHeader::NotUtf8);
        assert_eq!(intake.push(b"a\xff\n1\n"), [problem]);
    }

    proptest! {
        #[test]
        fn a_line_is_one_row_of_as_many_cells_to_csv(
            line in prop::collection::vec(
                prop_oneof![Just(b'"'), Just(b','), Just(b' '), Just(b'\r'), Just(b'x'), any::<u8>()],
                1..24,
            ),
        ) {
            let line: Vec<u8> = line.into_iter().filter(|byte| *byte != b'\n').collect();
            prop_assume!(!line.is_empty());
            if let Ok(count) = cells(&line) {
                let mut text = line.clone();
                text.extend(b"\nnext\n");
                let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&text[..]);
                let found: Vec<usize> = reader.byte_records().map(|record| record.unwrap().len()).collect();
                prop_assert_eq!(found, [count, 1]);
            }
        }
    }
}
