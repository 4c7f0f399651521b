//! The root's side of the bus, with the root's key.

use bytes::Bytes;
use fl_model::{
    DataSpec, Digest, Epoch, EvaluateWork, Feature, FeatureSpec, Grid, GridWidth, JobId, Label,
    Loss, MemberId, Normalization, ObjectRef, PartialSum, Phase, Privacy, ROOT_NAME, Reason,
    RegionAbsence, RegionId, Role, RosterEntry, RoundKey, RoundNumber, RoundOutcome, RoundPlan,
    Split, TraceContext, TrainWork, TrainingSpec, Weighting, Work,
};
use fl_runtime::nats::{Nats, Stream, StreamLimits};
use fl_runtime::testing::{JETSTREAM, NatsProcess, until};
use fl_telemetry::{RoundContext, Unit};
use fl_wire::subjects::{ONLY_SHARD, Subject};
use fl_wire::{
    Encoded as _, Envelope, EnvelopeList, Header, MessageKind, ParameterObject, RoundSettled,
    SigningKey, VerifyingKey, seal,
};

use crate::device::device_key;
use crate::fog::Fog;

/// Coordinates of the only tensor.
pub(crate) const COORDINATES: usize = 4;

/// Largest weight of a contribution.
pub(crate) const WEIGHT_MAX: u64 = 100;

pub(crate) fn region() -> RegionId {
    RegionId::new("north").unwrap()
}

pub(crate) fn key(round: u32, phase: Phase) -> RoundKey {
    RoundKey {
        job: JobId::new("air").unwrap(),
        round: RoundNumber(round),
        phase,
    }
}

pub(crate) fn root_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

pub(crate) struct Root {
    pub(crate) nats: Nats,
    key: SigningKey,
    coordinates: usize,
}

/// A bus, a root, and a running gateway whose devices the root has enrolled.
pub(crate) async fn enrolled(devices: &[&str]) -> (NatsProcess, Root, Fog) {
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    root.enrol(&fog, devices).await;
    fog.start();
    (nats, root, fog)
}

impl Root {
    /// Makes the streams, as `cloud-root serve` does.
    pub(crate) async fn new(nats: Nats) -> Self {
        nats.ensure_streams(&StreamLimits::default()).await.unwrap();
        Self {
            nats,
            key: root_key(),
            coordinates: COORDINATES,
        }
    }

    /// With a model of that many coordinates.
    pub(crate) fn with_coordinates(mut self, coordinates: usize) -> Self {
        self.coordinates = coordinates;
        self
    }

    /// Signs with another key from now on.
    pub(crate) fn forging(mut self) -> Self {
        self.key = SigningKey::from_bytes(&[99; 32]);
        self
    }

    /// Publishes the roster: the fog, and these devices.
    pub(crate) async fn enrol(&self, fog: &Fog, devices: &[&str]) {
        let fog_key = fog.key().verifying_key();
        let mut members = vec![("fog-north".to_owned(), Role::Fog, fog_key)];
        for name in devices {
            members.push((
                (*name).to_owned(),
                Role::Device,
                device_key(name).verifying_key(),
            ));
        }
        self.roster(&members).await;
    }

    pub(crate) async fn roster(&self, members: &[(String, Role, VerifyingKey)]) {
        let name = MemberId::new(ROOT_NAME).unwrap();
        let entry = |(number, (member, role, key)): (u64, &(String, Role, VerifyingKey))| {
            let entry = RosterEntry {
                number,
                member: MemberId::new(member).unwrap(),
                role: *role,
                region: region(),
                key: key.to_bytes(),
                removed: false,
            };
            let header = Header::new(MessageKind::RosterEntry, &name).in_region(&region());
            seal(&header, &entry, &self.key).unwrap()
        };
        let list = EnvelopeList {
            envelopes: (1..).zip(members).map(entry).collect(),
        };
        self.put(Subject::Roster(region()), list.encode().unwrap())
            .await;
    }

    async fn put(&self, subject: Subject, bytes: Vec<u8>) {
        self.nats
            .put_latest(&subject.to_string(), bytes.into(), None)
            .await
            .unwrap();
    }

    /// The plan of a phase, with its objects in the object store.
    pub(crate) async fn plan(&self, key: &RoundKey, deadline_ms: u32) -> RoundPlan {
        let model = b"the user's model, which a gateway does not read".to_vec();
        let parameters = ParameterObject {
            names: vec!["w".into()],
            shapes: vec![vec![self.coordinates as u64]],
            tensors: vec![vec![0.5; self.coordinates]],
        };
        let parameters = parameters.encode().unwrap();
        self.nats.put_object(&model).await.unwrap();
        self.nats.put_object(&parameters).await.unwrap();
        let context = RoundContext::new(key.job.as_str(), key.round.0, 0);
        RoundPlan {
            key: key.clone(),
            epoch: Epoch(1),
            model: ObjectRef::to(&model),
            options: fl_model::ModelOptions::PLAIN,
            draw: None,
            parameters: ObjectRef::to(&parameters),
            data: data(),
            work: work(key.phase),
            quorum: 1,
            contributions_max: 10,
            region_contributions_max: 10,
            deadline_ms,
            trace: TraceContext {
                trace_id: *context.trace.as_bytes(),
                span_id: *context.span_id(&Unit::Round).as_bytes(),
            },
        }
    }

