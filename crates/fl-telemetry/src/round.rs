//! What the root knows about a round, and the spans it owns: the round, its regions, and its own work.
//!
//! The facts are a fold of the job's log: whoever leads when the round is closed emits all of them, so a killed root
//! orphans nothing. Only `open round n` and `waiting` leave earlier, to make a running round visible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::{Interval, staggered};
use crate::ids::RoundContext;
use crate::region::{RegionSummary, Transfer};

/// Most failovers of a round that become spans.
const FAILOVERS_MAX: usize = 8;
/// Most regions a round keeps facts of.
const REGIONS_MAX: usize = 1_000;

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundOutcome {
    /// The model moved on.
    Merged,
    /// Too few contributions by the deadline; the model stayed.
    NoQuorum,
    /// Given up by the next leader or by command.
    Abandoned,
}

impl RoundOutcome {
    /// The value of `fl.outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            RoundOutcome::Merged => "merged",
            RoundOutcome::NoQuorum => "no_quorum",
            RoundOutcome::Abandoned => "abandoned",
        }
    }
}

/// A change of leadership during the round; a root that was killed and started again is one too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// The last heartbeat, or the last log entry, of the leader before [µs since 1970].
    pub last_heartbeat_us: u64,
    /// When its lease was found expired.
    pub expired_us: u64,
    /// When the new leader held the lease.
    pub elected_us: u64,
    /// When it had read the log and went on.
    pub resumed_us: u64,
    /// The new leader.
    pub leader: String,
    /// The one before.
    pub previous: String,
    /// The epoch the new leader was granted.
    pub epoch: u64,
    /// Partial sums that the log held.
    pub recovered: u32,
    /// Partial sums that had to be asked for again.
    pub lost: u32,
}

/// What came of the evaluation phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Accuracy over all test rows (0 to 1); none for a regression.
    pub accuracy: Option<f64>,
    /// Mean loss over all test rows.
    pub loss: Option<f64>,
    /// Test rows.
    pub examples: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegionRow {
    pub(crate) sent_us: u64,
    pub(crate) accept: Option<Transfer>,
    pub(crate) missed: Option<(u64, String)>,
    pub(crate) summary: Option<RegionSummary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct EvaluateRow {
    pub(crate) sent_us: u64,
    pub(crate) ended_us: Option<u64>,
    pub(crate) late: bool,
}

/// The root's facts of one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundTrace {
    pub(crate) context: RoundContext,
    pub(crate) opened_us: u64,
    pub(crate) open_end_us: u64,
    pub(crate) plan: Option<Transfer>,
    pub(crate) model: Option<Transfer>,
    pub(crate) model_digest: Option<String>,
    pub(crate) regions: BTreeMap<String, RegionRow>,
    pub(crate) evaluations: BTreeMap<String, EvaluateRow>,
    pub(crate) failovers: Vec<Failover>,
    pub(crate) merge: Option<(u64, u64)>,
    pub(crate) evaluate: Option<(u64, u64, Evaluation)>,
    pub(crate) record: Option<(u64, u64)>,
    pub(crate) waiting: u32,
    pub(crate) waiting_end_us: Option<u64>,
    pub(crate) closed: Option<(u64, RoundOutcome)>,
}

impl RoundTrace {
    /// The facts of a round whose first log entry was begun and written at these times [µs since 1970].
    pub fn new(context: &RoundContext, opened_us: u64, open_end_us: u64) -> Self {
        Self {
            context: context.clone(),
            opened_us,
            open_end_us,
            plan: None,
            model: None,
            model_digest: None,
            regions: BTreeMap::new(),
            evaluations: BTreeMap::new(),
            failovers: Vec::new(),
            merge: None,
            evaluate: None,
            record: None,
            waiting: 0,
            waiting_end_us: None,
            closed: None,
        }
    }

    /// Which round this is.
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The plan is in the stream.
    pub fn published_plan(&mut self, transfer: Transfer) {
        self.plan = Some(transfer);
    }

    /// The round's model is in the object store, under this digest.
    pub fn published_model(&mut self, transfer: Transfer, digest: &str) {
        self.model = Some(transfer);
        self.model_digest = Some(digest.to_owned());
    }

    /// The plan went to a region; its row starts here, a few microseconds after those told before. A second call
    /// changes nothing.
    pub fn region_sent(&mut self, region: &str, at_us: u64) {
        if self.regions.len() < REGIONS_MAX {
            let row = RegionRow {
                sent_us: staggered(at_us, self.regions.len()),
                accept: None,
                missed: None,
                summary: None,
            };
            self.regions.entry(region.to_owned()).or_insert(row);
        }
    }

    /// A region's partial sum was taken and is in the log; `accept` covers that work. `summary` is what the fog told
    /// with it, or what the root could count.
    pub fn region_accepted(&mut self, region: &str, accept: Transfer, summary: RegionSummary) {
        self.region_sent(region, accept.start_us);
        if let Some(row) = self.regions.get_mut(region)
            && row.accept.is_none()
        {
            row.accept = Some(accept);
            row.summary = Some(summary);
        }
    }

    /// A region had no partial sum in time, for this reason (`deadline`, `fog_away`).
    pub fn region_missed(&mut self, region: &str, at_us: u64, reason: &str) {
        self.region_sent(region, at_us);
        if let Some(row) = self.regions.get_mut(region)
            && row.accept.is_none()
        {
            row.missed = Some((at_us, reason.to_owned()));
        }
    }

    /// A region's time on the root's clock, for the settled notice: its fog fits its spans into it. None while the
    /// region is open.
    pub fn region_window(&self, region: &str) -> Option<Interval> {
        let row = self.regions.get(region)?;
        Some(Interval::new(row.sent_us, row.end_us()?))
    }

    /// The evaluation plan went to a region.
    pub fn evaluation_sent(&mut self, region: &str, at_us: u64) {
        if self.evaluations.len() < REGIONS_MAX {
            let row = EvaluateRow {
                sent_us: staggered(at_us, self.evaluations.len()),
                ended_us: None,
                late: false,
            };
            self.evaluations.entry(region.to_owned()).or_insert(row);
        }
    }

    /// A region's counters are in the log, or (`late`) were not by the deadline.
    pub fn evaluation_ended(&mut self, region: &str, at_us: u64, late: bool) {
        if let Some(row) = self.evaluations.get_mut(region)
            && row.ended_us.is_none()
        {
            row.ended_us = Some(at_us);
            row.late = late;
        }
    }

    /// The leadership changed.
    pub fn failed_over(&mut self, failover: Failover) {
        if self.failovers.len() < FAILOVERS_MAX {
            self.failovers.push(failover);
        }
    }

    /// The regions are merged and the optimiser has stepped.
    pub fn merged(&mut self, start_us: u64, end_us: u64) {
        self.merge = Some((start_us, end_us));
    }

    /// The evaluation phase is over.
    pub fn evaluated(&mut self, start_us: u64, end_us: u64, evaluation: Evaluation) {
        self.evaluate = Some((start_us, end_us, evaluation));
    }

    /// The round's record is in the log.
    pub fn recorded(&mut self, start_us: u64, end_us: u64) {
        self.record = Some((start_us, end_us));
    }

    /// The round is over.
    pub fn closed(&mut self, at_us: u64, outcome: RoundOutcome) {
        self.closed = Some((at_us, outcome));
    }
}

impl RegionRow {
    /// When the region's part was over; none while it is not.
    pub(crate) fn end_us(&self) -> Option<u64> {
        self.accept
            .map(|accept| accept.end_us)
            .or(self.missed.as_ref().map(|(at_us, _)| *at_us))
    }
}
