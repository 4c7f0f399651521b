//! One process per home folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{StoreError, create_home};
use crate::clock::Clock;

const LOCK_FILE: &str = "lock";

/// How long the process before may take to end, in milliseconds.
const LEAVE_HOME_MS: u64 = 5_000;

/// Between two looks at whether it has.
const RETRY_HOME: Duration = Duration::from_millis(100);

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
        create_home(home)?;
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

    /// Takes `home` for a process that stays, once one that is just ending has left it: a killed one
    /// holds it until the system has closed its files.
    ///
    /// # Errors
    /// [`StoreError::Locked`] where it does not end; every error of [`HomeLock::acquire`].
    pub async fn take(home: &Path) -> Result<Self, StoreError> {
        let clock = Clock::start();
        loop {
            match Self::acquire(home) {
                Err(StoreError::Locked { .. }) if clock.now_ms() < LEAVE_HOME_MS => {
                    tokio::time::sleep(RETRY_HOME).await;
                }
                taken => return taken,
            }
        }
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

/// Holds a file of its own beside what it protects, so that short commands take turns.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until no other process holds `path`, which is created when it does not exist. The lock ends
    /// with the value or with the process.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn wait(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("open", path))?;
        file.lock().map_err(StoreError::io("lock", path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_commands_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let counter = folder.path().join("counter");
        fs::write(&counter, "0").unwrap();
        let count = || {
            for _ in 0..50 {
                let _turn = FileLock::wait(&path).unwrap();
                let count: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                fs::write(&counter, (count + 1).to_string()).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(count);
            scope.spawn(count);
        });
        assert_eq!(fs::read_to_string(&counter).unwrap(), "100");
    }

    #[tokio::test]
    async fn a_process_that_is_just_ending_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let held = HomeLock::acquire(folder.path()).unwrap();
        // Polled in this order: it finds the home taken before it is left.
        let (taken, ()) = tokio::join!(biased; HomeLock::take(folder.path()), async { drop(held) });
        taken.unwrap();
    }

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
