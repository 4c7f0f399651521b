//! Where arrays lie: members of an `.npz`, or `.npy` files of a folder.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use fl_model::Digest;
use sha2::{Digest as _, Sha256};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::super::error::DataError;
use super::npy::{Array, MAGIC, Place};

/// What the files of arrays are called, in a folder and within an `.npz`.
const EXTENSION: &str = ".npy";

/// Most names that a message lists.
const NAMES_SHOWN_MAX: usize = 20;

/// Most files that are looked at for it.
const FILES_LOOKED_AT_MAX: usize = 1 << 10;

/// An open source of arrays.
pub(super) struct Store {
    file: String,
    kind: Kind,
}

enum Kind {
    Npz(ZipArchive<BufReader<File>>),
    Folder(PathBuf),
}

impl Store {
    /// Opens an `.npz`, and hashes it; or a folder, of which the arrays are hashed as they are opened.
    /// Messages name `file`.
    pub(super) fn open(file: &str, path: &Path) -> Result<(Self, Sha256), DataError> {
        let file = file.to_owned();
        let failed = |source| read_failed(&file, source);
        let mut hash = Sha256::new();
        if path.is_dir() {
            let kind = Kind::Folder(path.to_owned());
            return Ok((Self { file, kind }, hash));
        }
        let mut bytes = File::open(path).map_err(failed)?;
        hash_all(&mut bytes, &mut hash).map_err(failed)?;
        bytes.rewind().map_err(failed)?;
        let mut first = Vec::new();
        let mut begin = (&mut bytes).take(MAGIC.len() as u64);
        begin.read_to_end(&mut first).map_err(failed)?;
        bytes.rewind().map_err(failed)?;
        match ZipArchive::new(BufReader::new(bytes)) {
            Ok(archive) => {
                let kind = Kind::Npz(archive);
                Ok((Self { file, kind }, hash))
            }
            Err(error) => Err(DataError::layout(file, no_npz(&first, &error))),
        }
    }

    /// The array of that name; bytes that `hash` does not hold yet go there.
    pub(super) fn array(&mut self, name: &str, hash: &mut Sha256) -> Result<Array<'_>, DataError> {
        let place = Place {
            file: self.file.clone(),
            array: name.to_owned(),
        };
        match &mut self.kind {
            Kind::Npz(archive) => {
                let names = names_of(archive.file_names().flatten());
                match archive.by_name(&format!("{name}{EXTENSION}")) {
                    Ok(member) => match member.compression() {
                        CompressionMethod::Stored | CompressionMethod::Deflated => {
                            Array::open(place, BufReader::new(member))
                        }
                        other => Err(place.wrong(format!(
                            "is compressed by {other}, and deflate alone is read: store it with \
                             numpy.savez_compressed or numpy.savez"
                        ))),
                    },
                    Err(ZipError::FileNotFound) => Err(missing(&place, &names)),
                    Err(error) => {
                        Err(place.wrong(format!("cannot be read ({error}): store it again")))
                    }
                }
            }
            Kind::Folder(folder) => {
                let path = folder.join(file_of(name));
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::NotFound => missing(&place, &listed(folder)),
                    _ => read_failed(
                        &format!("{}/{}", self.file, file_of(name).display()),
                        source,
                    ),
                };
                let mut bytes = File::open(&path).map_err(failed)?;
                hash.update((name.len() as u64).to_be_bytes());
                hash.update(name);
                hash_all(&mut bytes, hash).map_err(failed)?;
                bytes.rewind().map_err(failed)?;
                Array::open(place.clone(), BufReader::new(bytes))
            }
        }
    }
}

/// The file of an array in a folder.
pub(super) fn file_of(array: &str) -> PathBuf {
    PathBuf::from(format!("{array}{EXTENSION}"))
}

/// Why a file with these first bytes is no `.npz`, and what to do.
fn no_npz(first: &[u8], error: &ZipError) -> String {
    if first.starts_with(b"PK") {
        return format!("it is cut off or damaged as an .npz ({error}): copy or store it again");
    }
    if first == MAGIC {
        return "it is a single array, .npy: the job asks for several by name, so store them with numpy.savez, \
                or set data.file to the folder that holds them"
            .to_owned();
    }
    format!("{error}: the job asks for arrays, an .npz or a folder of .npy files")
}

pub(super) fn read_failed(file: &str, source: io::Error) -> DataError {
    let file = file.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => DataError::Missing { file },
        _ => DataError::Read { file, source },
    }
}

fn missing(place: &Place, names: &str) -> DataError {
    DataError::MissingArray {
        file: place.file.clone(),
        array: place.array.clone(),
        names: names.to_owned(),
    }
}

/// The digest of all that was hashed.
pub(super) fn digest(hash: Sha256) -> Digest {
    Digest(hash.finalize().into())
}

/// Hashes a file's length and its bytes.
fn hash_all(bytes: &mut File, hash: &mut Sha256) -> io::Result<()> {
    hash.update(bytes.metadata()?.len().to_be_bytes());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(()),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The names of arrays among those of files, for a message.
fn names_of(files: impl Iterator<Item = impl AsRef<str>>) -> String {
    let own = |name: &str| name.strip_suffix(EXTENSION).map(str::to_owned);
    let files = files.take(FILES_LOOKED_AT_MAX);
    let mut names: Vec<String> = files.filter_map(|name| own(name.as_ref())).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "no arrays".to_owned(),
        false => names[..names.len().min(NAMES_SHOWN_MAX)].join(", "),
    }
}

fn listed(folder: &Path) -> String {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names_of(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()))
}
