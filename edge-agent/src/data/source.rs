//! A data file as a bounded stream of text, whether it is compressed or not.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use csv::ErrorKind;
use fl_model::Digest;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::error::DataError;
use crate::ring::RingText;

/// Most bytes of a data file after decompression: a small gzip file cannot fill the memory.
pub(super) const TEXT_BYTES_MAX: u64 = 4 << 30;

/// Longest line, in bytes.
pub const LINE_BYTES_MAX: u64 = 1 << 20;

/// What a gzip file begins with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What some editors put before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A bound that the text of a file exceeds; travels inside of an [`io::Error`].
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{what} exceeds {limit}")]
pub(super) struct Exceeded {
    pub(super) what: &'static str,
    pub(super) limit: u64,
}

/// An open data file, or the rows of a ring.
pub(super) struct Source {
    text: Bounded<Box<dyn Read>>,
    digest: Rc<RefCell<Sha256>>,
    pub(super) gzip: bool,
    pub(super) ring: bool,
}

/// What remains to be said of a file when its text has been read: SHA-256 of its bytes on disk.
pub(super) struct FileDigest(Rc<RefCell<Sha256>>);

impl FileDigest {
    pub(super) fn get(&self) -> Digest {
        Digest(self.0.borrow().clone().finalize().into())
    }
}

impl Source {
    /// The first bytes of what lies at `place`; errors name it `file`.
    pub(super) fn open(file: &str, place: &Path, bytes: u64) -> Result<Self, DataError> {
        let file = file.to_owned();
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => DataError::Missing { file: file.clone() },
            _ => DataError::Read {
                file: file.clone(),
                source,
            },
        };
        let digest = Rc::new(RefCell::new(Sha256::new()));
        let hashed = Hashed {
            inner: File::open(place).map_err(failed)?.take(bytes),
            digest: digest.clone(),
        };
        let mut bytes = BufReader::new(hashed);
        let gzip = bytes.fill_buf().map_err(failed)?.starts_with(&GZIP_MAGIC);
        let text: Box<dyn Read> = match gzip {
            true => Box::new(BufReader::new(MultiGzDecoder::new(bytes))),
            false => Box::new(bytes),
        };
        Ok(Self {
            text: Bounded::new(text),
            digest,
            gzip,
            ring: false,
        })
    }

    /// The text of a ring, in which an empty line stands for rows that are missing.
    pub(super) fn of_ring(text: RingText) -> Self {
        let digest = Rc::new(RefCell::new(Sha256::new()));
        let hashed = Hashed {
            inner: text,
            digest: digest.clone(),
        };
        Self {
            text: Bounded::new(Box::new(hashed)),
            digest,
            gzip: false,
            ring: true,
        }
    }

    pub(super) fn digest(&self) -> FileDigest {
        FileDigest(self.digest.clone())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }
}

/// Hashes what is read through it.
struct Hashed<R> {
    inner: R,
    digest: Rc<RefCell<Sha256>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}

/// Ends in an error past [`TEXT_BYTES_MAX`] and past [`LINE_BYTES_MAX`] without a line's end; drops a
/// byte order mark.
struct Bounded<R> {
    inner: R,
    total: u64,
    line: u64,
}

impl<R: Read> Bounded<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            total: 0,
            line: 0,
        }
    }

    fn count(&mut self, read: &[u8]) -> io::Result<()> {
        let check = |what, bytes, limit| match bytes > limit {
            true => Err(io::Error::other(Exceeded { what, limit })),
            false => Ok(()),
        };
        self.total += read.len() as u64;
        check("the text in bytes", self.total, TEXT_BYTES_MAX)?;
        for line in read.split_inclusive(|&byte| byte == b'\n') {
            self.line += line.len() as u64;
            check("a line in bytes", self.line, LINE_BYTES_MAX)?;
            if line.ends_with(b"\n") {
                self.line = 0;
            }
        }
        Ok(())
    }

    /// Fills the buffer with the file's first bytes, without a mark.
    fn first(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut mark = Vec::with_capacity(BYTE_ORDER_MARK.len());
        let wanted = BYTE_ORDER_MARK.len().min(buffer.len());
        Read::by_ref(&mut self.inner)
            .take(wanted as u64)
            .read_to_end(&mut mark)?;
        if mark == BYTE_ORDER_MARK {
            self.total = mark.len() as u64;
            return self.inner.read(buffer);
        }
        buffer[..mark.len()].copy_from_slice(&mark);
        Ok(mark.len())
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.total {
            0 => self.first(buffer)?,
            _ => self.inner.read(buffer)?,
        };
        self.count(&buffer[..count])?;
        Ok(count)
    }
}

/// Reads the rest of a file, as far as its bounds allow.
pub(super) fn drain(source: &mut Source) -> Result<(), io::Error> {
    match io::copy(source, &mut io::sink()) {
        Err(error) if !error.get_ref().is_some_and(|e| e.is::<Exceeded>()) => Err(error),
        _ => Ok(()),
    }
}

/// What an error of the reader means.
pub(super) fn explain(error: csv::Error, file: &str, gzip: bool) -> DataError {
    let file = file.to_owned();
    match error.into_kind() {
        ErrorKind::Io(source) => {
            let exceeded = source.get_ref().and_then(|e| e.downcast_ref::<Exceeded>());
            if let Some(&Exceeded { what, limit }) = exceeded {
                return DataError::TooLarge { file, what, limit };
            }
            match gzip {
                true => DataError::Gzip { file, source },
                false => DataError::Read { file, source },
            }
        }
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => DataError::Ragged {
            file,
            line: pos.map_or(0, |pos| pos.line()),
            expected: expected_len,
            found: len,
        },
        // Byte records fail in no other way; the text says what it is should that change.
        other => DataError::Read {
            file,
            source: io::Error::other(format!("{other:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_cut_short() {
        let endless = io::repeat(b'x');
        let error = io::copy(&mut Bounded::new(endless), &mut io::sink()).unwrap_err();
        let exceeded = error.get_ref().unwrap().downcast_ref::<Exceeded>().unwrap();
        assert_eq!(exceeded.limit, LINE_BYTES_MAX);
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let check = |bytes: &[u8], expected: &str| {
            let mut text = String::new();
            Bounded::new(bytes).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        };
        check(b"\xef\xbb\xbfa,b\n", "a,b\n");
        check(b"a,b\n", "a,b\n");
        check(b"a", "a");
        check(b"", "");
        check(b"\xef\xbb\xbf", "");
    }
}
