//! What a process keeps on disk, so that it can be killed at any instant.
//!
//! Plain files: an entry is written beside its place, flushed, and renamed into it, so a reader finds
//! the old bytes or the new ones and never a part. A device holds a handful of entries at a time; a
//! database would add code and size to the agent without giving it anything.
//!
//! All of it blocks the calling thread for as long as the disk takes.

mod lock;
mod objects;
mod outbox;

pub use lock::{FileLock, HomeLock};
pub use objects::ObjectCache;
pub use outbox::Outbox;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Ends the name of a file that is not yet in its place.
const TEMPORARY_SUFFIX: &str = ".part";

/// Ends the name of a file that was set aside.
const DAMAGED_SUFFIX: &str = ".damaged";

/// Who may read a file that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Its owner only (0600): keys and tokens.
    Owner,
    /// Whoever the process's umask allows.
    Umask,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Access::Owner => 0o600,
            Access::Umask => 0o666,
        }
    }
}

/// Why the disk did not keep or give back what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store has reached its bound.
    #[error(
        "{} holds {held_bytes} bytes and may hold {bytes_max}: no room for {wanted_bytes} more; raise its limit or wait until entries are settled",
        path.display()
    )]
    Full {
        /// The store's folder.
        path: PathBuf,
        /// Bytes in it now.
        held_bytes: u64,
        /// Its bound.
        bytes_max: u64,
        /// Bytes that were to be added.
        wanted_bytes: u64,
    },
    /// A key that cannot be a file's name.
    #[error(
        "key {key:?} cannot be stored: use 1 to {} letters, digits, '.', '_' or '-', starting with a letter or digit",
        outbox::KEY_BYTES_MAX
    )]
    InvalidKey {
        /// The key, cut to what fits a line.
        key: String,
    },
    /// The bytes in a file are not the ones that were put there.
    #[error("{} is damaged: its contents do not match their digest; remove the file", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
    },
    /// Another process has this home.
    #[error(
        "{} is in use by another process{}: stop that one, or start this one with another --home",
        home.display(),
        pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The home folder.
        home: PathBuf,
        /// The process that holds it, when it could be read.
        pid: Option<String>,
    },
}

/// What to do where it is not plain from what the system says.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let the user that runs this own the file and its folder"
        }
        _ => "",
    }
}

impl StoreError {
    /// What becomes of an error of the file system when `action` was tried on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The bytes of a file, or none where there is none.
///
/// # Errors
/// [`StoreError::Io`].
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

/// Puts `bytes` at `path`, durably and as a whole: after a crash at any instant the file holds its old
/// bytes or the new ones.
///
/// # Errors
/// [`StoreError::Io`], after which the old bytes are still in place.
pub fn write_atomic(path: &Path, bytes: &[u8], access: Access) -> Result<(), StoreError> {
    let (folder, temporary) = beside(path)?;
    write_and_rename(path, &temporary, bytes, access, Durability::Flushed)?;
    sync_folder(folder)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Flushed,
    /// May be lost with the machine, never torn by the process: for what can be fetched again.
    Cached,
}

fn beside(path: &Path) -> Result<(&Path, PathBuf), StoreError> {
    let no_name = || StoreError::Io {
        action: "write",
        path: path.to_owned(),
        source: io::Error::from(io::ErrorKind::InvalidFilename),
    };
    let folder = path.parent().ok_or_else(no_name)?;
    let mut name = path.file_name().ok_or_else(no_name)?.to_owned();
    name.push(TEMPORARY_SUFFIX);
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    Ok((folder, folder.join(name)))
}

fn write_and_rename(
    path: &Path,
    temporary: &Path,
    bytes: &[u8],
    access: Access,
    durability: Durability,
) -> Result<(), StoreError> {
    // A left-over of a crash may have another mode; only a fresh file gets the one asked for.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("remove", temporary)(error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(access.mode())
        .open(temporary)
        .map_err(StoreError::io("create", temporary))?;
    file.write_all(bytes)
        .map_err(StoreError::io("write", temporary))?;
    if durability == Durability::Flushed {
        file.sync_all()
            .map_err(StoreError::io("flush", temporary))?;
    }
    drop(file);
    fs::rename(temporary, path).map_err(StoreError::io("rename to", path))
}

/// Flushes which files are in a folder.
///
/// # Errors
/// [`StoreError::Io`].
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::io("flush folder", folder))
}

/// The plain files of `folder` with their sizes in bytes; removes what a crash left half-written.
fn files_in(folder: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        let meta = entry.metadata().map_err(StoreError::io("read", &path))?;
        if !meta.is_file() {
            continue;
        }
        if name.ends_with(TEMPORARY_SUFFIX) {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            continue;
        }
        files.push((name, meta.len()));
    }
    Ok(files)
}

/// Makes a home, whose files are its owner's alone (0700); one that is there stays as it is.
///
/// # Errors
/// [`StoreError::Io`].
pub fn create_home(home: &Path) -> Result<(), StoreError> {
    if home.is_dir() {
        return Ok(());
    }
    if let Some(parent) = home.parent() {
        create_folder(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(home) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && home.is_dir() => Ok(()),
        made => made.map_err(StoreError::io("create folder", home)),
    }
}

fn create_folder(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(StoreError::io("create folder", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_with_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(folder.path().join("key.part"), b"left by a crash").unwrap();
        write_atomic(&path, b"one", Access::Owner).unwrap();
        write_atomic(&path, b"two", Access::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files_in(folder.path()).unwrap(), [("key".to_owned(), 3)]);
    }

    #[test]
    fn a_new_home_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let home = folder.path().join("homes").join("edge");
        create_home(&home).unwrap();
        create_home(&home).unwrap();
        assert_eq!(mode(&home), 0o700);
        let shared = folder.path().join("homes");
        assert_ne!(mode(&shared), 0o700, "other users may have homes there");
        fs::write(shared.join("file"), b"").unwrap();
        let error = create_home(&shared.join("file")).unwrap_err().to_string();
        assert!(error.contains("homes/file"), "{error}");
    }

    #[test]
    fn an_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("file");
        let error = write_atomic(&path, b"x", Access::Umask).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
