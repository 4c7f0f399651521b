//! What operators and scripts see of a job: one JSON object an event, and the lines made of it.
//!
//! `cloud-root` writes these objects; whatever follows a job reads them. An event of a newer root may have
//! a tag that is not known here: a reader passes it by.

use serde::{Deserialize, Serialize};

/// A device, or a whole region, that was asked and is not in a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The device; none for a whole region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Its region.
    pub region: String,
    /// Why it is not in.
    pub reason: String,
}

impl Missing {
    /// The device's name, or which region's devices.
    pub fn who(&self) -> String {
        match &self.device {
            Some(device) => device.clone(),
            None => format!("all of {}", self.region),
        }
    }
}

/// A round that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundView {
    /// Its number; 0 gathers statistics.
    pub round: u32,
    /// `statistics` or `train`.
    pub phase: String,
    /// `merged` or `no_quorum`.
    pub outcome: String,
    /// Devices in it.
    pub participants: u32,
    /// Devices that were asked.
    pub expected: u32,
    /// Mean training loss of the last local epoch.
    pub train_loss: Option<f64>,
    /// Mean loss on the test rows.
    pub loss: Option<f64>,
    /// Share of test rows told right.
    pub accuracy: Option<f64>,
    /// Mean absolute error on the test rows, for regression.
    pub absolute_error: Option<f64>,
    /// Bytes of contributions.
    pub edge_up_bytes: u64,
    /// Bytes of partial sums.
    pub fog_up_bytes: u64,
    /// Bytes of plans and objects to the devices.
    pub down_bytes: u64,
    /// From its first log entry to its last.
    pub seconds: f64,
    /// Its trace.
    pub trace_id: String,
    /// Who was asked and is not in, in either phase.
    pub missing: Vec<Missing>,
    /// Roots that took over during it.
    #[serde(default)]
    pub failovers: u32,
}

impl RoundView {
    /// Whether it made a new model.
    pub fn trained(&self) -> bool {
        self.phase == "train" && self.outcome == "merged"
    }
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JobEvent {
    /// A phase of a round began.
    Opened {
        /// Round.
        round: u32,
        /// Phase.
        phase: String,
    },
    /// A region's partial is in.
    Accepted {
        /// Round.
        round: u32,
        /// Phase.
        phase: String,
        /// Region.
        region: String,
        /// Devices in it.
        devices: u32,
    },
    /// A round is over.
    Done(Box<RoundView>),
    /// Too few devices are there.
    Waiting {
        /// Devices connected.
        online: u32,
        /// Devices needed.
        quorum: u32,
    },
    /// The job is over.
    Ended {
        /// `finished`, `stopped` or `failed`.
        how: String,
    },
}

/// A job at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Name.
    pub job: String,
    /// Name of its model.
    pub model: String,
    /// `queued`, `waiting`, `running`, `finished`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed, or why this root cannot go on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Training rounds merged.
    pub rounds_done: u32,
    /// Training rounds asked for.
    pub rounds: u32,
    /// Contributions that a round needs.
    pub quorum: u32,
    /// SHA-256 of the newest parameters.
    pub parameters: String,
    /// The rounds so far, oldest first.
    pub history: Vec<RoundView>,
}

impl JobView {
    /// Whether nothing more happens to it before the root starts again.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "finished" | "stopped" | FAILED)
    }
}

/// State of a job that cannot go on.
pub const FAILED: &str = "failed";

/// A line per round, for people.
pub fn line(view: &RoundView) -> String {
    let figure = |name: &str, value: Option<f64>| {
        value.map_or_else(String::new, |value| format!("  {name} {value:.4}"))
    };
    let mut line = format!(
        "round {:>3}  {:<10}  {:>3}/{} devices{}{}{}  up {} B + {} B  down {} B  {:.2} s  trace {}",
        view.round,
        if view.outcome == "merged" {
            view.phase.as_str()
        } else {
            "no quorum"
        },
        view.participants,
        view.expected,
        figure("loss", view.loss.or(view.train_loss)),
        figure("accuracy", view.accuracy),
        figure("error", view.absolute_error),
        view.edge_up_bytes,
        view.fog_up_bytes,
        view.down_bytes,
        view.seconds,
        view.trace_id,
    );
    for missing in &view.missing {
        let who = match &missing.device {
            Some(device) => format!("{device} of {}", missing.region),
            None => missing.who(),
        };
        line.push_str(&format!("\n           without {who}: {}", missing.reason));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_they_are_written() {
        let done = r#"{"event":"done","round":3,"phase":"train","outcome":"merged","participants":11,
            "expected":12,"train_loss":0.4,"loss":0.3,"accuracy":0.8,"absolute_error":null,
            "edge_up_bytes":1,"fog_up_bytes":2,"down_bytes":3,"seconds":0.5,"trace_id":"ab",
            "missing":[{"device":"x","region":"n","reason":"gone"},{"region":"s","reason":"late"}],
            "failovers":1}"#;
        let event: JobEvent = serde_json::from_str(done).unwrap();
        let again = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<JobEvent>(&again).unwrap(), event);
        let JobEvent::Done(round) = event else {
            panic!("no round");
        };
        assert!(round.trained() && round.failovers == 1);
        let missing: Vec<String> = round.missing.iter().map(Missing::who).collect();
        assert_eq!(missing, ["x", "all of s"]);
        let shown = line(&round);
        assert!(
            shown.starts_with("round   3  train        11/12 devices"),
            "{shown}"
        );
        assert!(shown.ends_with("without all of s: late"), "{shown}");
        let newer = r#"{"event":"promoted","by":"somebody"}"#;
        assert!(serde_json::from_str::<JobEvent>(newer).is_err());
    }
}
