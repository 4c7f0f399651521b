//! Objects by digest: models, parameters, long lists.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fl_model::Digest;

use super::{
    Access, Durability, StoreError, beside, create_folder, files_in, read_file, write_and_rename,
};

/// Objects on disk under their SHA-256, bounded in bytes: the ones used longest ago make room. What is
/// in it can be fetched again, so nothing is flushed; a damaged object is as good as absent.
#[derive(Debug)]
pub struct ObjectCache {
    folder: PathBuf,
    bytes_max: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<Digest, HeldObject>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug)]
struct HeldObject {
    bytes: u64,
    last_use: u64,
}

impl ObjectCache {
    /// Opens the cache in `folder`, which is created when it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, StoreError> {
        create_folder(folder)?;
        let mut held = Held::default();
        for (name, bytes) in files_in(folder)? {
            if let Ok(digest) = name.parse::<Digest>() {
                held.bytes += bytes;
                held.objects
                    .insert(digest, HeldObject { bytes, last_use: 0 });
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            bytes_max,
            held: Mutex::new(held),
        })
    }

    /// Keeps `bytes` and returns their digest, which is their name from now on.
    ///
    /// # Errors
    /// [`StoreError::Full`] when they alone exceed the bound, [`StoreError::Io`].
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let wanted_bytes = bytes.len() as u64;
        let mut held = self.held();
        if self.is_here(&held, &digest) {
            held.touch(&digest);
            return Ok(digest);
        }
        // Where only its file has vanished, it is written again.
        self.forget(&mut held, &digest)?;
        if wanted_bytes > self.bytes_max {
            return Err(StoreError::Full {
                path: self.folder.clone(),
                held_bytes: 0,
                bytes_max: self.bytes_max,
                wanted_bytes,
            });
        }
        while held.bytes + wanted_bytes > self.bytes_max {
            let Some(oldest) = held.oldest() else { break };
            self.forget(&mut held, &oldest)?;
        }
        let path = self.path(&digest);
        let (_, temporary) = beside(&path)?;
        write_and_rename(&path, &temporary, bytes, Access::Umask, Durability::Cached)?;
        held.uses += 1;
        let last_use = held.uses;
        held.bytes += wanted_bytes;
        let object = HeldObject {
            bytes: wanted_bytes,
            last_use,
        };
        held.objects.insert(digest, object);
        Ok(digest)
    }

    /// The object, or none when it is not here. A damaged one is removed and is not here, nor is one whose
    /// file has vanished.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let mut held = self.held();
        if held.touch(digest).is_none() {
            return Ok(None);
        }
        let path = self.path(digest);
        match read_file(&path)? {
            Some(bytes) if Digest::of(&bytes) == *digest => return Ok(Some(bytes)),
            read => {
                let what = read.map_or("has vanished", |_| "is damaged");
                tracing::warn!(
                    "the cached object {} {what}: it is fetched again",
                    path.display()
                );
            }
        }
        self.forget(&mut held, digest)?;
        Ok(None)
    }

    /// Whether the object is here, without reading it.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.is_here(&self.held(), digest)
    }

    fn is_here(&self, held: &Held, digest: &Digest) -> bool {
        held.objects.contains_key(digest) && self.path(digest).is_file()
    }

    /// Bytes of all objects together.
    pub fn held_bytes(&self) -> u64 {
        self.held().bytes
    }

    /// Where the object lies, for a library that wants a file.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn forget(&self, held: &mut Held, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &path)(error));
            }
            _ => {}
        }
        if let Some(object) = held.objects.remove(digest) {
            held.bytes -= object.bytes;
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Sums and entries are changed together, after the disk; a panic between them only misjudges
        // how full the cache is.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn touch(&mut self, digest: &Digest) -> Option<()> {
        let object = self.objects.get_mut(digest)?;
        self.uses += 1;
        object.last_use = self.uses;
        Some(())
    }

    fn oldest(&self) -> Option<Digest> {
        self.objects
            .iter()
            .min_by_key(|(_, object)| object.last_use)
            .map(|(digest, _)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_outlive_the_process_and_are_checked_on_reading() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ObjectCache::open(folder.path(), 100).unwrap();
        let digest = cache.put(b"model").unwrap();
        assert_eq!(cache.put(b"model").unwrap(), digest);
        drop(cache);

        let cache = ObjectCache::open(folder.path(), 100).unwrap();
        assert_eq!(cache.held_bytes(), 5);
        assert_eq!(cache.get(&digest).unwrap().unwrap(), b"model");
        fs::write(cache.path(&digest), b"wrong").unwrap();
        assert_eq!(cache.get(&digest).unwrap(), None);
        assert!(!cache.contains(&digest));
        assert_eq!(cache.held_bytes(), 0);
    }

    #[test]
    fn an_object_whose_file_vanished_is_not_here_and_can_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ObjectCache::open(folder.path(), 10).unwrap();
        let vanish = |bytes: &[u8]| {
            let digest = cache.put(bytes).unwrap();
            fs::remove_file(cache.path(&digest)).unwrap();
            digest
        };
        let one = vanish(b"1111");
        assert!(!cache.contains(&one));
        assert_eq!(cache.get(&one).unwrap(), None);
        assert_eq!(cache.held_bytes(), 0);
        vanish(b"1111");
        assert_eq!(cache.put(b"1111").unwrap(), one);
        assert_eq!(cache.get(&one).unwrap().unwrap(), b"1111");
        assert_eq!(cache.held_bytes(), 4);
        // A full cache makes room past it.
        let two = vanish(b"2222");
        let three = cache.put(b"33333333").unwrap();
        assert!(cache.contains(&three) && !cache.contains(&two));
    }

    #[test]
    fn the_object_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ObjectCache::open(folder.path(), 10).unwrap();
        let one = cache.put(b"1111").unwrap();
        let two = cache.put(b"2222").unwrap();
        cache.get(&one).unwrap().unwrap();
        let three = cache.put(b"3333").unwrap();
        assert!(cache.contains(&one) && !cache.contains(&two) && cache.contains(&three));
        let error = cache.put(&[0; 11]).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
    }
}
