//! Whether a device's data have changed since they were read.

use std::fs::{Metadata, metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::keep::at;

/// A file that was written less long ago may be written again without that its time shows it: clocks of file
/// systems tick in up to 2 s.
const TICK: Duration = Duration::from_secs(3);

/// What changes when one of some files does, or when they are others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// SHA-256 of their names, and of what the file system says of each.
    sha256: [u8; 32],
    /// Of their names, lengths and times alone.
    written_sha256: [u8; 32],
    /// When one of them was written last.
    written: SystemTime,
}

impl Stamp {
    /// That of the files with these names at `place`; none where one of them cannot be looked at.
    pub(super) fn of(place: &Path, names: &[PathBuf]) -> Option<Self> {
        let (mut hash, mut written_hash) = (Sha256::new(), Sha256::new());
        let mut written = SystemTime::UNIX_EPOCH;
        for name in names {
            let found = metadata(at(place, name)).ok()?;
            for hash in [&mut hash, &mut written_hash] {
                add(name, &found, hash);
            }
            for number in [found.dev(), found.ino()] {
                hash.update(number.to_be_bytes());
            }
            written = written.max(found.modified().ok()?);
        }
        Some(Self {
            sha256: hash.finalize().into(),
            written_sha256: written_hash.finalize().into(),
            written,
        })
    }

    /// Whether these are files of the same names, as long and written when the others were: a link to a file may be
    /// on another inode than it was, as where layers of a container are one file system.
    pub(super) fn is_written_as(&self, other: &Self) -> bool {
        self.written_sha256 == other.written_sha256
    }

    /// Whether any change after `now`, when the files were looked at, shows in another stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(self.written).is_ok_and(|age| age > TICK)
    }
}

fn add(name: &Path, found: &Metadata, hash: &mut Sha256) {
    let name = name.as_os_str().as_bytes();
    hash.update((name.len() as u64).to_be_bytes());
    hash.update(name);
    hash.update(found.len().to_be_bytes());
    for number in [found.mtime(), found.mtime_nsec()] {
        hash.update(number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("images/cat");
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join("1.png"), "a").unwrap();
        let names = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(PathBuf::from).collect() };
        let one = names(&["images/cat/1.png"]);
        let stamp = |names: &[PathBuf]| Stamp::of(folder.path(), names);
        let before = stamp(&one).unwrap();
        assert_eq!(stamp(&one), Some(before));
        std::fs::write(class.join("1.png"), "ab").unwrap();
        let longer = stamp(&one).unwrap();
        assert_ne!(longer, before);
        std::fs::write(class.join("other.txt"), "not one of them").unwrap();
        assert_eq!(stamp(&one), Some(longer));
        std::fs::rename(class.join("1.png"), class.join("2.png")).unwrap();
        assert_eq!(stamp(&one), None);
        let renamed = stamp(&names(&["images/cat/2.png"])).unwrap();
        assert_ne!(renamed, longer, "a name counts");
        let file = class.join("2.png");
        assert!(Stamp::of(&file, &names(&[""])).is_some());
        assert!(Stamp::of(&folder.path().join("nothing"), &names(&[""])).is_none());

        let copy = folder.path().join("copy.png");
        std::fs::copy(&file, &copy).unwrap();
        let of = |file: &Path| Stamp::of(file, &names(&[""])).unwrap();
        assert!(!of(&file).is_written_as(&of(&copy)));
        let copied = std::fs::File::options().write(true).open(&copy).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        copied.set_modified(written).unwrap();
        assert!(of(&file).is_written_as(&of(&copy)));
        assert_ne!(of(&file), of(&copy));

        assert!(!renamed.is_settled(written));
        assert!(!renamed.is_settled(written + TICK));
        assert!(renamed.is_settled(written + TICK + Duration::from_millis(1)));
        assert!(
            !renamed.is_settled(written - TICK),
            "a clock that runs ahead"
        );
    }
}
