//! What has to be sent until somebody answers for it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fl_model::Digest;

use super::{
    Access, DAMAGED_SUFFIX, StoreError, TEMPORARY_SUFFIX, create_folder, files_in, read_file,
    sync_folder, write_atomic,
};

/// Longest key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 200;

/// Bytes of the digest that precedes an entry's bytes in its file.
const DIGEST_BYTES: usize = 32;

/// Entries on disk, by key, bounded in bytes. Safe to share between threads.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    bytes_max: u64,
    sizes: Mutex<BTreeMap<String, u64>>,
}

impl Outbox {
    /// Opens the outbox in `folder`, which is created when it does not exist, with what was left in it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        create_folder(folder)?;
        let sizes = files_in(folder)?
            .into_iter()
            .filter(|(name, _)| is_key(name))
            .map(|(name, bytes)| (name, bytes.saturating_sub(DIGEST_BYTES as u64)))
            .collect();
        Ok(Self {
            folder: folder.to_owned(),
            bytes_max,
            sizes: Mutex::new(sizes),
        })
    }

    /// Stores `bytes` under `key`, in place of what was there. Returns when they survive a crash.
    ///
    /// # Errors
    /// [`StoreError::Full`] when the outbox would exceed its bound, [`StoreError::InvalidKey`],
    /// [`StoreError::Io`]; the old entry is then still there.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let mut sizes = self.sizes();
        let others: u64 = sizes
            .iter()
            .filter(|(other, _)| *other != key)
            .map(|(_, bytes)| bytes)
            .sum();
        let wanted_bytes = bytes.len() as u64;
        if others.saturating_add(wanted_bytes) > self.bytes_max {
            return Err(StoreError::Full {
                path: self.folder.clone(),
                held_bytes: others,
                bytes_max: self.bytes_max,
                wanted_bytes,
            });
        }
        let mut contents = Vec::with_capacity(DIGEST_BYTES + bytes.len());
        contents.extend_from_slice(&Digest::of(bytes).0);
        contents.extend_from_slice(bytes);
        // An update is in it as it was before it was rounded.
        write_atomic(&path, &contents, Access::Owner)?;
        sizes.insert(key.to_owned(), wanted_bytes);
        Ok(())
    }

    /// The bytes under `key`, or none.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when they are not the ones that were put, [`StoreError::InvalidKey`],
    /// [`StoreError::Io`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(key)?;
        if !self.sizes().contains_key(key) {
            return Ok(None);
        }
        let contents = fs::read(&path).map_err(StoreError::io("read", &path))?;
        intact(&path, contents).map(Some)
    }

    /// The bytes under `key`, or none, in a folder that another process has open as its outbox.
    ///
    /// # Errors
    /// As for [`Outbox::get`].
    pub fn look(folder: &Path, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = path_in(folder, key)?;
        let contents = read_file(&path)?;
        contents.map(|own| intact(&path, own)).transpose()
    }

    /// Removes `key`, durably. It is no error when nothing was there.
    ///
    /// # Errors
    /// [`StoreError::InvalidKey`], [`StoreError::Io`].
    pub fn remove(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let mut sizes = self.sizes();
        if !sizes.contains_key(key) {
            return Ok(());
        }
        fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        sizes.remove(key);
        sync_folder(&self.folder)
    }

    /// Takes `key` out, durably, and leaves its bytes in a file beside for whoever may still read them.
    /// Returns that file, or none when nothing was there.
    ///
    /// # Errors
    /// [`StoreError::InvalidKey`], [`StoreError::Io`].
    pub fn set_aside(&self, key: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path(key)?;
        let mut sizes = self.sizes();
        if !sizes.contains_key(key) {
            return Ok(None);
        }
        let aside = self.folder.join(format!("{key}{DAMAGED_SUFFIX}"));
        fs::rename(&path, &aside).map_err(StoreError::io("rename", &path))?;
        sizes.remove(key);
        sync_folder(&self.folder)?;
        Ok(Some(aside))
    }

    /// Every key, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.sizes().keys().cloned().collect()
    }

    /// Bytes of all entries together.
    pub fn held_bytes(&self) -> u64 {
        self.sizes().values().sum()
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        path_in(&self.folder, key)
    }

    fn sizes(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        // The map is changed only after the disk was, by single inserts and removes: it is never torn.
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path_in(folder: &Path, key: &str) -> Result<PathBuf, StoreError> {
    if is_key(key) {
        return Ok(folder.join(key));
    }
    let key = key.chars().take(KEY_BYTES_MAX).collect();
    Err(StoreError::InvalidKey { key })
}

/// An entry's bytes out of the contents of its file.
fn intact(path: &Path, mut contents: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let is_intact = contents
        .split_first_chunk::<DIGEST_BYTES>()
        .is_some_and(|(digest, bytes)| Digest::of(bytes).0 == *digest);
    match is_intact {
        true => Ok(contents.split_off(DIGEST_BYTES)),
        false => Err(StoreError::Corrupt {
            path: path.to_owned(),
        }),
    }
}

fn is_key(name: &str) -> bool {
    let bytes = name.as_bytes();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    bytes.len() <= KEY_BYTES_MAX
        && bytes.iter().all(allowed)
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && !name.ends_with(TEMPORARY_SUFFIX)
        && !name.ends_with(DAMAGED_SUFFIX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn entries_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), 100).unwrap();
        outbox.put("job.1.train", b"first").unwrap();
        outbox.put("job.2.train", b"second").unwrap();
        outbox.put("job.2.train", b"again").unwrap();
        outbox.remove("job.1.train").unwrap();
        outbox.remove("job.1.train").unwrap();
        let mode = fs::metadata(folder.path().join("job.2.train"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(outbox);

        let outbox = Outbox::open(folder.path(), 100).unwrap();
        assert_eq!(outbox.keys(), ["job.2.train"]);
        assert_eq!(outbox.get("job.2.train").unwrap().unwrap(), b"again");
        assert_eq!(outbox.get("job.1.train").unwrap(), None);
        assert_eq!(outbox.held_bytes(), 5);
    }

    #[test]
    fn a_full_outbox_refuses_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), 10).unwrap();
        outbox.put("a", b"123456").unwrap();
        let error = outbox.put("b", b"12345").unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        outbox.put("a", b"1234567890").unwrap();
        assert_eq!(outbox.keys(), ["a"]);
    }

    #[test]
    fn a_damaged_entry_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), 100).unwrap();
        outbox.put("a", b"bytes").unwrap();
        let path = folder.path().join("a");
        for contents in [&b"short"[..], &[0; 37][..]] {
            fs::write(&path, contents).unwrap();
            let error = outbox.get("a").unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_set_aside_is_no_entry_and_keeps_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), 100).unwrap();
        assert_eq!(outbox.set_aside("a").unwrap(), None);
        outbox.put("a", b"bytes").unwrap();
        let before = fs::read(folder.path().join("a")).unwrap();
        let aside = outbox.set_aside("a").unwrap().unwrap();
        assert_eq!(outbox.get("a").unwrap(), None);
        assert_eq!(outbox.held_bytes(), 0);
        drop(outbox);
        let outbox = Outbox::open(folder.path(), 100).unwrap();
        assert_eq!(outbox.keys(), Vec::<String>::new());
        assert_eq!(fs::read(aside).unwrap(), before);
    }

    #[test]
    fn a_key_stays_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(folder.path(), 100).unwrap();
        for key in [
            "",
            "..",
            "a/b",
            ".a",
            "a.part",
            "a.damaged",
            "ü",
            &"a".repeat(201),
        ] {
            let error = outbox.put(key, b"x").unwrap_err();
            assert!(matches!(error, StoreError::InvalidKey { .. }), "{key}");
        }
    }
}
