//! Who belongs to this region: what the root signed, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use fl_model::{DeviceId, MemberId, RegionId, Role, RosterEntry};
use fl_runtime::keys;
use fl_wire::limits::CONTROL_BYTES_MAX;
use fl_wire::{
    Encoded as _, Envelope, EnvelopeList, Expected, MessageKind, VerifyingKey, WireError,
};

/// Why a roster is not followed; the one before it stays.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The message is not a list of signed entries.
    #[error("the roster cannot be read: {0}")]
    Unreadable(WireError),
    /// An entry was not signed by the pinned root.
    #[error(
        "roster entry {line} is not from the pinned root: {error}; compare root.public_key with what `cloud-root init` printed"
    )]
    Entry {
        /// Its place in the list, from 1.
        line: usize,
        /// What is wrong with it.
        error: WireError,
    },
}

/// The members of a region, as the root names them now.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    devices: BTreeMap<DeviceId, VerifyingKey>,
    fogs: BTreeMap<MemberId, (VerifyingKey, Vec<u8>)>,
    number: u64,
}

impl Roster {
    /// Reads a list of envelopes, each of which `root` must have signed for `region`.
    ///
    /// # Errors
    /// Every [`RosterError`].
    pub fn read(list: &[u8], root: &VerifyingKey, region: &RegionId) -> Result<Self, RosterError> {
        let list = EnvelopeList::decode(list).map_err(RosterError::Unreadable)?;
        let mut latest: BTreeMap<MemberId, (RosterEntry, Vec<u8>)> = BTreeMap::new();
        for (index, envelope) in list.envelopes.into_iter().enumerate() {
            let entry =
                open_entry(&envelope, root, region).map_err(|error| RosterError::Entry {
                    line: index + 1,
                    error,
                })?;
            let newer = latest
                .get(&entry.member)
                .is_none_or(|(known, _)| known.number < entry.number);
            if newer {
                latest.insert(entry.member.clone(), (entry, envelope));
            }
        }
        let mut roster = Self::default();
        for (member, (entry, envelope)) in latest {
            roster.number = roster.number.max(entry.number);
            roster.add(member, &entry, envelope);
        }
        Ok(roster)
    }

    fn add(&mut self, member: MemberId, entry: &RosterEntry, envelope: Vec<u8>) {
        if entry.removed {
            return;
        }
        let Ok(key) = VerifyingKey::from_bytes(&entry.key) else {
            tracing::warn!(%member, "the roster's key for {member} is none: add the member again");
            return;
        };
        match entry.role {
            Role::Device => {
                self.devices.insert(member, key);
            }
            Role::Fog => {
                self.fogs.insert(member, (key, envelope));
            }
        }
    }

    /// The key of a device of the region.
    pub fn device_key(&self, device: &DeviceId) -> Option<&VerifyingKey> {
        self.devices.get(device)
    }

    /// Every device of the region.
    pub fn devices(&self) -> BTreeSet<DeviceId> {
        self.devices.keys().cloned().collect()
    }

    /// How many devices the region has.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether the region has no device.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Number of the latest entry.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The root-signed entry of this fog, to hand to its devices.
    ///
    /// # Errors
    /// What is missing and the command that adds it, for people.
    pub fn own_entry(
        &self,
        fog: &MemberId,
        key: &VerifyingKey,
        region: &RegionId,
    ) -> Result<&[u8], String> {
        let command = keys::enrol_command(fog, key, Role::Fog, region);
        match self.fogs.get(fog) {
            Some((known, envelope)) if known == key => Ok(envelope),
            Some((known, _)) => Err(format!(
                "the roster has another key for {fog} ({}): run `{command}`",
                keys::public_hex(known)
            )),
            None => Err(format!(
                "{fog} is not in the roster of region {region}: run `{command}`"
            )),
        }
    }
}

fn open_entry(
    envelope: &[u8],
    root: &VerifyingKey,
    region: &RegionId,
) -> Result<RosterEntry, WireError> {
    let verified = Envelope::parse(envelope, CONTROL_BYTES_MAX)?.verify(root)?;
    verified.check(&Expected::kind(MessageKind::RosterEntry).in_region(region))?;
    verified.open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fl_wire::{Header, SigningKey, seal};

    fn entry(number: u64, member: &str, key: u8, role: Role, removed: bool) -> RosterEntry {
        RosterEntry {
            number,
            member: MemberId::new(member).unwrap(),
            role,
            region: RegionId::new("north").unwrap(),
            key: SigningKey::from_bytes(&[key; 32])
                .verifying_key()
                .to_bytes(),
            removed,
        }
    }

    fn list(root: &SigningKey, entries: &[RosterEntry]) -> Vec<u8> {
        let name = MemberId::new(fl_model::ROOT_NAME).unwrap();
        let sign = |entry: &RosterEntry| {
            let header = Header::new(MessageKind::RosterEntry, &name).in_region(&entry.region);
            seal(&header, entry, root).unwrap()
        };
        let envelopes = entries.iter().map(sign).collect();
        EnvelopeList { envelopes }.encode().unwrap()
    }

    #[test]
    fn the_latest_entry_of_a_member_counts() {
        let root = SigningKey::from_bytes(&[1; 32]);
        let region = RegionId::new("north").unwrap();
        let entries = [
            entry(1, "a", 2, Role::Device, false),
            entry(4, "b", 3, Role::Device, true),
            entry(2, "b", 3, Role::Device, false),
            entry(3, "fog", 4, Role::Fog, false),
            entry(5, "a", 5, Role::Device, false),
        ];
        let roster = Roster::read(&list(&root, &entries), &root.verifying_key(), &region).unwrap();
        assert_eq!(roster.len(), 1);
        assert_eq!(roster.number(), 5);
        let a = DeviceId::new("a").unwrap();
        let key = SigningKey::from_bytes(&[5; 32]).verifying_key();
        assert_eq!(roster.device_key(&a), Some(&key));

        let fog = MemberId::new("fog").unwrap();
        let own = SigningKey::from_bytes(&[4; 32]).verifying_key();
        assert!(roster.own_entry(&fog, &own, &region).is_ok());
        let other = roster.own_entry(&fog, &key, &region).unwrap_err();
        assert!(other.contains("roster add fog"), "{other}");
        let missing = roster.own_entry(&a, &own, &region).unwrap_err();
        assert!(
            missing.contains("not in the roster of region north"),
            "{missing}"
        );
    }

    #[test]
    fn only_the_pinned_root_makes_a_roster_of_this_region() {
        let root = SigningKey::from_bytes(&[1; 32]);
        let key = root.verifying_key();
        let region = RegionId::new("north").unwrap();
        let entries = [entry(1, "a", 2, Role::Device, false)];
        let forged = list(&SigningKey::from_bytes(&[9; 32]), &entries);
        let error = Roster::read(&forged, &key, &region)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("entry 1") && error.contains("root.public_key"),
            "{error}"
        );
        let south = RegionId::new("south").unwrap();
        assert!(Roster::read(&list(&root, &entries), &key, &south).is_err());
        assert!(Roster::read(b"\xff", &key, &region).is_err());
    }
}
