//! What a user sees: a bar, a line per round, and a closing table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::collector::Collector;
use super::summary::{Missing, Score, Summary};

const BAR: &str = "{bar:40} round {pos}/{len}  {elapsed}  {msg}";
/// How often the bar moves although nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// The table's last line.
const MEAN: &str = "all (mean)";

/// A finished round.
#[derive(Debug, Clone)]
pub struct RoundLine {
    /// Its number.
    pub round: u32,
    /// Devices whose contribution counts.
    pub participants: u32,
    /// Devices of the federation.
    pub expected: u32,
    /// The new model's mean loss, when it was evaluated.
    pub loss: Option<f64>,
    /// The new model's accuracy, when it was evaluated; of a job that predicts numbers, its mean
    /// absolute error.
    pub quality: Option<f64>,
    /// Payload from devices to fogs.
    pub edge_up_bytes: u64,
    /// Payload from fogs to the root.
    pub fog_up_bytes: u64,
    /// Payload downwards.
    pub down_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Its trace, in hex.
    pub trace_id: String,
    /// Devices that do not count, each with the reason.
    pub missing: Vec<(String, String)>,
    /// What else there is to say, such as a quorum that was not met.
    pub remark: Option<String>,
}

/// The bar and the lines above it. Without a terminal only the lines appear.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    collector: Collector,
}

