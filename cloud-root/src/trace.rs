//! A round's spans, from its record in the log and what this process timed beside it.

use std::collections::BTreeMap;

use fl_model::{JobId, Phase, PhaseResult, Reason, RoundNumber, RoundOutcome, TraceContext};
use fl_round::{Failover, PhaseRecord, RegionRecord, RoundRecord};
use fl_runtime::keys;
use fl_telemetry::round::Evaluation;
use fl_telemetry::{
    Identity, RegionSummary, RoundContext, RoundTrace, Service, SpanBatch, TraceId, Unit,
    region::Transfer,
};
use fl_wire::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::home::{Home, note};

/// A round is tried once: one that fails is followed by a new number.
const ATTEMPT: u32 = 0;

/// What is not in the log: how long the root's own steps took. Lost with the process, and then left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct RoundTimes {
    /// Publishing the plan, of the first phase.
    pub(crate) plan: Option<Transfer>,
    /// Storing the next model.
    pub(crate) model: Option<Transfer>,
    /// When the log had taken each region's partial.
    pub(crate) accepted_us: BTreeMap<String, u64>,
    /// When the merge was done.
    pub(crate) merged_us: Option<u64>,
    /// When the log had taken the last entry.
    pub(crate) recorded_us: Option<u64>,
}

/// The times of one round, as they lie in the home: a root that starts again and tells its last round
/// once more then gives the same spans to the byte, and a collector shows them once.
#[derive(Debug, Serialize, Deserialize)]
struct KeptTimes {
    round: u32,
    times: RoundTimes,
}

impl RoundTimes {
    /// The times that were kept of that round, and whether there were any: whether the round was told
    /// before. Where there are none, those given are kept.
    pub(crate) fn kept(self, home: &Home, record: &RoundRecord) -> (Self, bool) {
        let file = home.times_file(&record.job);
        let read = std::fs::read(&file).ok();
        let kept: Option<KeptTimes> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(kept) = kept.filter(|kept| kept.round == record.round.0) {
            return (kept.times, true);
        }
        let keep = KeptTimes {
            round: record.round.0,
            times: self,
        };
        let written = serde_json::to_vec(&keep)
            .map_err(anyhow::Error::from)
            .and_then(|bytes| note(&file, &bytes));
        if let Err(error) = written {
            tracing::warn!("the times of round {} are not kept: {error:#}", keep.round);
        }
        (keep.times, false)
    }
}

/// Who emits the root's spans.
pub(crate) fn identity(environment: &str) -> Identity {
    Identity {
        service: Service::CloudRoot,
        instance: fl_model::ROOT_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: environment.to_owned(),
        ..Identity::default()
    }
}

/// The context of a round's span: derived, so that a root that starts again finds the same, from the
/// root's key too, so that two federations with a job of one name share no trace.
pub(crate) fn derive(key: &VerifyingKey, job: &JobId, round: RoundNumber) -> TraceContext {
    let name = format!("{}/{job}", keys::public_hex(key));
    let context = in_trace(job, round, TraceId::of_round(&name, round.0, ATTEMPT));
    TraceContext {
        trace_id: *context.trace.as_bytes(),
        span_id: *context.span_id(&Unit::Round).as_bytes(),
    }
}

fn in_trace(job: &JobId, round: RoundNumber, trace: TraceId) -> RoundContext {
    RoundContext {
        job: job.to_string(),
        round: round.0,
        attempt: ATTEMPT,
        trace,
    }
}

/// The context of a round, as its plan has told everybody.
pub(crate) fn context(record: &RoundRecord) -> RoundContext {
    let told = TraceId::from_bytes(&record.trace.trace_id);
    // Of zeros only, which no derivation gives: better another trace than none.
    let trace =
        told.unwrap_or_else(|| TraceId::of_round(record.job.as_str(), record.round.0, ATTEMPT));
    in_trace(&record.job, record.round, trace)
}

/// The facts of a round as far as it has come.
pub(crate) fn of_round(record: &RoundRecord, times: &RoundTimes) -> Option<RoundTrace> {
    let first = record.phases.first()?;
    let mut trace = RoundTrace::new(&context(record), first.opened_us, first.opened_us + 1);
    if let Some(plan) = times.plan {
        trace.published_plan(plan);
    }
    regions(&mut trace, first, times);
    for failover in &record.failovers {
        trace.failed_over(takeover(failover, first));
    }
    if let (Some((RoundOutcome::Merged, closed_us)), Some((result, settled_us))) =
        (first.closed, &first.settled)
    {
        trace.merged(closed_us, times.merged_us.unwrap_or(*settled_us));
        if let (Some(model), PhaseResult::Train { parameters, .. }) = (times.model, result) {
            trace.published_model(model, &parameters.digest.to_string());
        }
    }
    if let Some(evaluate) = record.phases.get(1) {
        evaluation(&mut trace, evaluate);
    }
    close(&mut trace, record, times);
    Some(trace)
}

