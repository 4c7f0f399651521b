//! What the root knows about a round, and the spans it owns: the round, its regions, and its own work.
//!
//! The facts are a fold of the job's log: whoever leads when the round is closed emits all of them, so a killed root
//! orphans nothing. Only `open round n` and `waiting` leave earlier, to make a running round visible.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::attr::{self, event};
use crate::clock::{Interval, staggered};
use crate::ids::{RoundContext, Unit};
use crate::region::{RegionSummary, Transfer};
use crate::region_spans::{summary_attributes, transfer_attributes};
use crate::resource::{Identity, Resource, SpanBatch};
use crate::span::{Kind, RoundSpan, SpanEvent};

/// Most `waiting` notes of a round.
pub const WAITING_MAX: u32 = 12;
/// Length of a `waiting` note [µs].
const WAITING_US: u64 = 1_000;
/// The first `waiting` note comes after this time [µs]; each next after twice the time of the one before.
const WAITING_FIRST_US: u64 = 60_000_000;
/// Most failovers of a round that become spans.
const FAILOVERS_MAX: usize = 8;
/// Most regions a round keeps facts of.
const REGIONS_MAX: usize = 1_000;

/// Subject templates, for the messaging attributes.
mod destination {
    pub(super) const PLAN: &str = "fl.down.{region}.plan.{job}";
    pub(super) const OBJECTS: &str = "fl-objects";
    pub(super) const PARTIAL: &str = "fl.partial.{job}.{round}.{phase}.{region}.{shard}";
}

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
struct RegionRow {
    sent_us: u64,
    accept: Option<Transfer>,
    missed: Option<(u64, String)>,
    summary: Option<RegionSummary>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct EvaluateRow {
    sent_us: u64,
    ended_us: Option<u64>,
    late: bool,
}

/// The root's facts of one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundTrace {
    context: RoundContext,
    opened_us: u64,
    open_end_us: u64,
    plan: Option<Transfer>,
    model: Option<Transfer>,
    model_digest: Option<String>,
    regions: BTreeMap<String, RegionRow>,
    evaluations: BTreeMap<String, EvaluateRow>,
    failovers: Vec<Failover>,
    merge: Option<(u64, u64)>,
    evaluate: Option<(u64, u64, Evaluation)>,
    record: Option<(u64, u64)>,
    waiting: u32,
    waiting_end_us: Option<u64>,
    closed: Option<(u64, RoundOutcome)>,
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

    /// `open round n`, to be exported as soon as the round is open: it titles the trace while the round runs.
    pub fn open_span(&self, root: &Identity) -> SpanBatch {
        let name = format!("open round {}", self.context.round);
        let time = Interval::new(self.opened_us, self.open_end_us);
        batch(
            root,
            vec![RoundSpan::new(
                &self.context,
                Unit::Open,
                &name,
                Kind::Internal,
                time,
            )],
        )
    }

    /// A `waiting` note about what is missing, when one is due: after 1, 2, 4 … minutes, at most [`WAITING_MAX`].
    /// Call it as often as convenient.
    pub fn waiting_span(
        &mut self,
        root: &Identity,
        now_us: u64,
        missing: &[String],
    ) -> Option<SpanBatch> {
        if self.waiting >= WAITING_MAX
            || now_us
                < self
                    .opened_us
                    .saturating_add(WAITING_FIRST_US << self.waiting)
        {
            return None;
        }
        let time = Interval::new(now_us, now_us + WAITING_US);
        let span = RoundSpan::new(
            &self.context,
            Unit::Waiting(self.waiting),
            "waiting",
            Kind::Internal,
            time,
        )
        .with(attr::WAITING_FOR, missing.join(" "));
        self.waiting += 1;
        self.waiting_end_us = Some(time.end_us());
        Some(batch(root, vec![span]))
    }

