//! The door for partial sums: whose they are, whether they are whole, and what is kept of a bad one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use fl_model::{
    DeviceId, Digest, ObjectRef, PartialSum, Reason, RegionId, Role, RoundKey, RoundPlan,
};
use fl_runtime::store::{Access, write_atomic};
use fl_wire::{
    Envelope, Expected, Manifest, MessageKind, Verified, VerifyingKey, partial_bytes_max,
};

use crate::home::Home;
use crate::roster::RosterFile;

/// Most bad messages that are kept to be looked at.
const QUARANTINE_FILES_MAX: usize = 64;

/// Largest bad message that is kept.
const QUARANTINE_BYTES_MAX: usize = 8 << 20;

/// A partial with a valid signature.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partial: PartialSum,
    /// SHA-256 of the signed bytes.
    pub(crate) digest: Digest,
    /// Their length.
    pub(crate) bytes: u64,
}

/// What lies on a partial's subject.
#[derive(Debug)]
pub(crate) enum Found {
    /// The partial.
    Whole(Box<Read>),
    /// A signed reference to the object that holds it.
    Held(ObjectRef),
}

/// A message that is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The region's fog has not signed it for that phase: what it signs may yet come.
    Foreign(anyhow::Error),
    /// The fog has, and nothing else will come of it.
    Final(Reason, anyhow::Error),
}

/// What a partial of a region must be, by roster and plan.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) phase: RoundKey,
    pub(crate) region: RegionId,
    key: VerifyingKey,
    expected: Expected,
    bytes_max: usize,
    /// Devices that the roster has ever named there: one that was taken out may be in a sum from before.
    devices: BTreeSet<DeviceId>,
}

impl Door {
    pub(crate) fn of(
        roster: &RosterFile,
        plan: &RoundPlan,
        region: &RegionId,
    ) -> Result<Self, Refusal> {
        let unknown = |why| Refusal::Final(Reason::UnknownSender, why);
        let (fog, key) = roster.fog_of(region).map_err(unknown)?;
        let of_region = roster.lines().iter().filter(|line| line.region == *region);
        let devices = of_region.filter(|line| line.role == Role::Device);
        let devices: BTreeSet<_> = devices.map(|line| line.member.clone()).collect();
        let named = devices.len().max(plan.contributions_max as usize);
        Ok(Self {
            phase: plan.key.clone(),
            region: region.clone(),
            key,
            expected: Expected::sender(fog).in_region(region).in_round(&plan.key),
            bytes_max: partial_bytes_max(plan, named),
            devices,
        })
    }

    /// Reads what lies on the region's subject.
    pub(crate) fn look(&self, payload: &[u8]) -> Result<Found, Refusal> {
        let verified = self.verified(payload)?;
        if verified.header().kind != MessageKind::Manifest {
            return Ok(Found::Whole(Box::new(self.partial(&verified, payload)?)));
        }
        let manifest: Manifest = verified.open().map_err(malformed)?;
        if manifest.object.bytes > self.bytes_max as u64 {
            let (bytes, most) = (manifest.object.bytes, self.bytes_max);
            let why = anyhow!("it has {bytes} bytes, the plan allows {most}");
            return Err(Refusal::Final(Reason::Oversized, why));
        }
        Ok(Found::Held(manifest.object))
    }

    /// Reads the object that a reference named. Its digest, which the fog has signed, is checked.
    pub(crate) fn open(&self, signed: &[u8]) -> Result<Read, Refusal> {
        let verified = self.verified(signed);
        let verified = verified.map_err(|refusal| match refusal {
            Refusal::Foreign(why) => Refusal::Final(Reason::Foreign, why),
            refusal => refusal,
        })?;
        self.partial(&verified, signed)
    }

    fn verified(&self, signed: &[u8]) -> Result<Verified, Refusal> {
        let verified = Envelope::parse(signed, self.bytes_max.max(signed.len()))
            .and_then(|envelope| envelope.verify(&self.key))
            .and_then(|verified| verified.check(&self.expected).map(|()| verified))
            .map_err(|error| Refusal::Foreign(error.into()))?;
        if signed.len() > self.bytes_max {
            let (bytes, most) = (signed.len(), self.bytes_max);
            let why = anyhow!("it has {bytes} bytes, the plan allows {most}");
            return Err(Refusal::Final(Reason::Oversized, why));
        }
        Ok(verified)
    }

