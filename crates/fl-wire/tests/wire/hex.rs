//! Vector files: hexadecimal bytes, one CBOR item a line, with comments after `#`.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Set to write the vectors anew instead of comparing with them, after a change of the protocol
/// that is meant.
const WRITE: &str = "FL_WRITE_VECTORS";

/// Bytes of a string on one line.
const LINE_BYTES: usize = 32;

/// Column of the comments.
const COMMENT_COLUMN: usize = 72;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/v1")
}

/// The bytes of a vector file, and the lines of its comments that precede the first byte.
pub(crate) fn read(name: &str) -> (Vec<u8>, Vec<String>) {
    let path = folder().join(format!("{name}.hex"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run with {WRITE}=1", path.display()));
    let comments = text.lines().map_while(|line| line.strip_prefix("# "));
    let comments = comments.map(str::to_owned).collect();
    let digits = text.lines().filter_map(|line| line.split('#').next());
    (parse(&digits.collect::<String>()), comments)
}

/// Whether vectors are to be written, not compared.
pub(crate) fn writing() -> bool {
    std::env::var_os(WRITE).is_some()
}

/// Checks that the file holds exactly these bytes and comments, or writes it.
pub(crate) fn check_or_write(name: &str, bytes: &[u8], comments: &[String], body: &str) {
    if writing() {
        let comments: String = comments.iter().map(|line| format!("# {line}\n")).collect();
        std::fs::create_dir_all(folder()).unwrap();
        let path = folder().join(format!("{name}.hex"));
        std::fs::write(path, format!("{comments}{body}")).unwrap();
    }
    let (stored, stored_comments) = read(name);
    assert!(
        stored == bytes,
        "{name}: this build writes other bytes than the vector"
    );
    assert_eq!(stored_comments, comments, "{name}");
}

/// Bytes of hexadecimal digits with white space between them.
pub(crate) fn parse(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Lines of plain digits.
pub(crate) fn plain(bytes: &[u8]) -> String {
    bytes
        .chunks(LINE_BYTES)
        .map(|line| digits(line) + "\n")
        .collect()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One item a line, with what it is. Takes well-formed CBOR only.
///
/// In a signed message the protected header and the body are laid open too.
pub(crate) fn annotated(bytes: &[u8]) -> String {
    let mut notes = Notes {
        bytes,
        at: 0,
        text: String::new(),
    };
    let is_message = bytes.first() == Some(&0xd2);
    if is_message {
        notes.line(0, 1, "tag 18: COSE_Sign1");
        notes.line(0, 1, "array of 4");
        for part in [
            "protected header",
            "unprotected header",
            "body",
            "signature",
        ] {
            notes.message_part(part);
        }
    } else {
        notes.item(0);
    }
    assert_eq!(notes.at, bytes.len());
    notes.text
}

struct Notes<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl Notes<'_> {
    fn line(&mut self, depth: usize, bytes: usize, what: &str) {
        let shown = digits(&self.bytes[self.at..self.at + bytes]);
        let indented = format!("{:indent$}{shown}", "", indent = 2 * depth);
        let what = if what.is_empty() {
            String::new()
        } else {
            format!(" # {what}")
        };
        let line = format!("{indented:COMMENT_COLUMN$}{what}");
        writeln!(self.text, "{}", line.trim_end()).unwrap();
        self.at += bytes;
    }

    /// Length of the head at the position, and its number.
    fn head(&self) -> (usize, u64) {
        let info = self.bytes[self.at] & 0x1f;
        let width = if info < 24 { 0 } else { 1 << (info - 24) };
        let follows = &self.bytes[self.at + 1..self.at + 1 + width];
        let number = follows.iter().fold(0, |sum, &b| sum << 8 | u64::from(b));
        (1 + width, if width == 0 { u64::from(info) } else { number })
    }

    fn message_part(&mut self, part: &str) {
        let (head, count) = self.head();
        let is_laid_open = part == "protected header" || part == "body";
        if is_laid_open {
            self.line(1, head, &format!("{part}, {count} bytes"));
            self.item(2);
        } else if part == "signature" {
            self.line(1, head, &format!("{part}, {count} bytes"));
            self.string(2, count as usize);
        } else {
            self.line(1, head, part);
        }
    }

    fn string(&mut self, depth: usize, mut bytes: usize) {
        while bytes > 0 {
            let line = bytes.min(LINE_BYTES);
            self.line(depth, line, "");
            bytes -= line;
        }
    }

    fn item(&mut self, depth: usize) {
        let major = self.bytes[self.at] >> 5;
        let (head, count) = self.head();
        match major {
            0 => self.line(depth, head, &count.to_string()),
            1 => self.line(depth, head, &(-1 - i128::from(count)).to_string()),
            2 => {
                self.line(depth, head, &format!("{count} bytes"));
                self.string(depth + 1, count as usize);
            }
            3 => {
                let start = self.at + head;
                let text = &self.bytes[start..start + count as usize];
                let text = format!("{:?}", std::str::from_utf8(text).unwrap());
                self.line(depth, head, &text);
                self.string(depth + 1, count as usize);
            }
            4 => {
                self.line(depth, head, &format!("array of {count}"));
                (0..count).for_each(|_| self.item(depth + 1));
            }
            5 => {
                self.line(depth, head, &format!("map of {count}"));
                for _ in 0..count {
                    self.item(depth + 1);
                    self.item(depth + 2);
                }
            }
            6 => {
                let elements = match count {
                    71 => "u64",
                    77 => "i16",
                    78 => "i32",
                    79 => "i64",
                    _ => "f32",
                };
                self.line(
                    depth,
                    head,
                    &format!("tag {count}: {elements}, little endian"),
                );
                self.item(depth + 1);
            }
            _ => {
                let simple = ["false", "true", "null"];
                let float = if head > 1 {
                    "float"
                } else {
                    simple[count as usize - 20]
                };
                self.line(depth, head, float);
            }
        }
    }
}
