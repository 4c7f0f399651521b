//! Rows for people and for machines.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Measurements of one thing are repeated that often; the median counts.
const REPEATS: usize = 15;

/// Operators of a network that are printed; a file has all.
const OPERATORS_SHOWN: usize = 6;

/// A figure with its unit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    value: f64,
    unit: &'static str,
}

/// What was measured of one thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    name: String,
    /// Of a network: what it is made of, such as dense or conv.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    /// Of a training step: its examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    /// Of a training step: its time as a share of PyTorch's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// Of a training step: the share of its time that each operator takes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    operators: BTreeMap<String, f64>,
    parameters: BTreeMap<&'static str, u64>,
    figures: BTreeMap<&'static str, Figure>,
    ratios: BTreeMap<&'static str, f64>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            family: None,
            batch: None,
            ratio: None,
            operators: BTreeMap::new(),
            parameters: BTreeMap::new(),
            figures: BTreeMap::new(),
            ratios: BTreeMap::new(),
        }
    }

    pub(crate) fn family(mut self, family: &str) -> Self {
        self.family = Some(family.to_owned());
        self
    }

    pub(crate) fn batch(mut self, batch: usize) -> Self {
        self.batch = Some(batch);
        self
    }

    pub(crate) fn against_torch(mut self, ratio: f64) -> Self {
        self.ratio = Some(ratio);
        self
    }

    /// The time of each operator, of which the row keeps the shares.
    pub(crate) fn operators(mut self, times: Vec<(String, f64)>) -> Self {
        let all: f64 = times.iter().map(|(_, time)| time).sum();
        let share = |(operator, time): (String, f64)| (operator, time / all.max(f64::MIN_POSITIVE));
        self.operators = times.into_iter().map(share).collect();
        self
    }

    pub(crate) fn parameter(mut self, name: &'static str, value: u64) -> Self {
        self.parameters.insert(name, value);
        self
    }

    pub(crate) fn figure(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        self.figures.insert(name, Figure { value, unit });
        self
    }

    pub(crate) fn ratio(mut self, name: &'static str, value: f64) -> Self {
        self.ratios.insert(name, value);
        self
    }

    /// The operators that take most, in percent.
    fn longest_operators(&self) -> String {
        let mut shares: Vec<(&String, &f64)> = self.operators.iter().collect();
        shares.sort_by(|a, b| b.1.total_cmp(a.1));
        let longest = shares.into_iter().take(OPERATORS_SHOWN);
        let shown = longest.map(|(operator, share)| format!("{operator} {:.0} %", share * 100.0));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// All rows of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Prints a row and keeps it.
    pub(crate) fn add(&mut self, row: Row) {
        let parameters = row
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let figures = row
            .figures
            .iter()
            .map(|(name, of)| format!("{name} {:.3} {}", of.value, of.unit));
        let ratios = row
            .ratios
            .iter()
            .map(|(name, ratio)| format!("{name} ×{ratio:.3}"));
        let batch = row.batch.iter().map(|batch| format!("batch {batch:<3}"));
        let ratio = row.ratio.iter();
        let ratio = ratio.map(|ratio| format!("step / PyTorch ×{ratio:.3}"));
        let first = batch.chain(ratio).chain(parameters);
        let all: Vec<String> = first.chain(figures).chain(ratios).collect();
        println!("{:<24} {}", row.name, all.join("  "));
        if !row.operators.is_empty() {
            println!("{:<24} {}", "", row.longest_operators());
        }
        self.rows.push(row);
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}

/// Median time of `work`, after one run that warms up.
pub(crate) fn median(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    work()?;
    let mut times = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[REPEATS / 2])
}
