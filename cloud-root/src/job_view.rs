//! What operators and scripts see of a job, made from its log.

use fl_model::{FixedPoint, JobEnd, Phase, PhaseResult, RoundOutcome};
use fl_round::{PhaseRecord, RootRound, RootStage, RoundRecord};

pub(crate) use fl_view::FAILED;
pub use fl_view::{JobEvent, JobView, Missing, RoundView, line};

/// The end as it stands in views.
pub(crate) fn end(how: JobEnd) -> &'static str {
    match how {
        JobEnd::Finished => "finished",
        JobEnd::Stopped => "stopped",
        JobEnd::Failed(_) => FAILED,
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
        reason: match root.stage() {
            RootStage::Ended(JobEnd::Failed(failure)) => Some(failure.to_string()),
            _ => None,
        },
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
    let absent = |region: &fl_round::RegionRecord| region.summary.absent_count();
    view.expected = view.participants + first.accepted.values().map(absent).sum::<u32>();
    for phase in &record.phases {
        add_phase(&mut view, phase);
    }
    Some(view)
}

/// Adds a round to those before it. One that is told again takes its own place.
pub(crate) fn add_round(history: &mut Vec<RoundView>, view: RoundView) {
    history.pop_if(|last| last.round == view.round);
    history.push(view);
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
    for (region, accepted) in &phase.accepted {
        let more = accepted.summary.absent_more;
        if more > 0 {
            add_missing(
                view,
                Missing {
                    device: Some(format!("{more} more")),
                    region: region.to_string(),
                    reason: "the log has no room for more names".to_owned(),
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
