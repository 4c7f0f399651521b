//! Who the device is, and what it signs.

use fl_model::{DeviceId, Epoch, RegionId, RoundKey, TraceContext};
use fl_runtime::mqtt::{Presence, SessionOptions};
use fl_telemetry::{SpanId, TraceId, Unit};
use fl_wire::topics::{OFFLINE, ONLINE, Topic, Up, device_subscriptions};
use fl_wire::{Body, Header, SigningKey, WireError, seal};

/// A device with its key.
pub(crate) struct Identity {
    /// Its name.
    pub(crate) device: DeviceId,
    /// Its region.
    pub(crate) region: RegionId,
    /// Signs.
    pub(crate) key: SigningKey,
}

/// What a message belongs to besides its region.
#[derive(Default)]
pub(crate) struct About<'a> {
    /// The phase.
    pub(crate) round: Option<&'a RoundKey>,
    /// The highest epoch that the device has accepted, or the plan's.
    pub(crate) epoch: Epoch,
    /// What the receiver's spans hang under.
    pub(crate) trace: Option<TraceContext>,
}

impl Identity {
    /// Signs a body.
    ///
    /// # Errors
    /// The body cannot be written, or is larger than its kind allows.
    pub(crate) fn seal<B: Body>(&self, body: &B, about: &About<'_>) -> Result<Vec<u8>, WireError> {
        let mut header = Header::new(body.kind(), &self.device)
            .in_region(&self.region)
            .under(about.epoch);
        if let Some(round) = about.round {
            header = header.in_round(round);
        }
        if let Some(trace) = about.trace {
            header = header.traced(trace);
        }
        seal(&header, body, &self.key)
    }

    /// A topic under which this device publishes.
    pub(crate) fn topic(&self, up: Up) -> Topic {
        Topic::up(&self.region, &self.device, up)
    }

    /// How it presents itself to its broker.
    pub(crate) fn session_options(&self) -> SessionOptions {
        SessionOptions {
            client_id: self.device.to_string(),
            subscriptions: device_subscriptions(&self.region, &self.device).to_vec(),
            presence: Some(Presence {
                topic: Topic::presence(&self.region, &self.device).to_string(),
                online: ONLINE.to_vec(),
                offline: OFFLINE.to_vec(),
            }),
        }
    }

    /// The device's own span in a round's trace: its fog emits it, and everything of the device hangs
    /// under it.
    pub(crate) fn device_span(&self, round: &TraceContext) -> TraceContext {
        let trace = TraceId::from_bytes(&round.trace_id);
        let unit = Unit::Device(self.device.as_str());
        let span = trace.map(|trace| *SpanId::of_unit(&trace, &unit).as_bytes());
        TraceContext {
            trace_id: round.trace_id,
            span_id: span.unwrap_or(round.span_id),
        }
    }
}
