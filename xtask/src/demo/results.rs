//! Where a demo leaves its results: `target/demo/<UTC time>/`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// Demos that may start within the same second.
const SAME_SECOND_MAX: usize = 100;

/// The folder of one demo and the places in it.
#[derive(Debug, Clone)]
pub struct Results {
    folder: PathBuf,
}

impl Results {
    /// Makes a new folder below the workspace's `target/demo`, named after the time.
    pub fn create(root: &Path) -> Result<Self> {
        let parent = root.join("target").join("demo");
        fs::create_dir_all(&parent)
            .with_context(|| format!("cannot create the folder {}", parent.display()))?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock stands before 1970: set it")?;
        let time = utc(since_epoch.as_secs());
        for attempt in 1..=SAME_SECOND_MAX {
            let name = if attempt == 1 {
                time.clone()
            } else {
                format!("{time}-{attempt}")
            };
            let folder = parent.join(name);
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self { folder }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot create {}", folder.display()));
                }
            }
        }
        bail!(
            "{} folders of {time} exist in {}",
            SAME_SECOND_MAX,
            parent.display()
        )
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One log per process.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The home folder of the process `name`.
    pub fn home(&self, name: &str) -> PathBuf {
        self.homes().join(name)
    }

    /// What holds every process's home.
    pub fn homes(&self) -> PathBuf {
        self.folder.join("homes")
    }

    /// The job file that was run.
    pub fn job(&self, job: &str) -> PathBuf {
        self.folder.join(format!("{job}.toml"))
    }

    /// Every command that was given, in order.
    pub fn commands(&self) -> PathBuf {
        self.folder.join("commands.txt")
    }

    /// The final model of `job`.
    pub fn model(&self, job: &str) -> PathBuf {
        self.folder.join(format!("{job}.onnx"))
    }

    /// The summary.
    pub fn summary(&self) -> PathBuf {
        self.folder.join("summary.json")
    }

    /// All spans, as OTLP JSON.
    pub fn traces(&self) -> PathBuf {
        self.folder.join("traces.json")
    }
}

/// Seconds since 1970 as `2026-11-21T12-34-56Z`: fit for a file name on any file system.
fn utc(seconds: u64) -> String {
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil_date(mut days: u64) -> (u64, usize, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil() {
        let check = |seconds: u64, expected: &str| assert_eq!(utc(seconds), expected);
        check(0, "1970-01-01T00-00-00Z");
        check(951_782_400, "2000-02-29T00-00-00Z");
        check(1_709_164_799, "2024-02-28T23-59-59Z");
        check(1_735_689_599, "2024-12-31T23-59-59Z");
        check(1_795_263_296, "2026-11-21T12-14-56Z");
    }

    #[test]
    fn every_demo_has_a_folder_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let first = Results::create(root.path()).unwrap();
        let second = Results::create(root.path()).unwrap();
        assert_ne!(first.folder(), second.folder());
        assert!(first.folder().starts_with(root.path().join("target/demo")));
    }
}