    /// All spans that the root owns but `open round n` and `waiting`; call it once the round is closed. A round that
    /// is not counts as abandoned at the last thing known.
    pub fn spans(&self, root: &Identity) -> SpanBatch {
        let time = self.time();
        let mut spans = vec![self.round_span(time)];
        let mut add = |span: RoundSpan| spans.push(span);
        if let Some(plan) = &self.plan {
            let span = self.span(
                Unit::PublishPlan,
                "publish plan",
                Kind::Producer,
                plan.interval(),
                &time,
            );
            add(transfer_attributes(span, plan).messaging(
                "nats",
                "publish",
                "send",
                destination::PLAN,
            ));
        }
        if let Some(model) = &self.model {
            let span = self.span(
                Unit::PublishModel,
                "publish model",
                Kind::Producer,
                model.interval(),
                &time,
            );
            let span = transfer_attributes(span, model).messaging(
                "nats",
                "put",
                "send",
                destination::OBJECTS,
            );
            add(span.with_some(attr::MODEL, self.model_digest.as_deref()));
        }
        for (region, row) in &self.regions {
            let region_time =
                Interval::new(row.sent_us, row.end_us().unwrap_or(time.end_us())).within(&time);
            add(self.region_span(region, row, region_time));
            if let Some(accept) = &row.accept {
                let unit = Unit::AcceptPartial(region);
                let span = self.span(
                    unit,
                    "accept partial",
                    Kind::Consumer,
                    accept.interval(),
                    &region_time,
                );
                let span = transfer_attributes(span, accept).with(attr::REGION, region);
                add(span.messaging("nats", "process", "process", destination::PARTIAL));
            }
        }
        self.failovers
            .iter()
            .for_each(|failover| add(self.failover_span(failover, &time)));
        if let Some((start_us, end_us)) = self.merge {
            add(self.merge_span(Interval::new(start_us, end_us), &time));
        }
        self.evaluate_spans(&time).into_iter().for_each(&mut add);
        if let Some((start_us, end_us)) = self.record {
            add(self.span(
                Unit::Record,
                "record",
                Kind::Internal,
                Interval::new(start_us, end_us),
                &time,
            ));
        }
        batch(root, spans)
    }

    /// From the first log entry to the last thing known of the round.
    fn time(&self) -> Interval {
        let transfers = [&self.plan, &self.model]
            .into_iter()
            .flatten()
            .map(|transfer| transfer.end_us);
        let pairs = [self.merge, self.record]
            .into_iter()
            .flatten()
            .map(|(_, end_us)| end_us);
        let last = (transfers.chain(pairs))
            .chain([self.open_end_us])
            .chain(self.closed.map(|(at_us, _)| at_us))
            .chain(self.evaluate.map(|(_, end_us, _)| end_us))
            .chain(self.failovers.iter().map(|failover| failover.resumed_us))
            .chain(self.regions.values().filter_map(RegionRow::end_us))
            .chain(self.waiting_end_us);
        Interval::new(self.opened_us, last.max().unwrap_or(self.opened_us))
    }

    fn span(
        &self,
        unit: Unit<'_>,
        name: &str,
        kind: Kind,
        time: Interval,
        parent: &Interval,
    ) -> RoundSpan {
        RoundSpan::new(&self.context, unit, name, kind, time.within(parent))
    }

    fn round_span(&self, time: Interval) -> RoundSpan {
        let name = format!("round {}", self.context.round);
        let outcome = self
            .closed
            .map_or(RoundOutcome::Abandoned, |(_, outcome)| outcome);
        let total = self.total();
        let slowest = self.slowest_region();
        let evaluation = self.evaluate.map(|(_, _, evaluation)| evaluation);
        let mut span = RoundSpan::new(&self.context, Unit::Round, &name, Kind::Internal, time)
            .with(attr::OUTCOME, outcome.as_str())
            .with(attr::CLEAN, self.is_clean())
            .with(attr::FAILOVERS, self.failovers.len())
            .with(attr::LOST, total.lost)
            .with_some(attr::SLOWEST_REGION, slowest.map(|(region, _)| region))
            .with_some(
                attr::ACCURACY,
                evaluation.and_then(|evaluation| evaluation.accuracy),
            )
            .with_some(
                attr::LOSS,
                evaluation.and_then(|evaluation| evaluation.loss),
            )
            .with_some(attr::MODEL, self.model_digest.as_deref());
        if self.context.attempt > 0 {
            span = span.with(attr::ATTEMPT, self.context.attempt);
        }
        span = summary_attributes(span, &total);
        match outcome {
            RoundOutcome::Merged => span,
            RoundOutcome::NoQuorum => {
                span.failed("no_quorum", "too few contributions by the deadline")
            }
            RoundOutcome::Abandoned => span.failed("abandoned", "the round was given up"),
        }
    }

    fn region_span(&self, region: &str, row: &RegionRow, time: Interval) -> RoundSpan {
        let name = format!("region {region}");
        let span = RoundSpan::new(
            &self.context,
            Unit::Region(region),
            &name,
            Kind::Internal,
            time,
        )
        .with(attr::REGION, region)
        .with(attr::LATE, row.missed.is_some())
        .with(
            attr::OUTCOME,
            if row.accept.is_some() {
                "accepted"
            } else {
                "late"
            },
        );
        let span = match &row.summary {
            Some(summary) => summary_attributes(span, summary),
            None => span,
        };
        match &row.missed {
            Some((_, reason)) => span
                .with(attr::REASON, reason)
                .failed(reason, "no partial sum by the deadline"),
            None => span,
        }
    }

