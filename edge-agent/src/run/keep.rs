//! Second names for a device's files, so that what they held is there again after they have changed.
//!
//! A file is shared with its copy where the file system can do that, copied where they are few and small, and
//! linked otherwise: a link outlives that the file is replaced or removed, and its digest tells where it was
//! rewritten. That it grows does no harm to a CSV, of which the first bytes are read. Images are many and seldom rewritten, and a folder that gets one more each round is not copied
//! each round.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Files that are larger together are not copied, in bytes.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// More files are not copied.
const COPY_FILES_MAX: usize = 64;

/// More files are not kept.
const FILES_MAX: usize = 1 << 20;

/// The file with that name at `place`; `place` itself where the name is empty.
pub(super) fn at(place: &Path, name: &Path) -> PathBuf {
    match name.as_os_str().is_empty() {
        true => place.to_owned(),
        false => place.join(name),
    }
}

/// Keeps the files with these names at `from` under the same names at `to`, all of them or none, as cheaply as
/// can be, and returns how the last of them was kept. After a power cut they are there.
///
/// # Errors
/// One of them can neither be copied nor linked, as one on another file system or of another user; or there
/// are more than [`FILES_MAX`].
pub(super) fn keep(from: &Path, to: &Path, names: &[PathBuf]) -> io::Result<By> {
    let kept = keep_all(from, to, names);
    if kept.is_err() {
        // What is there of them would be in the way; it is not an error of its own.
        let _ = match to.is_dir() {
            true => fs::remove_dir_all(to),
            false => fs::remove_file(to),
        };
    }
    kept
}

fn keep_all(from: &Path, to: &Path, names: &[PathBuf]) -> io::Result<By> {
    if names.len() > FILES_MAX {
        return Err(io::Error::other(format!(
            "there are more than {FILES_MAX} files"
        )));
    }
    let mut bytes = 0u64;
    for name in names {
        bytes = bytes.saturating_add(fs::metadata(at(from, name))?.len());
    }
    let is_small = names.len() <= COPY_FILES_MAX && bytes <= COPY_BYTES_MAX;
    let mut by = By::Sharing;
    let mut folder = None;
    for name in names {
        let (from, to) = (at(from, name), at(to, name));
        if to.parent() != folder.as_deref() {
            folder = to.parent().map(Path::to_owned);
            fs::create_dir_all(folder.as_deref().unwrap_or(&to))?;
        }
        by = keep_one(&from, &to, by, is_small)?;
    }
    // One flush for all of them: a folder may hold thousands.
    match File::open(to) {
        Ok(kept) if to.is_dir() => rustix::fs::syncfs(kept)?,
        Ok(kept) => kept.sync_all()?,
        // There were no files.
        Err(_) => {}
    }
    Ok(by)
}

/// How a file is kept; where one way does not do for a file, it is not tried with the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Sharing,
    Copying,
    /// Some of them: what is written into such a file changes what was kept.
    Linking,
}

fn keep_one(from: &Path, to: &Path, by: By, is_small: bool) -> io::Result<By> {
    if by == By::Sharing && share(from, to).is_ok() {
        return Ok(By::Sharing);
    }
    if by <= By::Copying && is_small && fs::copy(from, to).is_ok() {
        return Ok(By::Copying);
    }
    if by < By::Linking {
        // What an attempt has left would be in the way.
        let _ = fs::remove_file(to);
    }
    // Not a link to a link, which may lead elsewhere soon.
    fs::hard_link(fs::canonicalize(from)?, to)?;
    Ok(By::Linking)
}

/// A second file on the same blocks, where the file system can do that.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    Ok(rustix::fs::ioctl_ficlone(&to, &from)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    const NAMES: [&str; 2] = ["a/large", "b/small"];

    fn names() -> Vec<PathBuf> {
        NAMES.map(PathBuf::from).to_vec()
    }

    /// A folder of two files, one of them of that many bytes.
    fn files(bytes: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in NAMES.iter().zip([bytes, 3]) {
            let file = folder.path().join("own").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            File::create(file).unwrap().set_len(bytes).unwrap();
        }
        folder
    }

    #[test]
    fn files_outlive_that_others_take_their_places() {
        let check = |bytes: u64, in_place: bool| {
            let folder = files(bytes);
            let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
            keep(&own, &copy, &names()).unwrap();
            for name in NAMES {
                let own = own.join(name);
                if !in_place {
                    fs::remove_file(&own).unwrap();
                }
                fs::write(&own, "other").unwrap();
            }
            fs::remove_dir_all(&own).unwrap();
            for (name, bytes) in NAMES.iter().zip([bytes, 3]) {
                assert_eq!(fs::metadata(copy.join(name)).unwrap().len(), bytes);
            }
        };
        check(COPY_BYTES_MAX - 3, false);
        check(COPY_BYTES_MAX - 3, true);
        check(COPY_BYTES_MAX, false);
    }

    #[test]
    fn of_many_files_none_is_written_again() {
        let check = |files: usize, is_small: bool| {
            let folder = tempfile::tempdir().unwrap();
            let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
            fs::create_dir(&own).unwrap();
            let names: Vec<PathBuf> = (0..files).map(|file| file.to_string().into()).collect();
            for name in &names {
                fs::write(own.join(name), "an image").unwrap();
            }
            keep(&own, &copy, &names).unwrap();
            let shares = share(&own.join("0"), &folder.path().join("shared")).is_ok();
            for name in &names {
                let kept = fs::metadata(copy.join(name)).unwrap();
                assert!(shares || (kept.nlink() == 1) == is_small, "{name:?}");
            }
        };
        check(COPY_FILES_MAX, true);
        check(COPY_FILES_MAX + 1, false);
    }

    #[test]
    fn a_link_is_kept_as_the_file_that_it_leads_to() {
        let folder = files(COPY_BYTES_MAX);
        let (link, copy) = (folder.path().join("link"), folder.path().join("copy"));
        symlink("own/a/large", &link).unwrap();
        let itself = [PathBuf::new()];
        keep(&link, &copy, &itself).unwrap();
        fs::remove_file(&link).unwrap();
        symlink("own/b/small", &link).unwrap();
        let kept = fs::symlink_metadata(&copy).unwrap();
        assert!(kept.is_file() && kept.len() == COPY_BYTES_MAX);
    }

    #[test]
    fn where_one_cannot_be_kept_none_is() {
        let folder = files(1);
        let (own, copy) = (folder.path().join("own"), folder.path().join("copy"));
        fs::remove_file(own.join(NAMES[1])).unwrap();
        keep(&own, &copy, &names()).unwrap_err();
        assert!(!copy.exists());
        // There when they are counted, and gone when they are kept.
        fs::create_dir(own.join(NAMES[1])).unwrap();
        keep(&own, &copy, &names()).unwrap_err();
        assert!(!copy.exists());
    }
}
