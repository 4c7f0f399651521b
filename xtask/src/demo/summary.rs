//! `summary.json`: what a demo came to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// A demo in figures. Accuracies are shares of right answers on test rows, 0 to 1.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The job's name.
    pub job: String,
    /// The seed of everything random.
    pub seed: u64,
    /// Training rounds that were closed with a new model.
    pub rounds: u32,
    /// From the first process's start to the last round's end, in seconds.
    pub wall_s: f64,
    /// The global model after the last round.
    pub federated: Federated,
    /// Every device on its own data only; none when it was not run.
    pub alone: Option<Alone>,
    /// All data in one place; none when it was not run.
    pub pooled: Option<Pooled>,
    /// Sent over all rounds.
    pub bytes: Bytes,
    /// The exported model.
    pub model: PathBuf,
    /// SHA-256 of that file, in hex.
    pub model_sha256: String,
    /// One per round, in order.
    pub trace_ids: Vec<String>,
    /// Who did not count in which round, and why.
    pub missing: Vec<Missing>,
}

/// The global model on every device's test rows.
#[derive(Debug, Clone, Serialize)]
pub struct Federated {
    /// Mean over devices.
    pub accuracy: f64,
    /// Mean over devices.
    pub loss: f64,
    /// The device with the lowest accuracy.
    pub worst_device: Option<WorstDevice>,
    /// By device.
    pub per_device: BTreeMap<String, DeviceResult>,
}

/// Where the model serves worst.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstDevice {
    /// Its name.
    pub device: String,
    /// Its accuracy.
    pub accuracy: f64,
}

/// A model on one device's test rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceResult {
    /// The device's region.
    pub region: String,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean loss per test row.
    pub loss: f64,
    /// Test rows.
    pub examples: u64,
}

impl Federated {
    /// Means and worst device of the given results; none for no devices.
    pub fn of(per_device: BTreeMap<String, DeviceResult>) -> Option<Self> {
        let worst_device = per_device
            .iter()
            .min_by(|one, other| one.1.accuracy.total_cmp(&other.1.accuracy))
            .map(|(device, result)| WorstDevice {
                device: device.clone(),
                accuracy: result.accuracy,
            });
        Some(Self {
            accuracy: mean(per_device.values().map(|result| result.accuracy))?,
            loss: mean(per_device.values().map(|result| result.loss))?,
            worst_device,
            per_device,
        })
    }
}

/// Every device trained by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Alone {
    /// Mean over devices of the accuracy after the number of epochs that served them best.
    pub accuracy_mean: f64,
    /// That number.
    pub epochs: u32,
    /// By device, after that number of epochs.
    pub per_device: BTreeMap<String, f64>,
}

impl Alone {
    /// The best of several numbers of epochs (epochs → device → accuracy) by mean over devices;
    /// none when nothing was run.
    pub fn best_of(runs: BTreeMap<u32, BTreeMap<String, f64>>) -> Option<Self> {
        runs.into_iter()
            .filter_map(|(epochs, per_device)| {
                let accuracy_mean = mean(per_device.values().copied())?;
                Some(Self {
                    accuracy_mean,
                    epochs,
                    per_device,
                })
            })
            // The first of equals: fewer epochs.
            .reduce(|best, next| {
                if next.accuracy_mean > best.accuracy_mean {
                    next
                } else {
                    best
                }
            })
    }
}

/// One model trained on everybody's rows.
#[derive(Debug, Clone, Serialize)]
pub struct Pooled {
    /// Mean over devices' test rows.
    pub accuracy: f64,
}

/// Bytes of payload by tier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Devices to fogs.
    pub edge_up: u64,
    /// Fogs to the root.
    pub fog_up: u64,
    /// Root to fogs and fogs to devices.
    pub down: u64,
}

/// A device that did not count in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The round.
    pub round: u32,
    /// The device.
    pub device: String,
    /// Why.
    pub reason: String,
}

impl Summary {
    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_string_pretty(self).context("a figure is not a number")?;
        json.push('\n');
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_worst_are_of_the_devices() {
        let result = |accuracy: f64, loss: f64| DeviceResult {
            region: "north".to_owned(),
            accuracy,
            loss,
            examples: 10,
        };
        let per_device = BTreeMap::from([
            ("a".to_owned(), result(0.75, 0.5)),
            ("b".to_owned(), result(0.25, 1.5)),
        ]);
        let federated = Federated::of(per_device).unwrap();
        assert!((federated.accuracy - 0.5).abs() < 1e-12 && (federated.loss - 1.0).abs() < 1e-12);
        assert_eq!(federated.worst_device.unwrap().device, "b");
        assert!(Federated::of(BTreeMap::new()).is_none());
    }

    #[test]
    fn alone_takes_the_best_number_of_epochs() {
        let run = |a: f64, b: f64| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let runs = BTreeMap::from([
            (15, run(0.7, 0.7)),
            (30, run(0.9, 0.6)),
            (60, run(0.6, 0.9)),
        ]);
        let best = Alone::best_of(runs).unwrap();
        assert_eq!(best.epochs, 30);
        assert!((best.accuracy_mean - 0.75).abs() < 1e-12);
        assert!(Alone::best_of(BTreeMap::new()).is_none());
    }
}