    fn failover_span(&self, failover: &Failover, round: &Interval) -> RoundSpan {
        let time = Interval::new(failover.last_heartbeat_us, failover.resumed_us);
        self.span(
            Unit::Failover(failover.epoch),
            "failover",
            Kind::Internal,
            time,
            round,
        )
        .with(attr::LEADER, &failover.leader)
        .with(attr::LEADER_PREVIOUS, &failover.previous)
        .with(attr::EPOCH, failover.epoch)
        .with(attr::RECOVERED, failover.recovered)
        .with(attr::LOST, failover.lost)
        .event(SpanEvent::new(failover.expired_us, event::LEASE_EXPIRED))
        .event(SpanEvent::new(failover.elected_us, event::ELECTED))
        .event(SpanEvent::new(failover.resumed_us, event::RESUMED))
        .failed(
            "leader_lost",
            "the leader was away; another went on from the log",
        )
    }

    /// Links to the regions that went into the model.
    fn merge_span(&self, time: Interval, round: &Interval) -> RoundSpan {
        let span = self.span(Unit::Merge, "merge", Kind::Internal, time, round);
        let accepted = self.regions.iter().filter(|(_, row)| row.accept.is_some());
        accepted.fold(span, |span, (region, _)| {
            span.link(&self.context, Unit::Region(region))
        })
    }

    fn evaluate_spans(&self, round: &Interval) -> Vec<RoundSpan> {
        let Some((start_us, end_us, evaluation)) = self.evaluate else {
            return Vec::new();
        };
        let time = Interval::new(start_us, end_us).within(round);
        let span = self
            .span(Unit::Evaluate, "evaluate", Kind::Internal, time, round)
            .with(attr::EXAMPLES, evaluation.examples)
            .with_some(attr::ACCURACY, evaluation.accuracy)
            .with_some(attr::LOSS, evaluation.loss);
        let regions = self.evaluations.iter().map(|(region, row)| {
            let row_time = Interval::new(row.sent_us, row.ended_us.unwrap_or(end_us));
            let name = format!("evaluate {region}");
            let span = self
                .span(
                    Unit::EvaluateRegion(region),
                    &name,
                    Kind::Internal,
                    row_time,
                    &time,
                )
                .with(attr::REGION, region)
                .with(attr::LATE, row.late);
            if row.late {
                span.failed("deadline", "no counters by the deadline")
            } else {
                span
            }
        });
        std::iter::once(span).chain(regions).collect()
    }

    /// The regions' summaries added up; slowest device and phase are those of the slowest region.
    fn total(&self) -> RegionSummary {
        let mut total = RegionSummary::default();
        for summary in self.regions.values().filter_map(|row| row.summary.as_ref()) {
            total.selected += summary.selected;
            total.accepted += summary.accepted;
            total.rejected += summary.rejected;
            total.dropped += summary.dropped;
            total.declined += summary.declined;
            total.traced += summary.traced;
            total.restarts += summary.restarts;
            total.lost += summary.lost;
            total.incidents += summary.incidents;
        }
        total.lost += self
            .failovers
            .iter()
            .map(|failover| failover.lost)
            .sum::<u32>();
        if let Some(summary) = self
            .slowest_region()
            .and_then(|(_, row)| row.summary.as_ref())
        {
            total.slowest_device = summary.slowest_device.clone();
            total.slowest_phase = summary.slowest_phase.clone();
        }
        total
    }

    fn slowest_region(&self) -> Option<(&str, &RegionRow)> {
        let ended = self
            .regions
            .iter()
            .filter_map(|(region, row)| Some((row.end_us()?, region, row)));
        ended
            .max_by_key(|(end_us, _, row)| end_us.saturating_sub(row.sent_us))
            .map(|(_, region, row)| (region.as_str(), row))
    }

    /// No span of the round has error status, as far as the root knows.
    fn is_clean(&self) -> bool {
        matches!(self.closed, Some((_, RoundOutcome::Merged)))
            && self.failovers.is_empty()
            && self.regions.values().all(|row| row.missed.is_none())
            && self.evaluations.values().all(|row| !row.late)
            && self.total().incidents == 0
    }
}

impl RegionRow {
    fn end_us(&self) -> Option<u64> {
        self.accept
            .map(|accept| accept.end_us)
            .or(self.missed.as_ref().map(|(at_us, _)| *at_us))
    }
}

fn batch(root: &Identity, spans: Vec<RoundSpan>) -> SpanBatch {
    SpanBatch {
        resource: Resource::new(root),
        spans,
    }
}
