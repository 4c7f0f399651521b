//! One `.npy` array: a bounded header, then its elements as they are needed.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;

use npyz::{DType, NpyFile, NpyHeader, Order, TypeChar};

use super::super::error::DataError;

/// Longest header, in bytes: NumPy reads none that is longer.
const HEADER_BYTES_MAX: usize = 10_000;

/// Deepest nesting of a header that is read; that of a plain array has two levels.
const HEADER_DEPTH_MAX: usize = 4;

/// What an `.npy` begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// What lies before a header's text: magic, version, and its length.
const PRELUDE_BYTES: usize = 12;

/// Where an array was found, for messages.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) array: String,
}

impl Place {
    pub(super) fn wrong(&self, problem: impl Into<String>) -> DataError {
        DataError::Array {
            file: self.file.clone(),
            array: self.array.clone(),
            problem: problem.into(),
        }
    }
}

/// The elements of an array in C order.
pub(super) enum Elements<'a> {
    /// float32 or float64.
    Numbers(Box<dyn Iterator<Item = io::Result<f64>> + 'a>),
    /// Integers up to 64 bits, or truth values as 0 and 1.
    Integers(Box<dyn Iterator<Item = io::Result<i64>> + 'a>),
}

/// An array whose header has been read.
pub(super) struct Array<'a> {
    pub(super) place: Place,
    /// First the number of examples.
    pub(super) shape: Vec<u64>,
    pub(super) elements: Elements<'a>,
    /// Where they come from.
    bytes: Bytes<'a>,
}

/// The bytes of an array, which what reads its elements and what looks for their end share.
#[derive(Clone)]
struct Bytes<'a>(Rc<RefCell<dyn Read + 'a>>);

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(into)
    }
}

impl<'a> Array<'a> {
    /// Reads the header of an array in C order whose elements are numbers.
    pub(super) fn open(place: Place, mut bytes: impl Read + 'a) -> Result<Self, DataError> {
        let header = header(&mut bytes).map_err(|problem| place.wrong(problem))?;
        let shape = header.shape().to_vec();
        if header.order() == Order::Fortran && shape.len() > 1 {
            let what = "is in Fortran order: store numpy.ascontiguousarray of it";
            return Err(place.wrong(what));
        }
        let bytes = Bytes(Rc::new(RefCell::new(bytes)));
        let elements = elements(NpyFile::with_header(header, bytes.clone()));
        Ok(Self {
            elements: elements.map_err(|problem| place.wrong(problem))?,
            shape,
            place,
            bytes,
        })
    }

    /// The number of examples and the dimensions of each.
    pub(super) fn examples(&self) -> Result<(u64, &[u64]), DataError> {
        match self.shape.split_first() {
            Some((count, dims)) => Ok((*count, dims)),
            None => Err(self
                .place
                .wrong("is one number: its first dimension must count the examples")),
        }
    }

    /// The next element as a number.
    pub(super) fn number(&mut self) -> Result<f64, DataError> {
        let next = match &mut self.elements {
            Elements::Numbers(all) => all.next(),
            Elements::Integers(all) => all.next().map(|next| next.map(|integer| integer as f64)),
        };
        self.place.read(next)
    }

    /// The next element as an integer.
    pub(super) fn integer(&mut self) -> Result<i64, DataError> {
        match &mut self.elements {
            Elements::Integers(all) => self.place.read(all.next()),
            Elements::Numbers(_) => Err(self.place.wrong(
                "holds numbers with fractions where integers are wanted: store it as int64, or change the job",
            )),
        }
    }

    /// What was found in it, once it is read to its end. The checksum of an `.npz` stands behind a member, and
    /// damage shows before that as numbers that do not fit: the damage is what to name.
    pub(super) fn finish<T>(mut self, found: Result<T, DataError>) -> Result<T, DataError> {
        loop {
            let next = match &mut self.elements {
                Elements::Numbers(all) => all.next().map(|next| next.map(drop)),
                Elements::Integers(all) => all.next().map(|next| next.map(drop)),
            };
            match next {
                None => break,
                next => self.place.read(next)?,
            }
        }
        let mut beyond = Vec::new();
        let read = self.bytes.take(1).read_to_end(&mut beyond);
        match self.place.read(Some(read))? {
            0 => found,
            _ => Err(self
                .place
                .wrong("goes on behind the elements that its header declares: store it again")),
        }
    }
}

