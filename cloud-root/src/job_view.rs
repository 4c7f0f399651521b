//! What operators and scripts see of a job: one JSON object an event, and the lines made of it.

use fl_model::{FixedPoint, JobEnd, Phase, PhaseResult, RoundOutcome};
use fl_round::{PhaseRecord, RootRound, RootStage, RoundRecord};
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
    pub failovers: u32,
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

/// The end as it stands in views.
pub(crate) fn end(how: JobEnd) -> &'static str {
    match how {
        JobEnd::Finished => "finished",
        JobEnd::Stopped => "stopped",
    }
}

fn state(root: &RootRound, running: bool) -> &'static str {
    match root.stage() {
        RootStage::Ended(how) => end(how),
        _ if !running => "queued",
        RootStage::Waiting => "waiting",
        RootStage::Open | RootStage::Closed => "running",
    }
}

/// A job as its log tells it.
pub(crate) fn job(root: &RootRound, running: bool, history: Vec<RoundView>) -> JobView {
    let spec = root.spec();
    JobView {
        job: root.job().to_string(),
        model: spec.model.clone(),
        state: state(root, running).to_owned(),
        rounds_done: root.merged_rounds(),
        rounds: spec.rounds,
        quorum: spec.quorum,
        parameters: root.parameters().digest.to_string(),
        history,
    }
}

/// A round that is over.
pub(crate) fn round(record: &RoundRecord) -> Option<RoundView> {
    let first = record.phases.first()?;
    let last = record.phases.last()?;
    let merged = matches!(first.closed, Some((RoundOutcome::Merged, _)));
    let mut view = RoundView {
        round: record.round.0,
        phase: first.key.phase.to_string(),
        outcome: if merged { "merged" } else { "no_quorum" }.to_owned(),
        participants: first.contributors(),
        expected: 0,
        train_loss: None,
        loss: None,
        accuracy: None,
        absolute_error: None,
        edge_up_bytes: 0,
        fog_up_bytes: 0,
        down_bytes: 0,
        seconds: last.ended_us().saturating_sub(first.opened_us) as f64 / 1e6,
        trace_id: hex(&record.trace.trace_id),
        missing: Vec::new(),
        failovers: record.failovers.len() as u32,
    };
    let absent = |region: &fl_round::RegionRecord| region.summary.absent.len() as u32;
    view.expected = view.participants + first.accepted.values().map(absent).sum::<u32>();
    for phase in &record.phases {
        add_phase(&mut view, phase);
    }
    Some(view)
}

fn add_phase(view: &mut RoundView, phase: &PhaseRecord) {
    for (region, accepted) in &phase.accepted {
        let summary = &accepted.summary;
        view.edge_up_bytes += summary.edge_up_bytes;
        view.fog_up_bytes += summary.fog_up_bytes;
        view.down_bytes += summary.down_bytes;
        for absence in &summary.absent {
            add_missing(
                view,
                Missing {
                    device: Some(absence.device.to_string()),
                    region: region.to_string(),
                    reason: absence.reason.to_string(),
                },
            );
        }
    }
    for absence in &phase.absent {
        add_missing(
            view,
            Missing {
                device: None,
                region: absence.region.to_string(),
                reason: absence.reason.to_string(),
            },
        );
    }
    match &phase.settled {
        Some((PhaseResult::Train { loss, .. }, _)) => view.train_loss = Some(*loss),
        Some((PhaseResult::Evaluate(counters), _)) => {
            view.loss = counters.mean_loss();
            view.accuracy = counters.accuracy();
            let regression = counters.confusion.is_empty() && counters.examples > 0;
            view.absolute_error = regression.then(|| {
                counters.absolute_error as f64 / FixedPoint::LOSS_STEPS / counters.examples as f64
            });
        }
        _ => {}
    }
}

/// A device that is missing in both phases is named once.
fn add_missing(view: &mut RoundView, missing: Missing) {
    let same = |other: &Missing| other.device == missing.device && other.region == missing.region;
    if !view.missing.iter().any(same) {
        view.missing.push(missing);
    }
}

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
        let who = missing.device.as_ref().map_or_else(
            || format!("all of {}", missing.region),
            |device| format!("{device} of {}", missing.region),
        );
        line.push_str(&format!("\n           without {who}: {}", missing.reason));
    }
    line
}

/// The phase of a round as events name it.
pub(crate) fn opened(round: u32, phase: Phase) -> JobEvent {
    JobEvent::Opened {
        round,
        phase: phase.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