    fn partial(&self, verified: &Verified, signed: &[u8]) -> Result<Read, Refusal> {
        let partial: PartialSum = verified.open().map_err(malformed)?;
        if partial.key != self.phase || partial.region != self.region {
            let why = anyhow!("it is of {} in region {}", partial.key, partial.region);
            return Err(Refusal::Final(Reason::Foreign, why));
        }
        let stranger = |device: &&DeviceId| !self.devices.contains(*device);
        if let Some(device) = partial.contributors.iter().find(stranger) {
            let why = anyhow!("the roster has never named {device} as a device of its region");
            return Err(Refusal::Final(Reason::UnknownSender, why));
        }
        Ok(read(partial, signed))
    }
}

/// Reads a partial that the log has accepted: its digest is what vouches for it, and the roster may
/// have changed since.
pub(crate) fn accepted(roster: &RosterFile, digest: Digest, signed: &[u8]) -> anyhow::Result<Read> {
    anyhow::ensure!(
        Digest::of(signed) == digest,
        "its bytes are not those that the log has accepted"
    );
    let fogs = roster.lines().iter().filter(|line| line.role == Role::Fog);
    let keys = fogs.filter_map(|line| VerifyingKey::from_bytes(&line.key).ok());
    let envelope = Envelope::parse(signed, signed.len())?;
    let verified = keys
        .filter_map(|key| envelope.clone().verify(&key).ok())
        .next()
        .context("no fog that the roster has ever named signed it")?;
    Ok(read(verified.open()?, signed))
}

fn read(partial: PartialSum, signed: &[u8]) -> Read {
    Read {
        partial,
        digest: Digest::of(signed),
        bytes: signed.len() as u64,
    }
}

fn malformed(error: fl_wire::WireError) -> Refusal {
    Refusal::Final(Reason::Malformed, error.into())
}

/// A folder with bad messages, to be looked at.
#[derive(Debug)]
pub(crate) struct Quarantine(PathBuf);

impl Quarantine {
    pub(crate) fn of(home: &Home) -> Self {
        Self(home.quarantine_folder())
    }

