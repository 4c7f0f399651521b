//! A device over raw MQTT: signs what a test tells it to, honest or not.

use std::time::Duration;

use fl_model::{
    Admission, Contribution, ContributionKey, DeviceId, Digest, EvaluationCounters,
    FeatureStatistics, Payload, Phase, ProtectedUpdate, RoundKey, TrainMetrics,
};
use fl_runtime::testing::LIMIT;
use fl_wire::limits::CHUNK_BYTES_MAX;
use fl_wire::topics::{
    Broadcast, ChunkName, Down, OFFLINE, ONLINE, Place, Topic, Up, device_subscriptions,
};
use fl_wire::{
    Body, Chunker, Envelope, Expected, Header, Hello, MessageKind, Receipt, SettledNotice,
    SigningKey, VerifyingKey, VersionRange, Welcome, seal,
};
use rumqttc::{
    AsyncClient, Event, Incoming, IncomingPacketSizeLimit, LastWill, MqttOptions, PublishOptions,
    QoS, SubscribeFilterInput,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::fog::Fog;
use crate::root::{COORDINATES, region};

/// Requests that the client holds.
const REQUESTS_MAX: usize = 64;

/// Largest packet that is taken, in bytes.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

/// The key that the roster has for a device of this name.
pub(crate) fn device_key(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

/// A connection as a device.
pub(crate) struct Device {
    pub(crate) name: DeviceId,
    pub(crate) key: SigningKey,
    fog: VerifyingKey,
    client: AsyncClient,
    incoming: mpsc::UnboundedReceiver<(Topic, Vec<u8>)>,
    polling: JoinHandle<()>,
}

impl Device {
    /// Connects under `name` and says hello.
    pub(crate) async fn connect(fog: &Fog, name: &str) -> Self {
        let device = Self::arrive(fog, name).await;
        device.hello(&[]).await;
        device
    }

    /// Connects under `name` and subscribes, no more.
    pub(crate) async fn arrive(fog: &Fog, name: &str) -> Self {
        loop {
            if let Some(device) = Self::try_arrive(fog, name).await {
                return device;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_arrive(fog: &Fog, name: &str) -> Option<Self> {
        let device = DeviceId::new(name).unwrap();
        let presence = Topic::presence(&region(), &device).to_string();
        let mut options = MqttOptions::new(name, ("127.0.0.1", fog.port));
        options
            .set_clean_start(true)
            .set_username(name)
            .set_last_will(LastWill::new(
                presence.clone(),
                OFFLINE,
                QoS::AtLeastOnce,
                true,
                None,
            ))
            .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(PACKET_BYTES_MAX));
        let (client, mut event_loop) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        let (said, incoming) = mpsc::unbounded_channel();
        loop {
            match event_loop.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => break,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        let polling = tokio::spawn(async move {
            while let Ok(event) = event_loop.poll().await {
                if let Event::Incoming(Incoming::Publish(publish)) = event {
                    let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
                    let _ = said.send((topic.parse().unwrap(), publish.payload.to_vec()));
                }
            }
        });
        for filter in device_subscriptions(&region(), &device) {
            let input = SubscribeFilterInput::new(filter, QoS::AtLeastOnce);
            client.subscribe_many(vec![input]).await.ok()?;
        }
        let device = Self {
            key: device_key(name),
            fog: fog.key().verifying_key(),
            name: device,
            client,
            incoming,
            polling,
        };
        device.raw(&presence, ONLINE, true).await;
        Some(device)
    }

    /// Cuts the connection, as a device does that loses power.
    pub(crate) fn cut(self) {
        drop(self);
    }

    /// Publishes bytes anywhere.
    pub(crate) async fn raw(&self, topic: &str, payload: &[u8], retain: bool) {
        let options = PublishOptions::new(QoS::AtLeastOnce).retain(retain);
        self.client
            .publish(topic, payload.to_vec(), options)
            .await
            .unwrap();
    }

    /// Publishes under the device's own `up`.
    pub(crate) async fn up(&self, up: Up, payload: &[u8]) {
        let topic = Topic::up(&region(), &self.name, up).to_string();
        self.raw(&topic, payload, false).await;
    }

    /// A header as this device signs it.
    pub(crate) fn header(&self, kind: MessageKind) -> Header {
        Header::new(kind, &self.name).in_region(&region())
    }

    pub(crate) async fn hello(&self, outstanding: &[RoundKey]) {
        let hello = Hello {
            versions: VersionRange::SPOKEN,
            agent: "test".into(),
            runtime: "test".into(),
            outstanding: outstanding
                .iter()
                .map(|key| self.contribution_key(key))
                .collect(),
            epoch: fl_model::Epoch(0),
            wants: Vec::new(),
        };
        let signed = seal(&self.header(MessageKind::Hello), &hello, &self.key).unwrap();
        self.up(Up::Hello, &signed).await;
    }

    pub(crate) fn contribution_key(&self, key: &RoundKey) -> ContributionKey {
        ContributionKey {
            round: key.clone(),
            device: self.name.clone(),
        }
    }

    /// An honest contribution to a phase, signed.
    pub(crate) fn contribution(&self, key: &RoundKey) -> Vec<u8> {
        let payload = match key.phase {
            Phase::Train => update(10, vec![7; COORDINATES]),
            Phase::Evaluate => Payload::Evaluation(EvaluationCounters {
                examples: 10,
                correct: 8,
                confusion: vec![4, 1, 1, 4],
                ..EvaluationCounters::default()
            }),
            Phase::Statistics => Payload::Statistics(FeatureStatistics {
                rows: 3,
                count: vec![3],
                missing: vec![0],
                sum: vec![6],
                squares: vec![14],
            }),
        };
        self.signed(key, payload)
    }

    /// A contribution with that payload, signed.
    pub(crate) fn signed(&self, key: &RoundKey, payload: Payload) -> Vec<u8> {
        self.signed_by(&self.key, key, payload)
    }

    /// The same with another's signature.
    pub(crate) fn signed_by(&self, by: &SigningKey, key: &RoundKey, payload: Payload) -> Vec<u8> {
        let contribution = Contribution {
            key: self.contribution_key(key),
            payload,
        };
        let header = self.header(contribution.kind()).in_round(key);
        seal(&header, &contribution, by).unwrap()
    }

    /// The manifest of a contribution to a phase, signed.
    pub(crate) fn announcement(&self, key: &RoundKey, manifest: &fl_wire::Manifest) -> Vec<u8> {
        let header = self.header(MessageKind::Manifest).in_round(key);
        seal(&header, manifest, &self.key).unwrap()
    }

    /// The next message that `take` takes; others are passed over.
    async fn next<T>(&mut self, what: &str, take: impl Fn(&Topic, &[u8]) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let (topic, payload) = self.incoming.recv().await.expect("the connection holds");
                if let Some(taken) = take(&topic, &payload) {
                    return taken;
                }
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_| panic!("no {what} came within {LIMIT:?}"))
    }

    async fn down<B: Body>(&mut self, down: Down) -> B {
        let (fog, device) = (self.fog, self.name.clone());
        let take = |topic: &Topic, payload: &[u8]| {
            if topic.place != Place::Down(device.clone(), down) {
                return None;
            }
            let verified = Envelope::parse(payload, payload.len())
                .unwrap()
                .verify(&fog)
                .unwrap();
            verified
                .check(&Expected::default().in_region(&region()))
                .unwrap();
            Some(verified.open().unwrap())
        };
        self.next(&format!("{down:?}"), take).await
    }

    pub(crate) async fn receipt(&mut self) -> Receipt {
        self.down(Down::Receipt).await
    }

    pub(crate) async fn welcome(&mut self) -> Welcome {
        self.down(Down::Welcome).await
    }

    pub(crate) async fn settled(&mut self) -> SettledNotice {
        self.down(Down::Settled).await
    }

    pub(crate) async fn want(&mut self) -> fl_wire::Want {
        self.down(Down::Want).await
    }

    pub(crate) async fn down_manifest(&mut self) -> fl_wire::Manifest {
        self.down(Down::Manifest).await
    }

    /// The bytes of a chunk that this device asked for.
    pub(crate) async fn down_chunk(&mut self, name: fl_wire::topics::ChunkName) -> Vec<u8> {
        let place = Place::Down(self.name.clone(), Down::Chunk(name));
        self.next("chunk", |topic, payload| {
            (topic.place == place).then(|| payload.to_vec())
        })
        .await
    }

    /// The bytes of the next broadcast of that kind.
    pub(crate) async fn broadcast(&mut self, of: Broadcast) -> Vec<u8> {
        let take = |topic: &Topic, payload: &[u8]| {
            let ours = topic.place == Place::Broadcast(of.clone());
            ours.then(|| payload.to_vec())
        };
        self.next(&format!("{of:?}"), take).await
    }

    /// Sends a contribution again and again, as agents do, until it is answered.
    pub(crate) async fn deliver(&mut self, signed: &[u8]) -> Receipt {
        for _ in 0..LIMIT.as_secs() {
            self.up(Up::Contribution, signed).await;
            let answer = tokio::time::timeout(Duration::from_secs(1), self.receipt()).await;
            if let Ok(receipt) = answer {
                assert_eq!(receipt.digest, Digest::of(signed), "another's receipt");
                return receipt;
            }
        }
        panic!("no receipt within {LIMIT:?}");
    }

    /// Sends a contribution once: in one message, or with its manifest and in chunks.
    pub(crate) async fn send_whole(&self, key: &RoundKey, signed: &[u8]) {
        if signed.len() <= CHUNK_BYTES_MAX {
            return self.up(Up::Contribution, signed).await;
        }
        let chunker = Chunker::of_contribution(signed, key).unwrap();
        let manifest = chunker.manifest();
        self.up(Up::Manifest, &self.announcement(key, manifest))
            .await;
        let digest = manifest.object.digest;
        for (number, chunk) in chunker.chunks() {
            self.up(Up::Chunk(ChunkName { digest, number }), chunk)
                .await;
        }
    }

    /// Delivers an honest contribution, which must be admitted.
    pub(crate) async fn contribute(&mut self, key: &RoundKey) {
        let receipt = self.deliver(&self.contribution(key)).await;
        assert_eq!(receipt.admission, Admission::Admitted);
        assert_eq!(receipt.key, self.contribution_key(key));
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

/// A train contribution's payload.
pub(crate) fn update(weight: u64, q: Vec<i32>) -> Payload {
    Payload::Update {
        update: ProtectedUpdate::Plain { weight, q: vec![q] },
        metrics: TrainMetrics {
            examples: weight,
            loss: 1 << 20,
            magnitudes: vec![3],
            saturated: vec![0],
        },
    }
}
