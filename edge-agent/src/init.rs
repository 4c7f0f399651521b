//! `edge-agent init`: a home with a key and settings.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use fl_model::{DeviceId, RegionId};
use fl_runtime::keys;
use fl_runtime::mqtt::{MqttServer, MqttSettings};
use fl_runtime::store::{Access, write_atomic};

use crate::settings::{KEY_FILE, SETTINGS_FILE};

/// The sample, which explains every key.
const SAMPLE: &str = include_str!("../../config/edge-agent.toml");

/// What a new home is for.
#[derive(Debug, Clone)]
pub struct NewHome {
    /// The folder; made when it does not exist.
    pub folder: PathBuf,
    /// The device.
    pub device: DeviceId,
    /// Its region.
    pub region: RegionId,
    /// The root's public key, 64 hexadecimal digits.
    pub root_key: String,
    /// The region's broker.
    pub broker: String,
    /// The data file, absolute or relative to the home.
    pub data: PathBuf,
    /// First and, where it is not the file's end, one past the last training row.
    pub train_rows: Option<Vec<u64>>,
    /// The same for the test rows.
    pub test_rows: Option<Vec<u64>>,
}

/// Makes a home: `key` and `edge-agent.toml`. Returns what to tell the operator.
///
/// # Errors
/// An argument cannot stand in the settings, the home has settings or a key already, or the disk
/// refuses. Nothing is overwritten.
pub fn init(new: &NewHome) -> anyhow::Result<String> {
    keys::parse_public_hex(&new.root_key).context("--root-key")?;
    let url_only = MqttSettings::at(&new.broker);
    if !new.broker.starts_with("mqtts://") {
        MqttServer::new(&url_only, &new.folder).context("--broker")?;
    }
    let settings = new.folder.join(SETTINGS_FILE);
    let key_file = new.folder.join(KEY_FILE);
    for file in [&settings, &key_file] {
        ensure!(
            !file.exists(),
            "{} exists already: this home was made before; choose another --home, or remove the file \
             if the device shall become another one",
            file.display()
        );
    }
    std::fs::create_dir_all(&new.folder)
        .with_context(|| format!("cannot create {}", new.folder.display()))?;
    let text = settings_text(new)?;
    let key = keys::load_or_create(&key_file)?;
    write_atomic(&settings, text.as_bytes(), Access::Umask)?;
    let public = keys::public_hex(&key.verifying_key());
    Ok(format!(
        "public key: {public}\nenrol it where the root runs:\n  cloud-root roster add {} {public} --role device --region {}\nthen check this home:\n  edge-agent check --home '{}'",
        new.device,
        new.region,
        new.folder.display()
    ))
}

/// The sample with this home's values.
fn settings_text(new: &NewHome) -> anyhow::Result<String> {
    let data = new
        .data
        .to_str()
        .context("--data is not UTF-8: rename the file")?;
    let mut values = vec![
        ("name = ", toml_text(new.device.as_str())),
        ("region = ", toml_text(new.region.as_str())),
        ("public_key = ", toml_text(&new.root_key)),
        ("url = ", toml_text(&new.broker)),
        ("file = ", toml_text(data)),
    ];
    if let (Some(train), Some(test)) = (&new.train_rows, &new.test_rows) {
        values.push(("#: [data.split]", String::new()));
        values.push(("#: train_rows = ", format!("{train:?}")));
        values.push(("#: test_rows = ", format!("{test:?}")));
    }
    let mut text = String::with_capacity(SAMPLE.len());
    for line in SAMPLE.lines() {
        match values.iter().position(|(start, _)| line.starts_with(start)) {
            Some(index) => {
                let (start, value) = values.remove(index);
                let start = start.trim_start_matches("#: ");
                text.push_str(&format!("{start}{value}\n"));
            }
            None => text.push_str(&format!("{line}\n")),
        }
    }
    ensure!(
        values.is_empty(),
        "the sample settings lack {:?}",
        values[0].0
    );
    Ok(text)
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", c as u32),
        c => c.to_string(),
    };
    let escaped: String = text.chars().map(escape).collect();
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use fl_model::Split;
    use tempfile::TempDir;

    use super::*;
    use crate::settings::Home;

    const ROOT_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn new_home(folder: &TempDir) -> NewHome {
        NewHome {
            folder: folder.path().join("a home"),
            device: DeviceId::new("edge-07").unwrap(),
            region: RegionId::new("west").unwrap(),
            root_key: ROOT_KEY.to_owned(),
            broker: "mqtt://fog.example:2883".to_owned(),
            data: "/data/it's a \"file\"\\.csv".into(),
            train_rows: None,
            test_rows: None,
        }
    }

    #[test]
    fn a_new_home_can_be_used_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let new = new_home(&folder);
        let told = init(&new).unwrap();
        let home = Home::load(&new.folder).unwrap();
        let key = keys::load(&home.key_file()).unwrap();
        let public = keys::public_hex(&key.verifying_key());
        assert!(
            told.starts_with(&format!("public key: {public}\n")),
            "{told}"
        );
        let enrol = format!("cloud-root roster add edge-07 {public} --role device --region west");
        assert!(told.contains(&enrol), "{told}");
        assert_eq!(home.device, new.device);
        assert_eq!(home.region, new.region);
        assert_eq!(keys::public_hex(&home.root_key), ROOT_KEY);
        assert_eq!(home.settings.broker.url, new.broker);
        assert_eq!(home.data_file, new.data);
        assert_eq!(home.split, None);
    }

    #[test]
    fn rows_can_be_chosen_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut new = new_home(&folder);
        new.train_rows = Some(vec![24_840, 26_280]);
        new.test_rows = Some(vec![26_280]);
        init(&new).unwrap();
        let split = Split::Rows {
            train: (24_840, Some(26_280)),
            test: (26_280, None),
        };
        assert_eq!(Home::load(&new.folder).unwrap().split, Some(split));
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let new = new_home(&folder);
        init(&new).unwrap();
        let error = init(&new).unwrap_err().to_string();
        assert!(
            error.contains("edge-agent.toml") && error.contains("--home"),
            "{error}"
        );
        std::fs::remove_file(new.folder.join(SETTINGS_FILE)).unwrap();
        let error = init(&new).unwrap_err().to_string();
        assert!(error.contains("key exists already"), "{error}");
    }

    #[test]
    fn a_wrong_argument_makes_nothing() {
        let check = |change: fn(&mut NewHome), expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut new = new_home(&folder);
            change(&mut new);
            let error = init(&new).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
            assert!(!new.folder.exists());
        };
        check(|new| new.root_key = "abc".into(), "--root-key");
        check(|new| new.broker = "fog:1883".into(), "--broker");
    }
}
