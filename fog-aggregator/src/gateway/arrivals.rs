//! What devices send.

use bytes::Bytes;
use fl_model::{ContributionKey, DeviceId, Phase, Reason, RoundKey};
use fl_round::FogEvent;
use fl_runtime::clock::wall_us;
use fl_runtime::mqtt;
use fl_telemetry::metrics::{Bus, Link};
use fl_wire::topics::{Broadcast, ChunkName, Down};
use fl_wire::{Decline, Hello, Manifest, Receipt, VersionRange, Want};

use super::{Cause, Done, Gateway, STRANGERS_MAX};
use crate::door::{Arrival, Door, Refusal, SignedContribution};
use crate::uploads::Begun;

/// Objects that one device may be sent at once.
const ANSWERS_MAX: usize = 4;

impl Gateway {
    pub(super) async fn on_mqtt(&mut self, event: mqtt::Event) {
        match event {
            mqtt::Event::Connected => {
                self.parts.metrics.connected(Bus::Mqtt);
                self.announce();
            }
            mqtt::Event::Disconnected { .. } => {}
            mqtt::Event::Message(message) => self.on_message(message).await,
        }
    }

    /// Says again what the broker keeps for devices: it may be another broker than before.
    pub(super) fn announce(&self) {
        if let Some(entry) = &self.own_entry {
            self.parts.mail.retain(Broadcast::Fog, entry.clone());
        }
        if let Some(current) = &self.current {
            let job = current.plan.key.job.clone();
            self.parts
                .mail
                .retain(Broadcast::Plan(job), current.verbatim.clone());
        }
    }

    async fn on_message(&mut self, message: mqtt::Message) {
        if self.own_entry.is_none() && !message.topic.ends_with("/presence") {
            // Nothing can be verified before the roster is there; what is not kept is said again.
            let room = self.early.len() < STRANGERS_MAX;
            if room && message.topic.ends_with("/up/hello") {
                self.early.insert(message.topic, message.payload);
            }
            return;
        }
        self.take(&message.topic, message.payload).await;
    }

    /// Takes a message in, or refuses it.
    pub(super) async fn take(&mut self, topic: &str, payload: Bytes) {
        let read = self.door().read(topic, &payload);
        match read {
            Ok((device, arrival)) => self.on_arrival(device, arrival, payload).await,
            Err(refusal) => self.refuse(*refusal).await,
        }
    }

