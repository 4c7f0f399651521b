//! `summary.json`: what a demo came to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A demo in figures. Accuracies are shares of right answers on test rows, 0 to 1; where a job
/// predicts numbers, mean absolute errors in the label's unit stand in their place.
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
    /// Every device on its own data only.
    pub alone: Option<Alone>,
    /// All data in one place.
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

/// How well a model does on one device's test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of right answers; none for a job that predicts numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean absolute error in the label's unit; none for a job that tells classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_error: Option<f64>,
    /// Mean loss per test row.
    pub loss: f64,
    /// Test rows.
    pub examples: u64,
}

impl Score {
    /// The figure to compare by, larger being better.
    fn merit(&self) -> f64 {
        self.accuracy
            .or(self.absolute_error.map(|error| -error))
            .unwrap_or(-self.loss)
    }
}

/// Scores by device.
pub type Scores = BTreeMap<String, Score>;

/// Means over devices.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Means {
    accuracy: Option<f64>,
    absolute_error: Option<f64>,
    loss: f64,
}

impl Means {
    /// None for no devices.
    fn of(scores: &Scores) -> Option<Self> {
        let of = |figure: fn(&Score) -> Option<f64>| {
            let figures: Option<Vec<f64>> = scores.values().map(figure).collect();
            mean(&figures?)
        };
        Some(Self {
            accuracy: of(|score| score.accuracy),
            absolute_error: of(|score| score.absolute_error),
            loss: of(|score| Some(score.loss))?,
        })
    }
}

/// The global model on every device's test rows.
#[derive(Debug, Clone, Serialize)]
pub struct Federated {
    /// Mean over devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean over devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_error: Option<f64>,
    /// Mean over devices.
    pub loss: f64,
    /// The device that it serves worst.
    pub worst_device: WorstDevice,
    /// By device.
    pub per_device: BTreeMap<String, DeviceResult>,
}

/// Where the model serves worst.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstDevice {
    /// Its name.
    pub device: String,
    /// Its score.
    #[serde(flatten)]
    pub score: Score,
}

/// A model on one device's test rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceResult {
    /// The device's region.
    pub region: String,
    /// Its score.
    #[serde(flatten)]
    pub score: Score,
}

impl Federated {
    /// Means and worst device; `region_of` names each device's region. None for no devices.
    pub fn of(scores: &Scores, region_of: impl Fn(&str) -> String) -> Option<Self> {
        let means = Means::of(scores)?;
        let worst = scores
            .iter()
            .min_by(|one, other| one.1.merit().total_cmp(&other.1.merit()))?;
        let result = |(device, score): (&String, &Score)| {
            let region = region_of(device);
            (
                device.clone(),
                DeviceResult {
                    region,
                    score: *score,
                },
            )
        };
        Some(Self {
            accuracy: means.accuracy,
            absolute_error: means.absolute_error,
            loss: means.loss,
            worst_device: WorstDevice {
                device: worst.0.clone(),
                score: *worst.1,
            },
            per_device: scores.iter().map(result).collect(),
        })
    }
}

/// Every device trained by itself.
#[derive(Debug, Clone, Serialize)]
pub struct Alone {
    /// Mean over devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_mean: Option<f64>,
    /// Mean over devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_error_mean: Option<f64>,
    /// By device, after the number of epochs that served it best.
    pub per_device: BTreeMap<String, AloneResult>,
}

/// A device's own model on its own test rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AloneResult {
    /// The number of epochs that served it best.
    pub epochs: u32,
    /// Its score then.
    #[serde(flatten)]
    pub score: Score,
}

impl Alone {
    /// Each device's best of several numbers of epochs; none when nothing was run.
    pub fn best_of(runs: &BTreeMap<String, BTreeMap<u32, Score>>) -> Option<Self> {
        let best = |(device, by_epochs): (&String, &BTreeMap<u32, Score>)| {
            let (epochs, score) = by_epochs
                .iter()
                // The first of equals: fewer epochs.
                .reduce(|best, next| {
                    if next.1.merit() > best.1.merit() {
                        next
                    } else {
                        best
                    }
                })?;
            let result = AloneResult {
                epochs: *epochs,
                score: *score,
            };
            Some((device.clone(), result))
        };
        let per_device: BTreeMap<String, AloneResult> = runs.iter().filter_map(best).collect();
        let scores = per_device
            .iter()
            .map(|(device, result)| (device.clone(), result.score))
            .collect();
        let means = Means::of(&scores)?;
        Some(Self {
            accuracy_mean: means.accuracy,
            absolute_error_mean: means.absolute_error,
            per_device,
        })
    }
}

