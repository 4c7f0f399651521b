//! Rows for people and for machines.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Measurements of one thing are repeated that often; the median counts.
const REPEATS: usize = 15;

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
    /// What is measured, of several of its kind, and what it is made of.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    parameters: BTreeMap<&'static str, u64>,
    figures: BTreeMap<&'static str, Figure>,
    ratios: BTreeMap<&'static str, f64>,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            of: None,
            family: None,
            parameters: BTreeMap::new(),
            figures: BTreeMap::new(),
            ratios: BTreeMap::new(),
        }
    }

    pub(crate) fn named(mut self, of: &str, family: &str) -> Self {
        self.of = Some(of.to_owned());
        self.family = Some(family.to_owned());
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
        let of = row.of.iter().map(|of| format!("{of:<18}"));
        let all: Vec<String> = of.chain(parameters).chain(figures).chain(ratios).collect();
        println!("{:<24} {}", row.name, all.join("  "));
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
