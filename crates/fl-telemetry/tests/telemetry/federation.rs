//! Rounds of twelve devices in three regions, told through the calls that the binaries make.

use fl_telemetry::attr;
use fl_telemetry::check::CollectedSpan;
use fl_telemetry::region::{Restart, Transfer};
use fl_telemetry::round::Evaluation;
use fl_telemetry::sampling::Totals;
use fl_telemetry::{
    DevicePhase, DeviceSpans, Failover, Identity, PhaseSpan, RegionTrace, RoundContext,
    RoundOutcome, RoundTrace, Service, SpanBatch, TraceId,
};

pub(crate) const DEVICES: usize = 12;
const DEVICES_PER_REGION: usize = 4;
const REGIONS: [&str; 3] = ["north", "south", "west"];

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// 2026-11-21 12:00 UTC [µs since 1970]; rounds follow each other from there.
const FIRST_ROUND_US: u64 = 1_795_262_400 * SECOND;
/// How far the south fog's clock is off in a skewed round [µs].
const SKEW_US: i64 = -4_000_000;

/// What goes wrong, or slowly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// `edge-03` in north trains five times as long.
    Straggler,
    /// `edge-07` in south sends numbers that are not finite.
    Rejection,
    /// `edge-11` in west dies while it trains.
    Dropout,
    /// `edge-04` in north has no battery left.
    Declined,
    /// `edge-05` in south is not there.
    Absent,
    /// South's fog is killed and comes back.
    KilledFog,
    /// The root is killed after the partial sums.
    KilledRoot,
    /// West's fog never reports.
    LateRegion,
    /// Too few contributions.
    NoQuorum,
    /// South's fog has a clock that is four seconds slow.
    SkewedFog,
}

/// A finished round.
pub(crate) struct Round {
    root: RoundTrace,
    regions: Vec<RegionTrace>,
    incidents: Vec<Incident>,
    windows: bool,
}

impl Round {
    /// The same round, whose fogs are not told their regions' times.
    pub(crate) fn without_windows(self) -> Self {
        Self {
            windows: false,
            ..self
        }
    }

    pub(crate) fn new(job: &str, number: u32, incidents: Vec<Incident>) -> Self {
        let context = RoundContext::new(job, number, 0);
        let opened_us = FIRST_ROUND_US + u64::from(number) * 60 * SECOND;
        let mut root = RoundTrace::new(&context, opened_us, opened_us + 120 * MS);
        root.published_plan(transfer(opened_us + 120 * MS, 59 * MS, 2_100));
        let sent_us = opened_us + 180 * MS;
        let mut round = Self {
            regions: Vec::new(),
            root,
            incidents,
            windows: true,
        };
        let mut last_us = sent_us;
        for (index, region) in REGIONS.into_iter().enumerate() {
            round.root.region_sent(region, sent_us);
            let late = region == "west" && round.has(Incident::LateRegion);
            let (trace, published_us) = round.run_region(&context, index, sent_us);
            if late {
                round
                    .root
                    .region_missed(region, sent_us + 20 * SECOND, "deadline");
                last_us = last_us.max(sent_us + 20 * SECOND);
            } else {
                // The root may have the partial sum before the fog has its acknowledgement.
                let accept = transfer(published_us - 30 * MS, 35 * MS, 48_000);
                round.root.region_accepted(region, accept, trace.summary());
                last_us = last_us.max(accept.end_us);
            }
            round.regions.push(trace);
        }
        round.finish(last_us);
        round
    }

    pub(crate) fn trace(&self) -> TraceId {
        self.root.context().trace
    }

    pub(crate) fn number(&self) -> u32 {
        self.root.context().round
    }

    fn has(&self, incident: Incident) -> bool {
        self.incidents.contains(&incident)
    }

    /// Devices whose fog never told of them.
    pub(crate) fn devices_without_row(&self) -> usize {
        if self.has(Incident::LateRegion) {
            DEVICES_PER_REGION
        } else {
            0
        }
    }

