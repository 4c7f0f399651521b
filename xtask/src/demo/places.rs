//! The devices that a data folder describes: one folder per region, in it one CSV, `.npz` or folder per
//! device.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fl_model::{DeviceId, ROOT_NAME, RegionId};

/// Every device is a process on this machine.
const DEVICES_MAX: usize = 256;
/// What a device's file is called behind its name.
const EXTENSIONS: [&str; 3] = [".csv.gz", ".csv", ".npz"];

/// A region and its devices, in the order of their names.
#[derive(Debug, Clone)]
pub struct Region {
    /// The folder's name.
    pub id: RegionId,
    /// At least one.
    pub devices: Vec<Device>,
}

/// A device and its data.
#[derive(Debug, Clone)]
pub struct Device {
    /// The file's name without its extension.
    pub id: DeviceId,
    /// The absolute path of its CSV, plain or gzip.
    pub data: PathBuf,
}

/// Reads the regions and devices out of the folder's layout, in the order of their names. Files
/// are not opened; those that are neither CSV nor arrays, and hidden ones, are passed by. A folder within a
/// region is a device with arrays or images.
pub fn discover(data: &Path) -> Result<Vec<Region>> {
    let data = std::path::absolute(data).with_context(|| format!("{}", data.display()))?;
    if !data.is_dir() {
        bail!(
            "the data folder {} does not exist: give a folder that holds one folder per region",
            data.display()
        );
    }
    let mut regions = Vec::new();
    for (name, path) in entries(&data)? {
        if path.is_dir() {
            regions.push(region(&name, &path)?);
        } else if device_name(&name).is_some() {
            bail!(
                "{} lies beside the regions: move it into a folder named after its region",
                path.display()
            );
        }
    }
    if regions.is_empty() {
        bail!(
            "the data folder {} holds no region: make one folder per region, in it one CSV or .npz per device",
            data.display()
        );
    }
    check_devices(&regions)?;
    Ok(regions)
}

/// How many devices the regions have.
pub(super) fn devices_of(regions: &[Region]) -> u32 {
    // More than DEVICES_MAX are refused.
    regions
        .iter()
        .map(|region| region.devices.len() as u32)
        .sum()
}

fn region(name: &str, folder: &Path) -> Result<Region> {
    let id = RegionId::new(name).with_context(|| format!("rename {}", folder.display()))?;
    let mut devices = Vec::new();
    for (file, data) in entries(folder)? {
        let name = match data.is_dir() {
            true => Some(file.as_str()),
            false => device_name(&file).filter(|_| data.is_file()),
        };
        let Some(name) = name else {
            continue;
        };
        let id = DeviceId::new(name).with_context(|| format!("rename {}", data.display()))?;
        if id.as_str() == ROOT_NAME {
            bail!(
                "rename {}: {ROOT_NAME} is the root's own name",
                data.display()
            );
        }
        devices.push(Device { id, data });
    }
    if devices.is_empty() {
        bail!(
            "the region {name} has no device: put one CSV (.csv or .csv.gz), .npz or folder of arrays or images per device into {}",
            folder.display()
        );
    }
    Ok(Region { id, devices })
}

/// A device's name is its member name in the whole federation, so it must be the only one.
fn check_devices(regions: &[Region]) -> Result<()> {
    let mut seen: BTreeMap<&DeviceId, &Path> = BTreeMap::new();
    for device in regions.iter().flat_map(|region| &region.devices) {
        if let Some(other) = seen.insert(&device.id, &device.data) {
            bail!(
                "two devices are called {}: rename {} or {}",
                device.id,
                other.display(),
                device.data.display()
            );
        }
    }
    if seen.len() > DEVICES_MAX {
        bail!(
            "{} devices are more than the {DEVICES_MAX} that the demo runs on one machine",
            seen.len()
        );
    }
    Ok(())
}

fn device_name(file: &str) -> Option<&str> {
    EXTENSIONS
        .iter()
        .find_map(|extension| file.strip_suffix(extension))
}

/// Names and paths in a folder, sorted, without hidden ones.
fn entries(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let unreadable = || format!("cannot list the folder {}", folder.display());
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with('.') {
            entries.insert(name, path);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "a,b\n").unwrap();
            }
        }
        folder
    }

    #[test]
    fn finds_regions_and_devices_in_order() {
        let folder = folder_with(&[
            "README.md",
            "south/b.csv",
            "north/z.csv.gz",
            "north/a.csv",
            "north/notes.txt",
            ".cache/x.csv",
            "north/.a.csv.swp",
            "south/c.npz",
            "south/d/images/cat/1.png",
        ]);
        let regions = discover(folder.path()).unwrap();
        let found: Vec<String> = regions
            .iter()
            .flat_map(|region| {
                let name = |device: &Device| format!("{}/{}", region.id, device.id);
                region.devices.iter().map(name).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            found,
            ["north/a", "north/z", "south/b", "south/c", "south/d"]
        );
        assert!(regions[0].devices[1].data.ends_with("north/z.csv.gz"));
    }

    #[test]
    fn says_what_is_wrong_and_what_to_do() {
        let check = |files: &[&str], expected: &str| {
            let folder = folder_with(files);
            let message = format!("{:#}", discover(folder.path()).unwrap_err());
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        };
        check(&[], "holds no region");
        check(&["README.md"], "holds no region");
        check(&["a.csv"], "move it into a folder named after its region");
        check(&["north/"], "the region north has no device");
        check(&["north/a.txt"], "the region north has no device");
        check(&["no rth/a.csv"], "region name \"no rth\" is not allowed");
        check(&["north/a b.csv"], "\"a b\" is not allowed");
        check(&["north/.csv.csv", "north/root.csv"], "the root's own name");
        check(
            &["north/a.csv", "south/a.csv.gz"],
            "two devices are called a",
        );
        check(
            &["north/a.csv", "north/a.csv.gz"],
            "two devices are called a",
        );
        let message = discover(Path::new("/nowhere/at all"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("/nowhere/at all does not exist"),
            "{message}"
        );
    }

    #[test]
    fn shipped_data_is_laid_out_so() {
        let root = crate::workspace::root().unwrap();
        let count = |data: &str| -> Vec<usize> {
            let regions = discover(&root.join("data").join(data)).unwrap();
            regions.iter().map(|region| region.devices.len()).collect()
        };
        assert_eq!(count("beijing-air"), [4, 4, 4]);
        assert_eq!(count("heart-disease"), [2, 2]);
        assert_eq!(count("digits"), [2, 2]);
    }
}