    pub(crate) async fn publish(&self, plan: &RoundPlan) {
        let name = MemberId::new(ROOT_NAME).unwrap();
        let header = Header::new(MessageKind::Plan, &name)
            .in_round(&plan.key)
            .under(plan.epoch)
            .traced(plan.trace);
        let bytes = seal(&header, plan, &self.key).unwrap();
        self.put(Subject::Plan(region(), plan.key.job.clone()), bytes)
            .await;
    }

    /// Opens a phase.
    pub(crate) async fn open(&self, key: &RoundKey, deadline_ms: u32) -> RoundPlan {
        let plan = self.plan(key, deadline_ms).await;
        self.publish(&plan).await;
        plan
    }

    pub(crate) async fn end_job(&self) {
        let job = key(1, Phase::Train).job;
        self.put(Subject::Plan(region(), job), Vec::new()).await;
    }

    /// The region's partial, once it is there, verified; and SHA-256 of its signed bytes.
    pub(crate) async fn partial(&self, key: &RoundKey, fog: &Fog) -> (PartialSum, Digest) {
        let subject = Subject::Partial(key.clone(), region(), ONLY_SHARD).to_string();
        let bytes: Bytes = until("the partial", || async {
            self.nats
                .last(Stream::Partials, &subject)
                .await
                .ok()
                .flatten()
                .map(|m| m.payload)
        })
        .await;
        let signed = self.whole(&bytes, fog).await;
        let envelope = Envelope::parse(&signed, signed.len()).unwrap();
        let verified = envelope.verify(&fog.key().verifying_key()).unwrap();
        assert_eq!(verified.header().sender.as_str(), "fog-north");
        (verified.open().unwrap(), Digest::of(&signed))
    }

    /// The partial, out of the object store where the message only names it.
    async fn whole(&self, bytes: &Bytes, fog: &Fog) -> Vec<u8> {
        let envelope = Envelope::parse(bytes, bytes.len()).unwrap();
        if envelope.header().kind != MessageKind::Manifest {
            return bytes.to_vec();
        }
        let verified = envelope.verify(&fog.key().verifying_key()).unwrap();
        let manifest: fl_wire::Manifest = verified.open().unwrap();
        self.nats.get_object(&manifest.object).await.unwrap()
    }

    /// How many partials the stream holds for a phase.
    pub(crate) async fn partials(&self, key: &RoundKey) -> usize {
        let subject = Subject::Partial(key.clone(), region(), ONLY_SHARD).to_string();
        self.nats
            .read_all(Stream::Partials, &subject)
            .await
            .unwrap()
            .len()
    }

    /// Leaves what no fog has signed where the region's partial belongs; returns its sequence.
    pub(crate) async fn intrude(&self, key: &RoundKey) -> u64 {
        let subject = Subject::Partial(key.clone(), region(), ONLY_SHARD).to_string();
        let bytes = Bytes::from_static(b"no partial");
        let appended = self.nats.append(Stream::Partials, &subject, bytes, 0, None);
        appended.await.unwrap()
    }

    /// Takes that away again.
    pub(crate) async fn evict(&self, key: &RoundKey, sequence: u64) {
        let subject = Subject::Partial(key.clone(), region(), ONLY_SHARD).to_string();
        let purged = self.nats.purge(Stream::Partials, &subject, Some(sequence));
        assert_eq!(purged.await.unwrap(), 1);
    }

    /// Records a phase as merged.
    pub(crate) async fn settle(&self, key: &RoundKey, accepted: Option<Digest>) {
        self.record(key, RoundOutcome::Merged, accepted, Reason::RegionLate)
            .await;
    }

    /// Records how a phase ended; `reason` says why this region is not in it, where it is not.
    pub(crate) async fn record(
        &self,
        key: &RoundKey,
        outcome: RoundOutcome,
        accepted: Option<Digest>,
        reason: Reason,
    ) {
        let absence = RegionAbsence {
            region: region(),
            reason,
        };
        let settled = RoundSettled {
            key: key.clone(),
            outcome,
            accepted: accepted
                .map(|digest| (region(), digest))
                .into_iter()
                .collect(),
            absent: accepted.is_none().then_some(absence).into_iter().collect(),
            windows: Vec::new(),
        };
        let name = MemberId::new(ROOT_NAME).unwrap();
        let header = Header::new(MessageKind::RoundSettled, &name)
            .in_round(key)
            .under(Epoch(1));
        let bytes = seal(&header, &settled, &self.key).unwrap();
        self.put(Subject::Settled(region(), key.clone()), bytes)
            .await;
    }
}

fn data() -> DataSpec {
    DataSpec {
        inputs: FeatureSpec {
            features: vec![Feature::Numeric { column: "x".into() }],
            clip: 5.0,
        }
        .into(),
        label: Label::Above {
            column: "y".into(),
            limit: 0.0,
        },
        split: Split::Tail { test_fraction: 0.5 },
    }
}

fn work(phase: Phase) -> Work {
    let normalization = Normalization {
        mean: vec![0.0],
        scale: vec![1.0],
    };
    let loss = Loss::BinaryCrossEntropy;
    match phase {
        Phase::Statistics => Work::Statistics,
        Phase::Evaluate => Work::Evaluate(EvaluateWork {
            loss,
            normalization,
        }),
        Phase::Train => Work::Train(Box::new(TrainWork {
            training: TrainingSpec {
                batch_size: 8,
                ..TrainingSpec::plain(loss, 0.1)
            },
            normalization,
            grid: Grid::for_clip_norm(GridWidth::W32, 10.0, 1),
            clip_norm: 10.0,
            weighting: Weighting::Examples,
            weight_max: WEIGHT_MAX,
            privacy: Privacy::Off,
            seed: 1,
        })),
    }
}