/// One model trained on everybody's rows.
#[derive(Debug, Clone, Serialize)]
pub struct Pooled {
    /// Mean over devices' test rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean over devices' test rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_error: Option<f64>,
    /// After this number of epochs, the best of those tried.
    pub epochs: u32,
}

impl Pooled {
    /// The best of several numbers of epochs by mean over devices; none when nothing was run.
    pub fn best_of(runs: &BTreeMap<u32, Scores>) -> Option<Self> {
        let merit = |scores: &Scores| {
            let merits: Vec<f64> = scores.values().map(Score::merit).collect();
            mean(&merits)
        };
        let (epochs, scores) = runs.iter().reduce(|best, next| {
            if merit(next.1) > merit(best.1) {
                next
            } else {
                best
            }
        })?;
        let means = Means::of(scores)?;
        Some(Self {
            accuracy: means.accuracy,
            absolute_error: means.absolute_error,
            epochs: *epochs,
        })
    }
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

fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A classifier's score.
    pub(in crate::demo) fn accuracy(accuracy: f64) -> Score {
        Score {
            accuracy: Some(accuracy),
            absolute_error: None,
            loss: 1.0 - accuracy,
            examples: 10,
        }
    }

    fn error(absolute_error: f64) -> Score {
        Score {
            accuracy: None,
            absolute_error: Some(absolute_error),
            loss: absolute_error * absolute_error,
            examples: 10,
        }
    }

    fn by_device(a: Score, b: Score) -> Scores {
        BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)])
    }

    #[test]
    fn means_and_worst_are_of_the_devices() {
        let north = |_: &str| "north".to_owned();
        let federated = Federated::of(&by_device(accuracy(0.75), accuracy(0.25)), north).unwrap();
        assert!((federated.accuracy.unwrap() - 0.5).abs() < 1e-12);
        assert!((federated.loss - 0.5).abs() < 1e-12);
        assert_eq!(federated.worst_device.device, "b");
        assert!(Federated::of(&BTreeMap::new(), north).is_none());
        let federated = Federated::of(&by_device(error(3.0), error(1.0)), north).unwrap();
        assert_eq!(
            (federated.accuracy, federated.absolute_error),
            (None, Some(2.0))
        );
        assert_eq!(federated.worst_device.device, "a");
        let json = serde_json::to_value(&federated).unwrap();
        assert_eq!(json["per_device"]["a"]["absolute_error"], 3.0);
        assert!(json.get("accuracy").is_none());
    }

    #[test]
    fn every_device_alone_takes_its_own_best() {
        let runs = |a: [Score; 3], b: [Score; 3]| {
            let by_epochs = |scores: [Score; 3]| [15, 30, 60].into_iter().zip(scores).collect();
            BTreeMap::from([
                ("a".to_owned(), by_epochs(a)),
                ("b".to_owned(), by_epochs(b)),
            ])
        };
        let best = Alone::best_of(&runs(
            [0.7, 0.9, 0.6].map(accuracy),
            [0.5, 0.5, 0.4].map(accuracy),
        ));
        let best = best.unwrap();
        assert_eq!(
            (best.per_device["a"].epochs, best.per_device["b"].epochs),
            (30, 15)
        );
        assert!((best.accuracy_mean.unwrap() - 0.7).abs() < 1e-12);
        let best = Alone::best_of(&runs(
            [3.0, 2.0, 1.0].map(error),
            [1.0, 2.0, 3.0].map(error),
        ));
        assert_eq!(best.unwrap().absolute_error_mean, Some(1.0));
        assert!(Alone::best_of(&BTreeMap::new()).is_none());
    }

    #[test]
    fn pooled_takes_the_best_number_of_epochs_for_all() {
        let runs = BTreeMap::from([
            (15, by_device(accuracy(0.7), accuracy(0.7))),
            (30, by_device(accuracy(0.9), accuracy(0.6))),
        ]);
        let pooled = Pooled::best_of(&runs).unwrap();
        assert_eq!(pooled.epochs, 30);
        assert!((pooled.accuracy.unwrap() - 0.75).abs() < 1e-12);
        assert!(Pooled::best_of(&BTreeMap::new()).is_none());
    }
}
