//! Bytes as lines of a bounded length, and lines as the ring keeps them.

use flate2::Crc;

/// A line of a stream, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Its bytes.
    Text(&'a [u8]),
    /// It was longer than the bound; its bytes are gone.
    TooLong,
}

/// Cuts a stream into lines, whatever the pieces in which it comes. Keeps at most one line.
#[derive(Debug)]
pub(crate) struct Splitter {
    bytes_max: usize,
    begun: Vec<u8>,
    too_long: bool,
}

impl Splitter {
    /// Lines of at most `bytes_max` bytes without their end.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            begun: Vec::new(),
            too_long: false,
        }
    }

    /// Hands out every line that ends in the next piece of the stream.
    pub(crate) fn push(&mut self, piece: &[u8], mut take: impl FnMut(Line<'_>)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if self.begun.is_empty() && !self.too_long && line.len() <= self.bytes_max {
                take(Line::Text(line));
            } else {
                self.keep(line);
                match self.too_long {
                    true => take(Line::TooLong),
                    false => take(Line::Text(&self.begun)),
                }
            }
            self.begun.clear();
            self.too_long = false;
            rest = after;
        }
        self.keep(rest);
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.too_long |= self.begun.len() + bytes.len() > self.bytes_max;
        match self.too_long {
            true => self.begun.clear(),
            false => self.begun.extend_from_slice(bytes),
        }
    }
}

/// Digits of a checksum, and the blank behind it.
pub(super) const PREFIX_BYTES: usize = 9;

/// Appends a line as it stands on disk: CRC-32 of its text in eight hexadecimal digits, a blank, the text.
pub(super) fn encode(text: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("{:08x} ", checksum(text)).as_bytes());
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// The text of a line on disk, where it is whole.
pub(super) fn decode(line: &[u8]) -> Option<&[u8]> {
    let (prefix, text) = line.split_at_checked(PREFIX_BYTES)?;
    let digits = str::from_utf8(prefix).ok()?.strip_suffix(' ')?;
    let sum = u32::from_str_radix(digits, 16).ok()?;
    (sum == checksum(text)).then_some(text)
}

fn checksum(text: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(text);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(bytes_max: usize, pieces: &[&[u8]]) -> (Vec<Option<Vec<u8>>>, Vec<u8>) {
        let mut splitter = Splitter::new(bytes_max);
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| {
                lines.push(match line {
                    Line::Text(text) => Some(text.to_vec()),
                    Line::TooLong => None,
                });
            });
        }
        (lines, splitter.begun)
    }

    #[test]
    fn a_line_ends_where_it_ends_whatever_the_pieces() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let check = |pieces: &[&[u8]], lines: &[Option<Vec<u8>>], rest: &[u8]| {
            assert_eq!(split(4, pieces), (lines.to_vec(), rest.to_vec()));
        };
        check(&[b"ab\n\ncd"], &[text("ab"), text("")], b"cd");
        check(&[b"a", b"b\nc", b"\n"], &[text("ab"), text("c")], b"");
        check(
            &[b"abcd\nabcde\nx\n"],
            &[text("abcd"), None, text("x")],
            b"",
        );
        check(&[b"abc", b"de", b"fg", b"h\nx\n"], &[None, text("x")], b"");
        check(&[], &[], b"");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in prop::collection::vec(0usize..200, 0..8),
            bytes_max in 0usize..20,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(split(bytes_max, &pieces), split(bytes_max, &[&bytes]));
        }

        #[test]
        fn what_is_encoded_is_decoded_and_nothing_shorter(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut line = Vec::new();
            encode(&text, &mut line);
            let line = line.strip_suffix(b"\n").unwrap();
            prop_assert_eq!(decode(line), Some(&text[..]));
            for end in 0..line.len() {
                prop_assert_ne!(decode(&line[..end]), Some(&text[..]));
            }
        }
    }
}
