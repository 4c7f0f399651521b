//! `edge-agent init`: a home with a key and settings.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use fl_model::{DeviceId, RegionId, Role};
use fl_runtime::keys;
use fl_runtime::settings;
use fl_runtime::store::{Access, create_home, write_atomic};
use fl_runtime::terminal::home_command;

use crate::settings::{EdgeSettings, Home, KEY_FILE, SETTINGS_FILE};

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
    /// Where its rows come from.
    pub data: NewData,
    /// First and, where it is not the file's end, one past the last training row.
    pub train_rows: Option<Vec<u64>>,
    /// The same for the test rows.
    pub test_rows: Option<Vec<u64>>,
}

/// Where the rows of a new home come from.
#[derive(Debug, Clone)]
pub enum NewData {
    /// A file, absolute or relative to the home.
    File(PathBuf),
    /// A program and its arguments.
    Command(Vec<String>),
}

/// Makes a home: `key` and `edge-agent.toml`. Returns what to tell the operator. The settings come last:
/// a home without them was left by a crash, and its key is kept.
///
/// # Errors
/// An argument cannot stand in the settings, the home has settings already, or the disk refuses. Nothing
/// is overwritten.
pub fn init(new: &NewHome) -> anyhow::Result<String> {
    keys::parse_public_hex(&new.root_key).context("--root-key")?;
    let settings = new.folder.join(SETTINGS_FILE);
    ensure!(
        !settings.exists(),
        "{} exists already: this home was made before; choose another --home",
        settings.display()
    );
    let text = settings_text(new)?;
    create_home(&new.folder)?;
    let key = keys::load_or_create(&new.folder.join(KEY_FILE))?;
    write_atomic(&settings, text.as_bytes(), Access::Owner)?;
    let public = key.verifying_key();
    let enrol = keys::enrol_command(&new.device, &public, Role::Device, &new.region);
    Ok(format!(
        "public key: {}\n\
         Enrol it where the root runs:\n  \
         {enrol}\n\
         Then check this home, and start the agent:\n  \
         {}\n  \
         {}\n",
        keys::public_hex(&public),
        home_command("edge-agent", "check", &new.folder),
        home_command("edge-agent", "run", &new.folder)
    ))
}

/// The sample with this home's values, read back: what is written is what `run` can read.
fn settings_text(new: &NewHome) -> anyhow::Result<String> {
    let sample = match (&new.train_rows, &new.test_rows) {
        (Some(train), Some(test)) => with_split(train, test),
        _ => SAMPLE.to_owned(),
    };
    let mut values = vec![
        ("", "name", new.device.as_str()),
        ("", "region", new.region.as_str()),
        ("root", "public_key", &new.root_key),
        ("broker", "url", &new.broker),
    ];
    let sample = match &new.data {
        NewData::File(file) => {
            let file = file
                .to_str()
                .context("--data is not UTF-8: rename the file")?;
            values.push(("data", "file", file));
            sample
        }
        NewData::Command(words) => with_command(&sample, words),
    };
    let text = settings::fill(&sample, &values);
    let text = text.context("the sample settings lack a line: please report it")?;
    let read: EdgeSettings = settings::parse(&text, "the given values")?;
    read.broker.address().context("--broker")?;
    let home = Home::new(&new.folder, read).context("the given values")?;
    ensure!(
        home.split.is_some() == new.train_rows.is_some(),
        "the sample settings lack data.split: please report it"
    );
    Ok(text)
}

/// The sample with a command in place of its file.
fn with_command(sample: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| settings::quoted(word)).collect();
    let line = |line: &str| match line.split_once(" = ").map_or(line, |(key, _)| key) {
        "file" => "#: file = \"data.csv.gz\"\n".to_owned(),
        "#: command" => format!("command = [{}]\n", words.join(", ")),
        _ => format!("{line}\n"),
    };
    sample.lines().map(line).collect()
}

/// The sample with its example of a split taken out of the comment.
fn with_split(train: &[u64], test: &[u64]) -> String {
    let line = |line: &str| match line.split_once(" = ").map_or(line, |(key, _)| key) {
        "#: [data.split]" => "[data.split]\n".to_owned(),
        "#: train_rows" => format!("train_rows = {train:?}\n"),
        "#: test_rows" => format!("test_rows = {test:?}\n"),
        _ => format!("{line}\n"),
    };
    SAMPLE.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fl_model::Split;
    use tempfile::TempDir;

    use super::*;
    use crate::settings::DataSource;

    const ROOT_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn new_home(folder: &TempDir) -> NewHome {
        NewHome {
            folder: folder.path().join("a home"),
            device: DeviceId::new("edge-07").unwrap(),
            region: RegionId::new("west").unwrap(),
            root_key: ROOT_KEY.to_owned(),
            broker: "mqtt://fog.example:2883".to_owned(),
            data: NewData::File("/data/it's a \"file\"\\.csv".into()),
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
        let NewData::File(file) = new.data else {
            panic!("not a file");
        };
        assert_eq!(home.source, DataSource::File(file));
        assert_eq!(home.split, None);
        let mode = std::fs::metadata(&new.folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "others may not look into it");
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
    fn a_command_can_give_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut new = new_home(&folder);
        let words = ["./read \"it\"", "--every", "1s", "\\"]
            .map(str::to_owned)
            .to_vec();
        new.data = NewData::Command(words.clone());
        init(&new).unwrap();
        let DataSource::Command(command) = Home::load(&new.folder).unwrap().source else {
            panic!("not a command");
        };
        assert_eq!(command.words, words);
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
    }

    #[test]
    fn what_a_crash_has_left_is_finished_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let new = new_home(&folder);
        std::fs::create_dir_all(&new.folder).unwrap();
        let key = keys::load_or_create(&new.folder.join(KEY_FILE)).unwrap();
        std::fs::write(new.folder.join("edge-agent.toml.part"), "name = ").unwrap();
        let told = init(&new).unwrap();
        assert!(
            told.contains(&keys::public_hex(&key.verifying_key())),
            "{told}"
        );
        assert_eq!(Home::load(&new.folder).unwrap().device, new.device);
    }

    #[test]
    fn a_wrong_argument_makes_nothing() {
        let check = |change: &dyn Fn(&mut NewHome), expected: &str| {
            let folder = tempfile::tempdir().unwrap();
            let mut new = new_home(&folder);
            change(&mut new);
            let error = init(&new).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
            assert!(!new.folder.exists());
        };
        check(&|new| new.root_key = "abc".into(), "--root-key");
        check(&|new| new.broker = "fog:1883".into(), "--broker");
        check(&|new| new.broker = "mqtts://fog:99999".into(), "--broker");
        let shown = "mqtts://";
        check(&|new| new.broker = "mqtt://a:b@fog".into(), shown);
        let rows = |new: &mut NewHome, train: &[u64], test: &[u64]| {
            new.train_rows = Some(train.to_vec());
            new.test_rows = Some(test.to_vec());
        };
        check(&|new| rows(new, &[1, 2, 3], &[4]), "train_rows");
        check(&|new| rows(new, &[0, 3], &[9, 3]), "test_rows");
        check(&|new| rows(new, &[0, 3], &[2]), "row 2 is both");
    }
}