    /// Keeps a bad message with its reason; a full folder keeps what it has.
    pub(crate) fn keep(&self, payload: &[u8], reason: &str) {
        let count = std::fs::read_dir(&self.0).map_or(0, Iterator::count);
        if count >= 2 * QUARANTINE_FILES_MAX || payload.len() > QUARANTINE_BYTES_MAX {
            return;
        }
        let name = Digest::of(payload).to_string();
        let kept = std::fs::create_dir_all(&self.0)
            .map_err(anyhow::Error::from)
            .and_then(|()| {
                write_atomic(&self.0.join(&name), payload, Access::Umask)?;
                let reason = format!("{reason}\n");
                let file = self.0.join(format!("{name}.txt"));
                Ok(write_atomic(&file, reason.as_bytes(), Access::Umask)?)
            });
        if let Err(error) = kept {
            tracing::warn!("a bad message could not be kept: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use fl_model::{Epoch, FeatureStatistics, MemberId, Sum};
    use fl_runtime::keys::{load_or_create, public_hex};
    use fl_wire::{Chunker, Header, SigningKey, seal};

    use super::*;
    use crate::roster::RosterEditor;
    use crate::testing::{plan, region};

    fn member(name: &str) -> MemberId {
        MemberId::new(name).unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    /// A root's home with a fog of key 2 in `north`, and devices `a` and `b`; `b` was taken out again.
    struct Scene {
        _folder: tempfile::TempDir,
        home: Home,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(folder.path());
            load_or_create(&home.key_file()).unwrap();
            let scene = Self {
                _folder: folder,
                home,
            };
            scene.add("fog-north", 2, Role::Fog, "north");
            scene.add("a", 3, Role::Device, "north");
            scene.add("b", 4, Role::Device, "north");
            scene.add("c", 5, Role::Device, "south");
            scene.remove("b");
            scene
        }

        fn add(&self, name: &str, seed: u8, role: Role, of: &str) {
            let hex = public_hex(&key(seed).verifying_key());
            let mut roster = RosterEditor::open(&self.home).unwrap();
            roster.add(member(name), &hex, role, region(of)).unwrap();
        }

        fn remove(&self, name: &str) {
            let mut roster = RosterEditor::open(&self.home).unwrap();
            roster.remove(&member(name)).unwrap();
        }

        fn roster(&self) -> RosterFile {
            RosterFile::load(&self.home, &self.home.key().unwrap()).unwrap()
        }

        fn door(&self) -> Door {
            Door::of(&self.roster(), &plan(), &region("north")).unwrap()
        }
    }

    fn partial(contributors: &[&str]) -> PartialSum {
        let plan = plan();
        let columns = plan.data.inputs.encoded_width();
        PartialSum {
            key: plan.key,
            region: region("north"),
            epoch: Epoch(1),
            sum: Sum::Statistics(FeatureStatistics::empty(columns)),
            contributors: contributors.iter().map(|name| member(name)).collect(),
            absent: Vec::new(),
            edge_up_bytes: 0,
            down_bytes: 0,
        }
    }

    fn header(partial: &PartialSum, kind: MessageKind) -> Header {
        Header::new(kind, &member("fog-north"))
            .in_round(&partial.key)
            .in_region(&partial.region)
            .under(partial.epoch)
    }

    fn signed(partial: &PartialSum, seed: u8) -> Vec<u8> {
        let kind = MessageKind::partial(partial.key.phase);
        seal(&header(partial, kind), partial, &key(seed)).unwrap()
    }

    /// `whole`, `held`, `foreign` or the reason of a final refusal.
    fn verdict(found: Result<Found, Refusal>) -> String {
        match found {
            Ok(Found::Whole(_)) => "whole".into(),
            Ok(Found::Held(_)) => "held".into(),
            Err(Refusal::Foreign(_)) => "foreign".into(),
            Err(Refusal::Final(reason, _)) => reason.to_string(),
        }
    }

    #[test]
    fn what_a_fog_signs_is_its_answer_and_what_others_leave_there_is_not() {
        let scene = Scene::new();
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(verdict(scene.door().look(bytes)), expected);
        };
        check(&signed(&partial(&["a"]), 2), "whole");
        check(&signed(&partial(&["a", "b"]), 2), "whole");
        check(&signed(&partial(&["a", "c"]), 2), "unknown_sender");
        check(&signed(&partial(&["a", "stranger"]), 2), "unknown_sender");
        check(&signed(&partial(&["a"]), 9), "foreign");
        check(b"no message at all", "foreign");
        let mut other = partial(&["a"]);
        other.key.round = other.key.round.next();
        check(&signed(&other, 2), "foreign");
        let mut other = partial(&["a"]);
        other.key.phase = fl_model::Phase::Evaluate;
        other.sum = Sum::Evaluation(fl_model::EvaluationCounters::default());
        check(&signed(&other, 2), "foreign");
    }

    #[test]
    fn a_reference_is_held_to_what_the_plan_allows() {
        let scene = Scene::new();
        let reference = |object: &[u8]| {
            let manifest = Chunker::new(object).unwrap().manifest().clone();
            let header = header(&partial(&["a"]), MessageKind::Manifest);
            seal(&header, &manifest, &key(2)).unwrap()
        };
        let whole = signed(&partial(&["a"]), 2);
        assert_eq!(verdict(scene.door().look(&reference(&whole))), "held");
        let read = scene.door().open(&whole).unwrap();
        assert_eq!(read.digest, Digest::of(&whole));
        let large = vec![0; scene.door().bytes_max + 1];
        assert_eq!(verdict(scene.door().look(&reference(&large))), "oversized");
        let refused = scene.door().open(b"other bytes").unwrap_err();
        assert!(matches!(refused, Refusal::Final(Reason::Foreign, _)));
    }

    #[test]
    fn an_accepted_partial_outlives_every_change_of_the_roster() {
        let scene = Scene::new();
        let bytes = signed(&partial(&["a", "b"]), 2);
        let digest = Digest::of(&bytes);
        for name in ["a", "fog-north"] {
            scene.remove(name);
        }
        scene.add("fog-other", 7, Role::Fog, "north");
        let roster = scene.roster();
        assert_eq!(
            verdict(
                Door::of(&roster, &plan(), &region("north"))
                    .unwrap()
                    .look(&bytes)
            ),
            "foreign"
        );
        let read = accepted(&roster, digest, &bytes).unwrap();
        assert_eq!(read.partial, partial(&["a", "b"]));
        let other = signed(&partial(&["a"]), 2);
        let refused = accepted(&roster, digest, &other).unwrap_err().to_string();
        assert!(
            refused.contains("not those that the log has accepted"),
            "{refused}"
        );
    }
}
