//! What the gateway says of itself, and what it does by the clock.

use fl_model::{JobId, Phase, RoundKey, RoundNumber};
use fl_runtime::clock::wall_us;
use fl_telemetry::RegionTrace;
use fl_wire::FogBeat;

use super::Gateway;
use crate::disk::Job;
use crate::status::{DeviceStatus, RoundStatus, Status};

/// Between two signs of life to the root [ms].
const BEAT_MS: u64 = 1_000;

/// Lines about refused messages that are written in one window; the rest is counted.
const LINES_MAX: u32 = 20;

/// Length of that window [ms].
const WINDOW_MS: u64 = 1_000;

/// Keeps a flood of bad messages from becoming a flood of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    window_ms: u64,
    written: u32,
    kept: u32,
}

impl Lines {
    /// Warns, unless too much was said just before.
    pub(super) fn warn(&mut self, now_ms: u64, line: impl FnOnce() -> String) {
        if now_ms >= self.window_ms + WINDOW_MS {
            if self.kept > 0 {
                tracing::warn!("{} more lines like these were left out", self.kept);
            }
            *self = Self {
                window_ms: now_ms,
                ..Self::default()
            };
        }
        if self.written < LINES_MAX {
            self.written += 1;
            tracing::warn!("{}", line());
        } else {
            self.kept += 1;
        }
    }
}

/// The phase whose facts these are: evaluations have none.
pub(super) fn key_of(trace: &RegionTrace) -> Option<RoundKey> {
    let context = trace.context();
    Some(RoundKey {
        job: JobId::new(&context.job).ok()?,
        round: RoundNumber(context.round),
        phase: match context.round {
            0 => Phase::Statistics,
            _ => Phase::Train,
        },
    })
}

impl Gateway {
    /// Puts what is told next on disk as it is told.
    pub(super) async fn keep_what_is_told(&mut self, now_ms: u64) {
        for (key, kept) in self.parts.teller.about_to_tell(now_ms) {
            self.parts
                .disk
                .push(Job::TraceTelling(key, Box::new(kept)))
                .await;
        }
    }

    pub(super) async fn on_tick(&mut self) {
        let now_ms = self.parts.clock.now_ms();
        self.keep_what_is_told(now_ms).await;
        for key in self.parts.teller.tick(now_ms) {
            self.parts.disk.push(Job::TraceTold(key)).await;
        }
        if now_ms >= self.next_beat_ms {
            self.next_beat_ms = now_ms + BEAT_MS;
            self.beat();
        }
        if self.send_rest_ms.is_some_and(|at| now_ms >= at) {
            self.send_rest_ms = Some(u64::MAX);
            for key in self.parts.stores.waiting() {
                self.parts.partials.start(key);
            }
        }
        let status = self.status(now_ms);
        self.parts
            .metrics
            .devices_connected(self.round.online() as usize);
        self.parts.metrics.outbox_depth(status.outbox.partials);
        self.parts.metrics.queue_depth(status.queue);
        self.parts.status.send_replace(status);
    }

    /// Tells the root that this fog lives; it is not kept for later when NATS is away.
    fn beat(&self) {
        let progress = self.round.progress();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let beat = FogBeat {
            region: self.parts.me.region.clone(),
            sent_us: i64::try_from(wall_us()).unwrap_or(i64::MAX),
            epoch: self.round.epoch(),
            devices_online: self.round.online(),
            devices_known: count(self.roster.len()),
            partials_waiting: count(self.parts.stores.partials.keys().len()),
            open: progress.map(|(key, _, _)| key.clone()),
            admitted: progress.map_or(0, |(_, admitted, _)| count(admitted)),
        };
        let signed = self.parts.me.sign(&beat, |header| header.under(beat.epoch));
        if let Some(signed) = signed {
            self.parts.beats.send_replace(signed);
        }
    }

    fn status(&self, now_ms: u64) -> Status {
        let devices = self.round.devices().map(|(device, _)| {
            let seen = self.seen.get(device);
            DeviceStatus {
                name: device.to_string(),
                online: self.round.is_online(device),
                last_seen_ms: seen
                    .and_then(|s| s.last_ms)
                    .map(|at| now_ms.saturating_sub(at)),
                agent: seen.map_or(String::new(), |seen| seen.agent.clone()),
            }
        });
        let round = self
            .round
            .progress()
            .map(|(key, admitted, out)| RoundStatus {
                job: key.job.to_string(),
                round: key.round.0,
                phase: key.phase.to_string(),
                admitted,
                out,
            });
        let mut status = self.parts.status.borrow().clone();
        status.nats.connected = self.parts.nats.is_connected();
        status.broker.connected = self.parts.session.is_connected();
        status.uptime_ms = now_ms.saturating_sub(self.started_ms);
        status.epoch = self.round.epoch().0;
        status.roster = self.roster.number();
        status.enrolled = self.own_entry.is_some();
        status.devices = devices.collect();
        status.round = round;
        status.queue = self.parts.mail.waiting();
        status.outbox.partials = self.parts.stores.partials.keys().len();
        status.outbox.bytes = self.parts.stores.partials.held_bytes();
        status.disk.objects_bytes = self.parts.stores.objects.held_bytes();
        status
    }
}
