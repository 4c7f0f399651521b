//! Whether a device's data have changed since they were read.

use std::fs::{Metadata, metadata, read_dir};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Most files of a folder that are looked at; one with more is read again each round.
const FILES_MAX: usize = 1 << 20;

/// Levels of folders below a device's own: `images/CLASS/FILE` is the deepest that a job may ask for.
const DEPTH_MAX: usize = 3;

/// What changes when a file does, or any file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Vec<FileStamp>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct FileStamp {
    inode: (u64, u64),
    bytes: u64,
    modified_ns: (i64, i64),
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Stamp {
    /// That of a path as it is now; none where it cannot be told.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut files = Vec::new();
        add(path, DEPTH_MAX, &mut files).ok()?;
        // A folder lists its files in any order.
        files.sort_unstable();
        (files.len() <= FILES_MAX).then_some(Self(files))
    }
}

fn add(path: &Path, depth: usize, files: &mut Vec<FileStamp>) -> io::Result<()> {
    let own = metadata(path)?;
    let is_folder = own.is_dir();
    files.push(FileStamp::of(&own));
    if !is_folder || depth == 0 {
        return Ok(());
    }
    for entry in read_dir(path)? {
        if files.len() > FILES_MAX {
            break;
        }
        add(&entry?.path(), depth - 1, files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_anywhere_in_a_folder_shows() {
        let folder = tempfile::tempdir().unwrap();
        let class = folder.path().join("images/cat");
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join("1.png"), "a").unwrap();
        let stamp = || Stamp::of(folder.path()).unwrap();
        let before = stamp();
        assert_eq!(stamp(), before);
        std::fs::write(class.join("1.png"), "ab").unwrap();
        let longer = stamp();
        assert_ne!(longer, before);
        std::fs::rename(class.join("1.png"), class.join("2.png")).unwrap();
        assert_ne!(stamp(), longer, "the folder has changed");
        assert!(Stamp::of(&folder.path().join("nothing")).is_none());
    }
}