impl Place {
    fn read<T>(&self, next: Option<io::Result<T>>) -> Result<T, DataError> {
        let cut_off =
            || "is cut off: it has fewer elements than its header says; copy or store it again";
        match next {
            Some(Ok(element)) => Ok(element),
            Some(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(self.wrong(format!("is damaged ({error}): copy or store it again")))
            }
            _ => Err(self.wrong(cut_off())),
        }
    }
}

/// Reads a header within bounds.
fn header(bytes: &mut impl Read) -> Result<NpyHeader, String> {
    let not_one =
        |error: io::Error| format!("is no .npy array ({error}): store it with numpy.save or savez");
    let mut text = vec![0; PRELUDE_BYTES];
    bytes.read_exact(&mut text).map_err(not_one)?;
    if !text.starts_with(MAGIC) {
        return Err("is no .npy array: store it with numpy.save or savez".to_owned());
    }
    let (prelude, length) = match text[6] {
        1 => (10, usize::from(u16::from_le_bytes([text[8], text[9]]))),
        _ => (
            12,
            u32::from_le_bytes([text[8], text[9], text[10], text[11]]) as usize,
        ),
    };
    if length > HEADER_BYTES_MAX {
        return Err(format!(
            "has a header of {length} bytes, {HEADER_BYTES_MAX} at most are read"
        ));
    }
    text.resize((prelude + length).max(PRELUDE_BYTES), 0);
    bytes
        .read_exact(&mut text[PRELUDE_BYTES..])
        .map_err(not_one)?;
    check_text(&text[prelude..])?;
    NpyHeader::from_reader(&text[..]).map_err(not_one)
}

/// Refuses a header that nests deeply, or whose numbers multiplied could overflow.
fn check_text(text: &[u8]) -> Result<(), String> {
    let mut depth = 0usize;
    for byte in text {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > HEADER_DEPTH_MAX {
            return Err(
                "has a header that nests too deeply: its elements must be numbers".to_owned(),
            );
        }
    }
    let numbers = text.split(|byte| !byte.is_ascii_digit());
    let numbers = numbers.filter(|digits| digits.iter().any(|digit| *digit != b'0'));
    let mut numbers = numbers.map(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
    let product = numbers.try_fold(1u64, |all, number| all.checked_mul(number?));
    match product {
        Some(_) => Ok(()),
        None => Err("has more elements than can be counted".to_owned()),
    }
}

fn elements<'a>(npy: NpyFile<impl Read + 'a>) -> Result<Elements<'a>, String> {
    let other = "convert it to float32, or to int64 where the job's input is of indices";
    let dtype = npy.dtype();
    let DType::Plain(of) = &dtype else {
        return Err(format!("is structured, {}: {other}", dtype.descr()));
    };
    macro_rules! read {
        ($variant:ident, $element:ty, $to:expr) => {{
            let all = npy
                .data::<$element>()
                .map_err(|error| format!("cannot be read: {error}"))?;
            Elements::$variant(Box::new(all.map(|next| next.map($to))))
        }};
    }
    Ok(match (of.type_char(), of.size_field()) {
        (TypeChar::Float, 4) => read!(Numbers, f32, f64::from),
        (TypeChar::Float, 8) => read!(Numbers, f64, f64::from),
        (TypeChar::Bool, 1) => read!(Integers, bool, i64::from),
        (TypeChar::Int, 1) => read!(Integers, i8, i64::from),
        (TypeChar::Int, 2) => read!(Integers, i16, i64::from),
        (TypeChar::Int, 4) => read!(Integers, i32, i64::from),
        (TypeChar::Int, 8) => read!(Integers, i64, i64::from),
        (TypeChar::Uint, 1) => read!(Integers, u8, i64::from),
        (TypeChar::Uint, 2) => read!(Integers, u16, i64::from),
        (TypeChar::Uint, 4) => read!(Integers, u32, i64::from),
        (TypeChar::Object, _) => {
            return Err(format!(
                "holds Python objects, which are never read: {other}"
            ));
        }
        _ => return Err(format!("is of type {of}: {other}")),
    })
}