    fn door(&self) -> Door<'_> {
        Door {
            region: &self.parts.me.region,
            roster: &self.roster,
            open: self.current.as_ref().map(|current| {
                let bytes_max = current.contribution_bytes_max;
                (&current.plan.key, bytes_max)
            }),
        }
    }

    async fn on_arrival(&mut self, device: DeviceId, arrival: Arrival, payload: Bytes) {
        if !matches!(arrival, Arrival::Presence(false)) {
            self.heard(&device);
        }
        match arrival {
            Arrival::Presence(online) => self.on_presence(device, online).await,
            Arrival::Hello(hello) => self.on_hello(device, hello).await,
            Arrival::Beat(_) => self.step(FogEvent::Beat(device), Cause::Other).await,
            Arrival::Contribution(signed) => self.on_contribution(*signed).await,
            Arrival::Manifest(key, manifest) => self.on_manifest(device, key, manifest).await,
            Arrival::Chunk(name) => self.on_chunk(device, name, payload).await,
            Arrival::Want(want) => {
                self.step(FogEvent::Beat(device.clone()), Cause::Other)
                    .await;
                self.on_want(device, want);
            }
            Arrival::Decline(decline) => self.on_decline(device, decline).await,
            Arrival::Spans(batch) => {
                let agent = self.seen.get(&device).map_or("", |seen| &seen.agent);
                let open = self.current.as_mut().and_then(|current| {
                    let facts = current.facts.as_mut()?;
                    Some((&current.plan.key, facts))
                });
                self.parts
                    .teller
                    .spans(open, &device, &batch, wall_us(), agent);
            }
        }
    }

    fn heard(&mut self, device: &DeviceId) {
        if self.roster.device_key(device).is_none() {
            return;
        }
        let seen = self.seen.entry(device.clone()).or_default();
        seen.last_ms = Some(self.parts.clock.now_ms());
        if seen.lost_us.take().is_some()
            && let Some(facts) = self
                .current
                .as_mut()
                .and_then(|current| current.facts.as_mut())
        {
            facts.trace.returned(device.as_str());
        }
    }

    async fn on_presence(&mut self, device: DeviceId, online: bool) {
        if self.roster.device_key(&device).is_none() {
            if online && self.own_entry.is_some() {
                self.warn_of_stranger(&device);
            }
            if self.strangers.len() < STRANGERS_MAX {
                self.strangers.insert(device, online);
            }
            return;
        }
        if !online {
            self.seen.entry(device.clone()).or_default().lost_us = Some(wall_us());
        }
        tracing::info!(%device, "{device} is {}", if online { "online" } else { "gone" });
        self.step(FogEvent::Online(device, online), Cause::Other)
            .await;
    }

    pub(super) fn warn_of_stranger(&mut self, device: &DeviceId) {
        let region = &self.parts.me.region;
        self.lines.warn(self.parts.clock.now_ms(), || {
            format!(
                "{device} is connected and not in this region's roster: add it with `cloud-root roster add {device} KEY --role device --region {region}`"
            )
        });
    }

    async fn on_hello(&mut self, device: DeviceId, hello: Hello) {
        let protocol = match VersionRange::SPOKEN.common(hello.versions) {
            Ok(protocol) => protocol,
            Err(error) => {
                tracing::warn!(%device, "{device} cannot be spoken to: {error}");
                return;
            }
        };
        let seen = self.seen.entry(device.clone()).or_default();
        seen.agent = hello.agent;
        seen.protocol = protocol;
        let outstanding = hello.outstanding.into_iter();
        let held: Vec<RoundKey> = outstanding
            .filter(|key| key.device == device)
            .map(|key| key.round)
            .collect();
        tracing::info!(%device, "{device} says hello with {} outstanding", held.len());
        self.step(FogEvent::Hello(device.clone(), held), Cause::Other)
            .await;
        for want in hello.wants {
            self.on_want(device.clone(), want);
        }
    }

    async fn on_contribution(&mut self, signed: SignedContribution) {
        let SignedContribution {
            contribution,
            digest,
            bytes,
        } = signed;
        let received_us = wall_us();
        self.parts.metrics.moved(Link::EdgeUp, bytes);
        let key = &contribution.key;
        if let Some(current) = self.current.as_mut()
            && current.plan.key == key.round
            && self.round.admitted(key).is_none()
        {
            current
                .arrived
                .insert(key.device.clone(), (received_us, bytes));
        }
        let cause = Cause::Contribution {
            device: key.device.clone(),
            received_us,
            digest,
        };
        let event = FogEvent::Contribution {
            contribution: Box::new(contribution),
            digest,
            bytes,
        };
        self.step(event, cause).await;
    }

    async fn on_manifest(&mut self, device: DeviceId, round: RoundKey, manifest: Manifest) {
        self.step(FogEvent::Beat(device.clone()), Cause::Other)
            .await;
        let digest = manifest.object.digest;
        let key = ContributionKey {
            round,
            device: device.clone(),
        };
        let open = self.current.as_ref();
        let open = open.filter(|current| current.plan.key == key.round);
        let bytes_max = open.map(|current| current.contribution_bytes_max);
        let Some(bytes_max) = bytes_max.filter(|_| self.round.awaits(&key, digest)) else {
            tracing::debug!(%device, "{device} announces {key}, whose bytes are not asked for");
            let cause = Cause::Contribution {
                device,
                received_us: wall_us(),
                digest,
            };
            self.step(FogEvent::Announced(key, digest), cause).await;
            return;
        };
        match self.uploads.begin(&device, manifest, bytes_max) {
            Ok(Begun::New) => {}
            Ok(Begun::Resumed(want)) => {
                self.parts
                    .mail
                    .tell(&device, Down::Want, &want, |header| header);
            }
            Ok(Begun::Busy) => {
                tracing::warn!(%device, "no room for another contribution in chunks: {device} has to wait");
            }
            Err(error) => tracing::warn!(%device, "the manifest of {device} is not taken: {error}"),
        }
    }

    async fn on_chunk(&mut self, device: DeviceId, name: ChunkName, chunk: Bytes) {
        self.step(FogEvent::Beat(device.clone()), Cause::Other)
            .await;
        match self.uploads.place(&device, &name, &chunk) {
            Ok(None) => {}
            Ok(Some(whole)) => match self.door().contribution(&device, &whole) {
                Ok(signed) => self.on_contribution(signed).await,
                Err(refusal) => self.refuse(*refusal).await,
            },
            Err(error) => {
                self.lines
                    .warn(self.parts.clock.now_ms(), || format!("{device}: {error}"));
                if let Some(want) = self.uploads.want(&device, &name.digest) {
                    self.parts
                        .mail
                        .tell(&device, Down::Want, &want, |header| header);
                    return;
                }
                // The whole is not what its manifest says: the device cannot do better by itself.
                let refusal = Refusal {
                    device: Some(device),
                    signed: false,
                    contribution: true,
                    key: None,
                    digest: name.digest,
                    reason: error.reason(),
                    why: error.to_string(),
                };
                self.refuse(refusal).await;
            }
        }
    }

    fn on_want(&mut self, device: DeviceId, want: Want) {
        let running = self
            .answering
            .iter()
            .filter(|(of, _)| *of == device)
            .count();
        let known = self.parts.stores.objects.contains(&want.digest);
        let asked = (device, want.digest);
        if !known || running >= ANSWERS_MAX || !self.answering.insert(asked.clone()) {
            tracing::debug!(
                "{} asks for object {} in vain now",
                asked.0,
                want.digest.short()
            );
            return;
        }
        let (broadcaster, done) = (self.parts.broadcaster.clone(), self.parts.done.clone());
        tokio::spawn(async move {
            let (device, digest) = asked;
            let bytes = match broadcaster.answer(&device, &want).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(%device, "{device} does not get object {}: {error}", digest.short());
                    0
                }
            };
            let _ = done.send(Done::Answered(device, digest, bytes)).await;
        });
    }

    async fn on_decline(&mut self, device: DeviceId, decline: Decline) {
        let Decline {
            key,
            reason,
            detail,
        } = decline;
        tracing::info!(%device, %key, %reason, "{device} declines {key}: {reason} ({detail})");
        self.parts.metrics.contribution("declined", reason.as_str());
        let cause = Cause::Declined(device.clone());
        let key = ContributionKey { round: key, device };
        self.step(FogEvent::Declined(key, reason), cause).await;
    }

    /// Says no: in the log, in the figures, in the trace, and to the device.
    pub(super) async fn refuse(&mut self, refusal: Refusal) {
        let Refusal {
            device,
            signed,
            contribution,
            key,
            digest,
            reason,
            why,
        } = refusal;
        let now_ms = self.parts.clock.now_ms();
        let name = device.as_ref().map_or("somebody", DeviceId::as_str);
        self.lines.warn(now_ms, || {
            format!("a message of {name} is rejected ({reason}): {why}")
        });
        let open = self
            .current
            .as_ref()
            .map(|current| current.plan.key.clone());
        if !contribution {
            self.parts.metrics.refused(reason.as_str());
            return;
        }
        let Some(device) = device else {
            self.parts.metrics.refused(reason.as_str());
            return;
        };
        let cause = Cause::Contribution {
            device: device.clone(),
            received_us: wall_us(),
            digest,
        };
        match key {
            // Only what the device itself has signed, for that round, may cost it the round.
            Some(round) if signed && Some(&round) == open.as_ref() => {
                let key = ContributionKey { round, device };
                self.step(FogEvent::Refused(key, reason), cause).await;
            }
            key => self.refuse_stranger(device, key.or(open), digest, reason),
        }
    }

    /// A refusal that does not count against the device, whose key the message may not even have.
    fn refuse_stranger(
        &mut self,
        device: DeviceId,
        round: Option<RoundKey>,
        digest: fl_model::Digest,
        reason: Reason,
    ) {
        self.parts.metrics.contribution("rejected", reason.as_str());
        if let Some(facts) = self
            .current
            .as_mut()
            .and_then(|current| current.facts.as_mut())
        {
            facts.trace.stranger_rejected(wall_us(), reason.as_str());
        }
        let Some(round) = round else {
            return;
        };
        let receipt = Receipt {
            key: ContributionKey {
                round: round.clone(),
                device: device.clone(),
            },
            digest,
            admission: fl_model::Admission::Rejected(reason),
        };
        self.parts
            .mail
            .tell(&device, Down::Receipt, &receipt, |header| {
                header.in_round(&round)
            });
    }

    /// Whether the open phase has spans here.
    pub(super) fn is_traced(key: &RoundKey) -> bool {
        key.phase != Phase::Evaluate
    }
}