impl Progress {
    /// Shows a bar for `rounds` training rounds.
    pub fn start(rounds: u32, collector: Collector) -> Self {
        let bar = ProgressBar::new(u64::from(rounds));
        // The template is ours and a test parses it.
        bar.set_style(bar_style().unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        Self { bar, collector }
    }

    /// Prints where traces are, and the header of the rounds' lines, whose `quality` is `accuracy` or
    /// `error`.
    pub fn head(&self, quality: &str) {
        self.say(&self.collector.hint());
        self.say(&header(quality));
    }

    /// What goes on right now, behind the bar.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// Prints a finished round; the bar then stands at `trained` rounds.
    pub fn round(&self, round: &RoundLine, trained: u32) {
        self.say(&line(round, &self.collector));
        self.bar.set_position(u64::from(trained));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar_style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    ProgressStyle::with_template(BAR)
}

fn header(quality: &str) -> String {
    format!("round  devices    loss  {quality:>8}    edge up     fog up       down       s  trace")
}

fn line(round: &RoundLine, collector: &Collector) -> String {
    let devices = format!("{}/{}", round.participants, round.expected);
    let trace = collector
        .link(&round.trace_id)
        .unwrap_or_else(|| round.trace_id.clone());
    let mut line = format!(
        "{:>5}  {devices:>7}  {:>6}  {:>8}  {:>9}  {:>9}  {:>9}  {:>6.1}  {trace}",
        round.round,
        figure(round.loss),
        figure(round.quality),
        bytes(round.edge_up_bytes),
        bytes(round.fog_up_bytes),
        bytes(round.down_bytes),
        round.seconds,
    );
    if let Some(remark) = &round.remark {
        // Writing to a string does not fail.
        let _ = write!(line, "\n       {remark}");
    }
    for (device, reason) in &round.missing {
        let _ = write!(line, "\n       without {device}: {reason}");
    }
    line
}

/// Prints how the federation compares, per device and on the whole, and who was missing.
pub fn print_closing(summary: &Summary) {
    print!("{}", closing(summary));
}

fn closing(summary: &Summary) -> String {
    let mut lines = table(summary);
    lines.push(String::new());
    if let Some(alone) = &summary.alone {
        let epochs: BTreeSet<u32> = alone.per_device.values().map(|own| own.epochs).collect();
        let epochs: Vec<String> = epochs.iter().map(u32::to_string).collect();
        lines.push(format!(
            "alone: every device trained on its own rows for the number of epochs that served it best ({})",
            epochs.join(", ")
        ));
    }
    lines.push(format!(
        "federated: after the last of {} rounds",
        summary.rounds
    ));
    if let Some(pooled) = &summary.pooled {
        lines.push(format!(
            "pooled: all rows in one place, {} epochs",
            pooled.epochs
        ));
    }
    lines.push(format!(
        "sent: {} by devices, {} by fogs, {} down, in {:.1} s",
        bytes(summary.bytes.edge_up),
        bytes(summary.bytes.fog_up),
        bytes(summary.bytes.down),
        summary.wall_s,
    ));
    lines.extend(absences(&summary.missing));
    lines.push(format!("model: {}", summary.model.display()));
    lines.join("\n") + "\n"
}

/// A line per device and reason, with the rounds in which it was missing.
fn absences(missing: &[Missing]) -> Vec<String> {
    let mut rounds: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for absence in missing {
        let key = (absence.device.as_str(), absence.reason.as_str());
        rounds.entry(key).or_default().push(absence.round);
    }
    let line = |((device, reason), rounds): ((&str, &str), Vec<u32>)| {
        format!("without {device} in round {}: {reason}", ranges(&rounds))
    };
    rounds.into_iter().map(line).collect()
}

/// Numbers in ascending order, neighbours as a range: `1, 3 to 5`.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Accuracies by device and their means; of a job that predicts numbers, mean absolute errors.
fn table(summary: &Summary) -> Vec<String> {
    let federated = &summary.federated;
    let alone = summary.alone.as_ref();
    let pooled = summary.pooled.as_ref();
    let title = if federated.accuracy.is_some() {
        "accuracy"
    } else {
        "error"
    };
    let names = federated.per_device.keys().map(String::len);
    let width = names.max().unwrap_or(0).max(MEAN.len());
    let row = |name: &str, alone: String, federated: String, pooled: String| {
        let row = format!("{name:width$}  {alone:>9}  {federated:>9}  {pooled:>9}");
        row.trim_end().to_owned()
    };
    let shown = |score: &Score| figure(score.accuracy.or(score.absolute_error));
    let mut lines = vec![
        String::new(),
        row(title, "alone".into(), "federated".into(), "pooled".into()),
    ];
    for (device, result) in &federated.per_device {
        let own = alone.and_then(|alone| alone.per_device.get(device));
        let own = own.map_or_else(|| figure(None), |own| shown(&own.score));
        lines.push(row(device, own, shown(&result.score), String::new()));
    }
    lines.push(row(
        MEAN,
        figure(alone.and_then(|alone| alone.accuracy_mean.or(alone.absolute_error_mean))),
        figure(federated.accuracy.or(federated.absolute_error)),
        figure(pooled.and_then(|pooled| pooled.accuracy.or(pooled.absolute_error))),
    ));
    lines
}

/// Six characters for anything below a thousand.
fn figure(value: Option<f64>) -> String {
    let decimals = |value: f64| match value.abs() {
        ..10.0 => 4,
        10.0..100.0 => 3,
        _ => 2,
    };
    value.map_or_else(
        || "-".to_owned(),
        |value| format!("{value:.*}", decimals(value)),
    )
}

/// Bytes in the largest unit that leaves at least one before the point.
fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(size, _)| count >= *size) {
        // Shown with one decimal: what a double loses is not seen.
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::summary::tests::accuracy;
    use crate::demo::{Alone, Bytes, Federated, Pooled};

    #[test]
    fn template_parses_and_bytes_have_units() {
        bar_style().unwrap();
        let check = |count: u64, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 B");
        check(999, "999 B");
        check(1_000, "1.0 kB");
        check(1_234_567, "1.2 MB");
        check(5_000_000_000, "5.0 GB");
    }

    #[test]
    fn round_says_who_was_missing_and_where_its_trace_is() {
        let mut round = RoundLine {
            round: 7,
            participants: 11,
            expected: 12,
            loss: Some(0.31234),
            quality: None,
            edge_up_bytes: 12_300,
            fog_up_bytes: 4_000,
            down_bytes: 999,
            seconds: 1.26,
            trace_id: "0af7".to_owned(),
            missing: vec![("Huairou".to_owned(), "connection lost".to_owned())],
            remark: None,
        };
        let nowhere = Collector {
            otlp: None,
            page: None,
        };
        let shown = line(&round, &nowhere);
        let expected = "    7    11/12  0.3123         -    12.3 kB     4.0 kB      999 B     1.3  0af7\n       \
                        without Huairou: connection lost";
        assert_eq!(shown, expected);
        assert_eq!(header("accuracy").find("trace"), shown.find("0af7"));
        round.missing.clear();
        let jaeger = Collector {
            otlp: None,
            page: Some("http://j".to_owned()),
        };
        assert!(line(&round, &jaeger).ends_with("http://j/trace/0af7"));
    }

    #[test]
    fn absences_are_told_by_device() {
        let missing = |round: u32, device: &str| Missing {
            round,
            device: device.to_owned(),
            reason: "disconnected".to_owned(),
        };
        let told = absences(&[
            missing(2, "b"),
            missing(3, "b"),
            missing(4, "a"),
            missing(6, "b"),
        ]);
        let expected = [
            "without a in round 4: disconnected",
            "without b in round 2 to 3, 6: disconnected",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn closing_shows_only_what_was_measured() {
        let own = BTreeMap::from([(15, accuracy(0.79)), (30, accuracy(0.7))]);
        let all = BTreeMap::from([("Tiantan".to_owned(), accuracy(0.86))]);
        let mut summary = Summary {
            job: "air".to_owned(),
            seed: 1,
            rounds: 20,
            wall_s: 61.0,
            federated: Federated::of(&all, |_| "n".to_owned()).unwrap(),
            alone: Alone::best_of(&BTreeMap::from([("Tiantan".to_owned(), own)])),
            pooled: Pooled::best_of(&BTreeMap::from([(
                60,
                BTreeMap::from([("Tiantan".to_owned(), accuracy(0.87))]),
            )])),
            bytes: Bytes {
                edge_up: 1,
                fog_up: 2,
                down: 3,
            },
            model: "air.onnx".into(),
            model_sha256: String::new(),
            trace_ids: Vec::new(),
            missing: vec![Missing {
                round: 3,
                device: "Huairou".to_owned(),
                reason: "killed".to_owned(),
            }],
        };
        let shown = closing(&summary);
        for part in [
            "0.7900",
            "0.8600",
            "0.8700",
            "best (15)",
            "60 epochs",
            "accuracy ",
            "without Huairou in round 3: killed",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        summary.alone = None;
        summary.pooled = None;
        let shown = closing(&summary);
        assert!(
            !shown.contains("epochs") && shown.contains("-     0.8600          -"),
            "{shown}"
        );
    }
}