    /// Each process with what it exports: the root, and every fog that finished.
    pub(crate) fn exports(&self) -> Vec<(String, Vec<SpanBatch>)> {
        let root = identity(Service::CloudRoot, "root", None);
        let mut exports = vec![(
            "root".to_owned(),
            vec![self.root.open_span(&root), self.root.spans(&root)],
        )];
        for (region, trace) in REGIONS.iter().zip(&self.regions) {
            if *region == "west" && self.has(Incident::LateRegion) {
                continue;
            }
            let name = format!("fog-{region}");
            let fog = identity(Service::FogAggregator, &name, Some(region));
            exports.push((
                name,
                trace.spans(
                    &fog,
                    self.windows
                        .then(|| self.root.region_window(region))
                        .flatten(),
                ),
            ));
        }
        exports
    }

    /// Names of the spans that should have error status, in the order of `spans`.
    pub(crate) fn expected_errors<'a>(&self, spans: &'a [CollectedSpan]) -> Vec<&'a str> {
        let expected = |name: &str| match name {
            "device edge-07" => self.has(Incident::Rejection),
            "device edge-11" => self.has(Incident::Dropout),
            "recover" => true,
            "failover" => true,
            "region west" => self.has(Incident::LateRegion),
            name => name.starts_with("round ") && self.has(Incident::NoQuorum),
        };
        spans
            .iter()
            .map(|span| span.name.as_str())
            .filter(|name| expected(name))
            .collect()
    }

    /// One fog's round: returns its facts, and when its partial sum was acknowledged on the root's clock.
    fn run_region(&self, context: &RoundContext, index: usize, sent_us: u64) -> (RegionTrace, u64) {
        let region = REGIONS[index];
        let skew = if region == "south" && self.has(Incident::SkewedFog) {
            SKEW_US
        } else {
            0
        };
        let clock = |us: u64| us.saturating_add_signed(skew);
        let totals = Totals {
            devices: 12,
            regions: 3,
        };
        let received_us = clock(sent_us + 2 * MS);
        let mut trace = RegionTrace::new(
            context,
            region,
            &format!("fog-{region}"),
            totals,
            received_us,
        );
        trace.fetched_model(Transfer {
            chunks: 2,
            ..transfer(received_us, 80 * MS, 96_000)
        });
        let broadcast_us = received_us + 82 * MS;
        trace.broadcast(Transfer {
            chunks: 2,
            ..transfer(broadcast_us, 39 * MS, 96_000)
        });
        let mut last_us = broadcast_us;
        for number in 1..=DEVICES_PER_REGION {
            let number = index * DEVICES_PER_REGION + number;
            last_us = last_us.max(self.run_device(&mut trace, number, broadcast_us));
        }
        if region == "south" && self.has(Incident::KilledFog) {
            let back_us = last_us - 300 * MS;
            trace.restarted(Restart {
                last_snapshot_us: back_us - 2 * SECOND,
                loaded_us: back_us - 100 * MS,
                listening_us: back_us,
                recovered: 1,
                lost: 0,
            });
        }
        trace.stranger_rejected(last_us - 5, "not_in_roster");
        // The first thing after the last device, in the same microsecond.
        trace.closed(last_us, last_us + 14 * MS, "deadline");
        let publish = transfer(last_us + 14 * MS, 40 * MS, 48_000);
        trace.published(publish);
        (trace, publish.end_us.saturating_add_signed(-skew))
    }

    /// One device's round; returns when it was over on its fog's clock.
    fn run_device(&self, trace: &mut RegionTrace, number: usize, start_us: u64) -> u64 {
        let device = format!("edge-{number:02}");
        let pace = 5 + (number as u64 * 7) % 4;
        let slow = number == 3 && self.has(Incident::Straggler);
        let train_us = pace * 200 * MS * if slow { 5 } else { 1 };
        let upload_us = start_us + 60 * MS + train_us + 20 * MS;
        let arrived_us = upload_us + 25 * MS;
        let done_us = arrived_us + 15 * MS;
        if number == 5 && self.has(Incident::Absent) {
            trace.absent(&device, start_us, "offline");
            return start_us;
        }
        trace.selected(&device, start_us);
        match number {
            4 if self.has(Incident::Declined) => {
                trace.declined(&device, start_us + 30 * MS, "battery_low");
                return start_us + 30 * MS;
            }
            11 if self.has(Incident::Dropout) => {
                trace.dropped(
                    &device,
                    start_us + 700 * MS,
                    "presence",
                    Some(DevicePhase::Train),
                );
                return start_us + 700 * MS;
            }
            7 if self.has(Incident::Rejection) => {
                trace.rejected(&device, arrived_us, done_us, "not_finite")
            }
            _ => trace.accepted(&device, arrived_us, done_us, 12_400),
        }
        // The device stamps its batch 2 ms after the receipt, with a clock of its own; it arrives 3 ms later.
        let stamp = done_us + 2 * MS;
        let phases = [
            (DevicePhase::Download, start_us + 5 * MS, start_us + 60 * MS),
            (
                DevicePhase::Train,
                start_us + 60 * MS,
                start_us + 60 * MS + train_us,
            ),
            (
                DevicePhase::Protect,
                start_us + 60 * MS + train_us,
                upload_us,
            ),
            (DevicePhase::Upload, upload_us, done_us + MS),
        ];
        let before = |us: u64| us as i64 - stamp as i64;
        let phases = phases.map(|(phase, start, end)| PhaseSpan {
            phase,
            start_us: before(start),
            end_us: before(end),
            attributes: match phase {
                DevicePhase::Train => vec![
                    (attr::EXAMPLES.name().into(), attr::AttrValue::Int(1440)),
                    (attr::EPOCHS.name().into(), attr::AttrValue::Int(2)),
                    (attr::LOSS.name().into(), attr::AttrValue::Real(0.31)),
                ],
                DevicePhase::Protect => {
                    vec![(attr::NORM.name().into(), attr::AttrValue::Real(0.8))]
                }
                _ => vec![(attr::BYTES.name().into(), attr::AttrValue::Int(12_400))],
            },
            events: match phase {
                DevicePhase::Train if slow => vec![("throttled".into(), before(start + 700 * MS))],
                DevicePhase::Upload => vec![("receipt".into(), before(end))],
                _ => Vec::new(),
            },
        });
        let clocks = [0, stamp, stamp + 3600 * SECOND];
        let spans = DeviceSpans {
            stamped_us: clocks[number % 3],
            phases: phases.into(),
        };
        assert!(trace.device_spans(&device, spans.clone(), stamp + 3 * MS, "0.1.0"));
        assert!(
            !trace.device_spans(&device, spans, stamp + 900 * MS, "0.1.0"),
            "a duplicate must not count"
        );
        done_us
    }

    fn finish(&mut self, last_us: u64) {
        let mut now_us = last_us;
        if self.has(Incident::KilledRoot) {
            let resumed_us = now_us + 2_400 * MS;
            self.root.failed_over(Failover {
                last_heartbeat_us: now_us,
                expired_us: now_us + 2 * SECOND,
                elected_us: now_us + 2_050 * MS,
                resumed_us,
                leader: "root".into(),
                previous: "root".into(),
                epoch: 2,
                recovered: 3,
                lost: 0,
            });
            now_us = resumed_us;
        }
        let outcome = if self.has(Incident::NoQuorum) {
            RoundOutcome::NoQuorum
        } else {
            self.root.merged(now_us, now_us + 45 * MS);
            now_us += 45 * MS;
            let evaluate_us = now_us;
            for (index, region) in (1..).zip(REGIONS) {
                self.root.evaluation_sent(region, evaluate_us + 3 * MS);
                self.root
                    .evaluation_ended(region, evaluate_us + (140 + index * 10) * MS, false);
            }
            now_us += 180 * MS;
            let evaluation = Evaluation {
                accuracy: Some(0.862),
                loss: Some(0.33),
                examples: 105_120,
            };
            self.root.evaluated(evaluate_us, now_us, evaluation);
            self.root
                .published_model(transfer(now_us, 60 * MS, 48_000), &"ab".repeat(32));
            now_us += 60 * MS;
            RoundOutcome::Merged
        };
        self.root.recorded(now_us, now_us + 22 * MS);
        self.root.closed(now_us + 23 * MS, outcome);
    }
}

fn transfer(start_us: u64, duration_us: u64, bytes: u64) -> Transfer {
    Transfer {
        start_us,
        end_us: start_us + duration_us,
        bytes,
        chunks: 0,
        resends: 0,
    }
}

fn identity(service: Service, instance: &str, region: Option<&str>) -> Identity {
    Identity {
        service,
        instance: instance.to_owned(),
        version: "0.1.0".into(),
        environment: "test".into(),
        host: "host-1".into(),
        region: region.map(str::to_owned),
    }
}
