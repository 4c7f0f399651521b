//! The job file as the demo sees it: what it must know, and what it changes on request.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toml_edit::{DocumentMut, Item, Value};

use super::programs::put;

/// A job file, its comments kept.
#[derive(Debug, Clone)]
pub struct Job {
    source: PathBuf,
    document: DocumentMut,
    /// Its name.
    pub name: String,
    /// The name of its model.
    pub model: String,
    /// Training rounds.
    pub rounds: u32,
    /// Contributions that a round needs.
    pub quorum: u32,
    /// The seed of everything random.
    pub seed: u64,
}

impl Job {
    /// Reads what the demo needs; the agents and the root judge the rest.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the job file {}", path.display()))?;
        let source = std::path::absolute(path)
            .with_context(|| format!("{} is not a path", path.display()))?;
        Self::parse(&text, source)
    }

    fn parse(text: &str, source: PathBuf) -> Result<Self> {
        let place = source.display().to_string();
        let document: DocumentMut = text
            .parse()
            .with_context(|| format!("{place} is not valid TOML"))?;
        let missing =
            |key: &str, what: &str| format!("{place} does not set {key}: it takes {what}");
        let text = |key: &str, what: &str| {
            let found = document.get(key).and_then(Item::as_str);
            found.map(str::to_owned).with_context(|| missing(key, what))
        };
        let count = |key: &str| {
            let found = document.get(key).and_then(Item::as_integer);
            found
                .and_then(|count| u32::try_from(count).ok())
                .filter(|count| *count > 0)
                .with_context(|| missing(key, "a whole number above 0"))
        };
        let seed = match document.get("seed").map(Item::as_integer) {
            None => 0,
            Some(seed) => seed
                .and_then(|seed| u64::try_from(seed).ok())
                .with_context(|| missing("seed", "a whole number, 0 or above"))?,
        };
        Ok(Self {
            name: text("job", "a name")?,
            model: text("model", "the name of an ONNX model")?,
            rounds: count("rounds")?,
            quorum: count("quorum")?,
            seed,
            source,
            document,
        })
    }

    /// Whether it tells classes, rather than predicts numbers.
    pub fn tells_classes(&self) -> bool {
        let training = self.document.get("training");
        let loss = training.and_then(|training| training.get("loss"));
        loss.and_then(Item::as_str)
            .is_some_and(|loss| loss.ends_with("cross_entropy"))
    }

    /// Trains this many rounds instead.
    pub fn set_rounds(&mut self, rounds: u32) {
        self.rounds = rounds;
        self.put("rounds", i64::from(rounds));
    }

    /// Takes another seed.
    pub fn set_seed(&mut self, seed: u32) {
        self.seed = u64::from(seed);
        self.put("seed", i64::from(seed));
    }

    /// Needs this many contributions instead.
    pub fn set_quorum(&mut self, quorum: u32) {
        self.quorum = quorum;
        self.put("quorum", i64::from(quorum));
    }

    fn put(&mut self, key: &str, value: i64) {
        put(self.document.as_table_mut(), key, Value::from(value));
    }

    /// Writes it with what was changed.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.document.to_string())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The ONNX file of its model: the one that was named, else `NAME.onnx` beside the job file, else
    /// the one in the workspace's `config/models`.
    pub fn find_model(&self, root: &Path, named: Option<&Path>) -> Result<PathBuf> {
        if let Some(named) = named {
            if !named.is_file() {
                bail!("the model {} is not a file", named.display());
            }
            return std::path::absolute(named)
                .with_context(|| format!("{} is not a path", named.display()));
        }
        let file = format!("{}.onnx", self.model);
        let beside = self.source.parent().unwrap_or(root).join(&file);
        let shipped = root.join("config/models").join(&file);
        for candidate in [&beside, &shipped] {
            if candidate.is_file() {
                return Ok(candidate.clone());
            }
        }
        bail!(
            "{} names the model {:?}, and neither {} nor {} exists: put it there or give --model FILE",
            self.source.display(),
            self.model,
            beside.display(),
            shipped.display()
        )
    }

    /// Refuses a federation in which no round could reach its quorum.
    pub fn check_devices(&self, devices: u32) -> Result<()> {
        if self.quorum > devices {
            bail!(
                "{} wants a quorum of {} and the data has {devices} devices: lower quorum",
                self.source.display(),
                self.quorum
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# mine\njob = \"air\"\nmodel = \"mlp\"\nrounds = 20 # many\nquorum = 8\n";

    fn parse(text: &str) -> Result<Job> {
        Job::parse(text, PathBuf::from("/somewhere/my.toml"))
    }

    #[test]
    fn changes_keep_the_rest_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = parse(GOOD).unwrap();
        assert_eq!((job.rounds, job.quorum, job.seed), (20, 8, 0));
        job.set_rounds(3);
        job.set_seed(7);
        let path = folder.path().join("job.toml");
        job.write(&path).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("# mine\njob = \"air\""), "{written}");
        assert!(written.contains("rounds = 3 # many"), "{written}");
        let again = Job::load(&path).unwrap();
        assert_eq!((again.rounds, again.seed), (3, 7));
    }

    #[test]
    fn says_what_is_wrong() {
        let check = |from: &str, to: &str, expected: &str| {
            let message = format!("{:#}", parse(&GOOD.replacen(from, to, 1)).unwrap_err());
            assert!(
                message.contains("/somewhere/my.toml") && message.contains(expected),
                "{message}"
            );
        };
        check("job =", "jub =", "does not set job");
        check(
            "rounds = 20",
            "rounds = 0",
            "rounds: it takes a whole number",
        );
        check("quorum = 8", "quorum = \"8\"", "quorum");
        check("quorum = 8", "quorum = 8\nseed = -1", "seed");
        check("quorum = 8", "quorum", "not valid TOML");
        let message = parse(GOOD)
            .unwrap()
            .check_devices(4)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("quorum of 8") && message.contains("4 devices"),
            "{message}"
        );
    }

    #[test]
    fn model_is_found_beside_the_job_then_among_the_shipped() {
        let root = tempfile::tempdir().unwrap();
        let mine = root.path().join("mine");
        let shipped = root.path().join("config/models");
        fs::create_dir_all(&mine).unwrap();
        fs::create_dir_all(&shipped).unwrap();
        let job = Job::parse(GOOD, mine.join("my.toml")).unwrap();
        let message = job.find_model(root.path(), None).unwrap_err().to_string();
        assert!(
            message.contains("mine/mlp.onnx") && message.contains("--model"),
            "{message}"
        );
        fs::write(shipped.join("mlp.onnx"), "").unwrap();
        assert_eq!(
            job.find_model(root.path(), None).unwrap(),
            shipped.join("mlp.onnx")
        );
        fs::write(mine.join("mlp.onnx"), "").unwrap();
        assert_eq!(
            job.find_model(root.path(), None).unwrap(),
            mine.join("mlp.onnx")
        );
        let named = shipped.join("mlp.onnx");
        assert_eq!(job.find_model(root.path(), Some(&named)).unwrap(), named);
        assert!(
            job.find_model(root.path(), Some(Path::new("/no/such")))
                .is_err()
        );
    }

    #[test]
    fn shipped_jobs_find_their_models_and_devices() {
        let root = crate::workspace::root().unwrap();
        for (job, data) in [
            ("virtual-particle-sensor", "beijing-air"),
            ("heart-disease", "heart-disease"),
            ("digits", "digits"),
            ("digits-images", "digits"),
            ("air-cnn", "beijing-air"),
            ("air-gru", "beijing-air"),
        ] {
            let job = Job::load(&root.join(format!("config/jobs/{job}.toml"))).unwrap();
            let regions = super::super::discover(&root.join("data").join(data)).unwrap();
            let devices = regions
                .iter()
                .map(|region| region.devices.len() as u32)
                .sum();
            job.check_devices(devices).unwrap();
            job.find_model(&root, None).unwrap();
            assert!(job.tells_classes());
        }
    }
}