fn regions(trace: &mut RoundTrace, phase: &PhaseRecord, times: &RoundTimes) {
    for region in &phase.regions {
        trace.region_sent(region.as_str(), phase.opened_us);
    }
    for (region, accepted) in &phase.accepted {
        let end_us = times.accepted_us.get(region.as_str()).copied();
        let accept = Transfer {
            start_us: accepted.accepted_us,
            end_us: end_us.unwrap_or(accepted.accepted_us + 1),
            bytes: accepted.summary.fog_up_bytes,
            ..Transfer::default()
        };
        trace.region_accepted(region.as_str(), accept, summary(accepted));
    }
    for absent in &phase.absent {
        let at_us = phase.closed.map_or(phase.opened_us, |(_, at_us)| at_us);
        trace.region_missed(absent.region.as_str(), at_us, absent.reason.as_str());
    }
}

/// What a partial says of its devices. Who was lost or late dropped out; who could not take part
/// declined; everybody else was refused.
fn summary(region: &RegionRecord) -> RegionSummary {
    let mut summary = RegionSummary {
        accepted: region.summary.contributors,
        selected: region.summary.contributors + region.summary.absent_count(),
        // Nearly always whoever is absent in such numbers is away.
        dropped: region.summary.absent_more,
        ..RegionSummary::default()
    };
    for absence in &region.summary.absent {
        match absence.reason {
            Reason::Disconnected | Reason::Deadline => summary.dropped += 1,
            Reason::Diverged | Reason::DataUnusable | Reason::ModelUnusable => {
                summary.declined += 1;
            }
            _ => summary.rejected += 1,
        }
    }
    summary.incidents = summary.rejected + summary.dropped;
    summary
}

fn takeover(failover: &Failover, phase: &PhaseRecord) -> fl_telemetry::Failover {
    let name = fl_model::ROOT_NAME.to_owned();
    fl_telemetry::Failover {
        last_heartbeat_us: failover.from_us,
        expired_us: failover.to_us,
        elected_us: failover.to_us,
        resumed_us: failover.to_us,
        leader: name.clone(),
        previous: name,
        epoch: failover.epoch.0,
        recovered: phase.accepted.len() as u32,
        lost: 0,
    }
}

fn evaluation(trace: &mut RoundTrace, phase: &PhaseRecord) {
    for region in &phase.regions {
        trace.evaluation_sent(region.as_str(), phase.opened_us);
    }
    for (region, accepted) in &phase.accepted {
        trace.evaluation_ended(region.as_str(), accepted.accepted_us, false);
    }
    let Some((_, closed_us)) = phase.closed else {
        return;
    };
    for absent in &phase.absent {
        trace.evaluation_ended(absent.region.as_str(), closed_us, true);
    }
    let result = match &phase.settled {
        Some((PhaseResult::Evaluate(counters), _)) => Evaluation {
            accuracy: counters.accuracy(),
            loss: counters.mean_loss(),
            examples: counters.examples,
        },
        _ => Evaluation::default(),
    };
    trace.evaluated(phase.opened_us, phase.ended_us(), result);
}

fn close(trace: &mut RoundTrace, record: &RoundRecord, times: &RoundTimes) {
    let Some(last) = record.phases.last() else {
        return;
    };
    let Some((outcome, closed_us)) = last.closed else {
        return;
    };
    let done_us = last.settled.as_ref().map_or(closed_us, |(_, at_us)| *at_us);
    let merged = record.phases.first().and_then(|phase| phase.closed);
    let outcome = match (last.key.phase, merged) {
        (Phase::Evaluate, Some((first, _))) => first,
        _ => outcome,
    };
    // The entry's own time is taken before the log has it; two µs keep the row apart from its neighbour.
    let recorded_us = times.recorded_us.unwrap_or(done_us + 4).max(done_us + 4);
    trace.recorded(done_us + 2, recorded_us);
    trace.closed(
        recorded_us,
        match outcome {
            RoundOutcome::Merged => fl_telemetry::RoundOutcome::Merged,
            RoundOutcome::NoQuorum => fl_telemetry::RoundOutcome::NoQuorum,
        },
    );
}

/// All spans of a round that is over.
pub(crate) fn spans(
    record: &RoundRecord,
    times: &RoundTimes,
    identity: &Identity,
) -> Option<SpanBatch> {
    Some(of_round(record, times)?.spans(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_told_again_has_the_times_that_it_was_told_with() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let record = |job: &str, round: u32| RoundRecord {
            job: JobId::new(job).unwrap(),
            round: RoundNumber(round),
            trace: TraceContext::default(),
            phases: Vec::new(),
            failovers: Vec::new(),
        };
        let times = |us: u64| RoundTimes {
            merged_us: Some(us),
            ..RoundTimes::default()
        };
        let check = |given: Option<u64>, job: &str, round: u32, expected: (Option<u64>, bool)| {
            let given = given.map_or_else(RoundTimes::default, times);
            let (kept, told) = given.kept(&home, &record(job, round));
            assert_eq!((kept.merged_us, told), expected, "{job} {round}");
        };
        check(Some(1), "a", 1, (Some(1), false));
        // A root that was killed knows of no times; a second job has its own.
        check(None, "a", 1, (Some(1), true));
        check(Some(7), "b", 1, (Some(7), false));
        check(None, "a", 1, (Some(1), true));
        check(Some(2), "a", 2, (Some(2), false));
        check(None, "a", 2, (Some(2), true));
        check(None, "b", 1, (Some(7), true));
    }
}
