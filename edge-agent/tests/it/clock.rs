//! An agent whose clock is far off its fog's: it takes part all the same, and tells by how much.

use std::time::{SystemTime, UNIX_EPOCH};

use fl_model::{
    Admission, Contribution, ContributionKey, Digest, JobId, MemberId, ROOT_NAME, Role, RosterEntry,
};
use fl_runtime::mqtt::{Event, Session};
use fl_runtime::testing::LIMIT;
use fl_wire::topics::{Broadcast, ChunkName, Down, Place, Topic, Up};
use fl_wire::{
    AttributeValue, Body, Chunker, Envelope, Header, MessageKind, PROTOCOL, Receipt, SigningKey,
    SpanBatch, Want, Welcome, seal,
};

use crate::common::{device, home, region, root, start};
use crate::processes::{MODEL, PARAMETERS, fog, plan};

/// A fog over raw MQTT, whose clock is as far from the agent's as a test wants.
struct Fog {
    session: Session,
    key: SigningKey,
    /// By how much its clock is ahead [s].
    ahead_s: i64,
}

impl Fog {
    fn name() -> MemberId {
        MemberId::new("fog").unwrap()
    }

    async fn publish(&self, topic: Topic, payload: Vec<u8>, retain: bool) {
        let topic = topic.to_string();
        let published = self.session.publish(&topic, payload, retain, Vec::new());
        published.await.unwrap();
    }

    /// As the root has entered it.
    async fn introduce(&self) {
        let entry = RosterEntry {
            number: 1,
            member: Self::name(),
            role: Role::Fog,
            region: region(),
            key: self.key.verifying_key().to_bytes(),
            removed: false,
        };
        let name = MemberId::new(ROOT_NAME).unwrap();
        let header = Header::new(MessageKind::RosterEntry, &name).in_region(&region());
        let signed = seal(&header, &entry, &root()).unwrap();
        let topic = Topic::broadcast(&region(), Broadcast::Fog);
        self.publish(topic, signed, true).await;
    }

    async fn tell<B: Body>(&self, down: Down, body: &B, more: impl FnOnce(Header) -> Header) {
        let header = more(Header::new(body.kind(), &Self::name()).in_region(&region()));
        let signed = seal(&header, body, &self.key).unwrap();
        self.publish(Topic::down(&region(), &device(), down), signed, false)
            .await;
    }

    async fn welcome(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now_us = i64::try_from(now.as_micros()).unwrap();
        let welcome = Welcome {
            fog_time_us: now_us + self.ahead_s * 1_000_000,
            version: PROTOCOL,
            answers: Vec::new(),
        };
        self.tell(Down::Welcome, &welcome, |header| header).await;
    }

    async fn send_object(&self, digest: Digest) {
        let object = [MODEL, PARAMETERS]
            .into_iter()
            .find(|object| Digest::of(object) == digest)
            .expect("one of the plan's objects");
        let chunker = Chunker::new(object).unwrap();
        self.tell(Down::Manifest, chunker.manifest(), |header| header)
            .await;
        for (number, chunk) in chunker.chunks() {
            let down = Down::Chunk(ChunkName { digest, number });
            let topic = Topic::down(&region(), &device(), down);
            self.publish(topic, chunk.to_vec(), false).await;
        }
    }

    async fn admit(&self, signed: &[u8], contribution: Contribution) {
        let round = contribution.key.round;
        let receipt = Receipt {
            key: ContributionKey {
                round: round.clone(),
                device: device(),
            },
            digest: Digest::of(signed),
            admission: Admission::Admitted,
        };
        self.tell(Down::Receipt, &receipt, |header| header.in_round(&round))
            .await;
    }
}

/// The spans that an agent sends of a statistics phase whose fog's clock is that far ahead of its own.
async fn spans(ahead_s: i64) -> SpanBatch {
    let (_folder, broker, session, mut events) = fog().await;
    let fog = Fog {
        session,
        key: SigningKey::from_bytes(&[4; 32]),
        ahead_s,
    };
    fog.introduce().await;
    let topic = Topic::broadcast(&region(), Broadcast::Plan(JobId::new("air").unwrap()));
    fog.publish(topic, plan(&root()), true).await;

    let home = home(&format!("mqtt://{}", broker.address()));
    let home = home.path().join("edge home");
    std::fs::write(home.join("data.csv"), "x,y\n1,2\n2,3\n3,5\n4,7\n").unwrap();
    let key = fl_runtime::keys::load(&home.join("key")).unwrap();
    let mut agent = start(&home);
    let batch = loop {
        let event = tokio::time::timeout(LIMIT, events.next()).await;
        let Event::Message(message) = event.unwrap().unwrap() else {
            continue;
        };
        let topic: Topic = message.topic.parse().unwrap();
        let Place::Up(_, up) = topic.place else {
            continue;
        };
        let payload = &message.payload;
        let envelope = Envelope::parse(payload, payload.len()).unwrap();
        let verified = envelope.verify(&key.verifying_key()).unwrap();
        match up {
            Up::Hello => fog.welcome().await,
            Up::Want => {
                let want: Want = verified.open().unwrap();
                fog.send_object(want.digest).await;
            }
            Up::Contribution => fog.admit(payload, verified.open().unwrap()).await,
            Up::Spans => break verified.open().unwrap(),
            Up::Decline => panic!("it declines: {}", agent.log()),
            _ => {}
        }
    };
    agent.logged(&["clock is", "off the fog's"]).await;
    assert!(agent.stop().await.success());
    fog.session.close().await;
    broker.stop().await;
    batch
}

/// The agent measures its offset, and its spans lie before their stamp in the order of its work: what
/// the fog needs to put them on its own clock.
async fn check(ahead_s: i64) {
    let batch = spans(ahead_s).await;
    let upload = batch.spans.iter().find(|span| span.name == "upload");
    let attributes = &upload.unwrap().attributes;
    let offset = attributes
        .iter()
        .find(|(name, _)| name == "clock.offset_ms");
    let Some((_, AttributeValue::I64(offset_ms))) = offset else {
        panic!("no offset in {attributes:?}");
    };
    let late_ms = ahead_s * 1_000 - offset_ms;
    let limit_ms = i64::try_from(LIMIT.as_millis()).unwrap();
    assert!((-1..limit_ms).contains(&late_ms), "{offset_ms} ms");
    assert!(batch.spans.is_sorted_by_key(|span| span.start_us));
    let before = |at_us: i64| at_us <= batch.stamped_us;
    assert!(batch.spans.iter().all(|span| before(span.end_us)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_an_hour_ahead_tells_so() {
    check(-3_600).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_half_a_century_behind_tells_so() {
    check(50 * 365 * 86_400).await;
}
