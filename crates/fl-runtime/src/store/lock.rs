//! One process per home folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::{StoreError, create_folder};

const LOCK_FILE: &str = "lock";

/// Longest content of a lock file that is read back, in bytes.
const PID_BYTES_MAX: u64 = 20;

/// Holds a home folder for this process until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct HomeLock {
    home: PathBuf,
    _file: File,
}

impl HomeLock {
    /// Takes `home`, which is created when it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it.
    pub fn acquire(home: &Path) -> Result<Self, StoreError> {
        create_folder(home)?;
        let path = home.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = (&file).take(PID_BYTES_MAX).read_to_string(&mut pid);
                let pid = Some(pid.trim().to_owned()).filter(|pid| read.is_ok() && !pid.is_empty());
                return Err(StoreError::Locked {
                    home: home.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(StoreError::io("write", &path))?;
        Ok(Self {
            home: home.to_owned(),
            _file: file,
        })
    }

    /// The folder that is held.
    pub fn home(&self) -> &Path {
        &self.home
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // The lock itself ends with the descriptor; an empty file only spares a reader an old pid.
        let _ = fs::write(self.home.join(LOCK_FILE), b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_has_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a home");
        let held = HomeLock::acquire(&home).unwrap();
        let error = HomeLock::acquire(&home).unwrap_err().to_string();
        assert!(error.contains("a home"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        HomeLock::acquire(&home).unwrap();
    }
}
