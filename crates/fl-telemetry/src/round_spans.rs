//! From a round's facts to the spans that the root owns.

use crate::attr::{self, event};
use crate::clock::Interval;
use crate::ids::Unit;
use crate::region::RegionSummary;
use crate::region_spans::{summary_attributes, transfer_attributes};
use crate::resource::{Identity, Resource, SpanBatch};
use crate::round::{Failover, RegionRow, RoundOutcome, RoundTrace};
use crate::span::{Kind, RoundSpan, SpanEvent};

/// Most `waiting` notes of a round.
pub(crate) const WAITING_MAX: u32 = 12;
/// Length of a `waiting` note [µs].
const WAITING_US: u64 = 1_000;
/// The first `waiting` note comes after this time [µs]; each next after twice the time of the one before.
const WAITING_FIRST_US: u64 = 60_000_000;
/// Subject templates, for the messaging attributes.
mod destination {
    pub(super) const PLAN: &str = "fl.down.{region}.plan.{job}";
    pub(super) const OBJECTS: &str = "fl-objects";
    pub(super) const PARTIAL: &str = "fl.partial.{job}.{round}.{phase}.{region}.{shard}";
}

impl RoundTrace {
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

fn batch(root: &Identity, spans: Vec<RoundSpan>) -> SpanBatch {
    SpanBatch {
        resource: Resource::new(root),
        spans,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RoundContext;

    const MINUTE_US: u64 = 60_000_000;

    #[test]
    fn waiting_notes_come_ever_more_rarely_and_lie_inside_the_round() {
        let context = RoundContext::new("air", 18, 0);
        let (root, missing) = (Identity::default(), ["south".to_owned(), "west".to_owned()]);
        let mut trace = RoundTrace::new(&context, 0, 1_000);
        let mut notes = Vec::new();
        // Three weeks of asking twice a minute.
        for half_minutes in 0..60_480 {
            let now_us = half_minutes * MINUTE_US / 2;
            notes.extend(
                trace
                    .waiting_span(&root, now_us, &missing)
                    .into_iter()
                    .flat_map(|batch| batch.spans),
            );
        }
        let minutes: Vec<u64> = notes
            .iter()
            .map(|note| note.time.start_us() / MINUTE_US)
            .collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]);
        assert!(notes.windows(2).all(|pair| pair[0].id != pair[1].id));
        assert!(
            notes[0]
                .attributes
                .contains(&("fl.waiting.for", attr::AttrValue::Text("south west".into())))
        );
        let round = &trace.spans(&root).spans[0];
        assert_eq!(round.name, "round 18");
        assert!(
            notes
                .iter()
                .all(|note| round.time.contains(&note.time) && note.parent == Some(round.id))
        );
    }

    #[test]
    fn an_unfinished_round_is_abandoned_at_the_last_thing_known() {
        let context = RoundContext::new("air", 18, 0);
        let mut trace = RoundTrace::new(&context, 0, 1_000);
        trace.region_sent("north", 2_000);
        trace.region_sent("south", 2_000);
        trace.region_missed("north", 9_000, "deadline");
        assert_eq!(trace.region_window("south"), None);
        let spans = trace.spans(&Identity::default()).spans;
        assert!(
            spans[0]
                .attributes
                .contains(&("fl.outcome", attr::AttrValue::Text("abandoned".into())))
        );
        assert!(spans[0].error.is_some());
        assert!(spans.iter().all(|span| spans[0].time.contains(&span.time)));
        let north = spans
            .iter()
            .find(|span| span.name == "region north")
            .expect("it has a row");
        assert_eq!(Some(north.time), trace.region_window("north"));
    }
}
