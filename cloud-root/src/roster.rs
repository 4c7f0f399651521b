//! The roster: numbered, append-only, each line signed by the root.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use fl_model::{MemberId, ROOT_NAME, RegionId, Role, RosterEntry};
use fl_runtime::keys;
use fl_runtime::store::{Access, write_atomic};
use fl_wire::{Encoded as _, Envelope, EnvelopeList, Header, MessageKind, SigningKey, seal};

use crate::home::{Home, root_name};

/// The roster in a root's home.
#[derive(Debug, Clone, Default)]
pub struct RosterFile {
    envelopes: Vec<Vec<u8>>,
    entries: Vec<RosterEntry>,
}

impl RosterFile {
    /// Reads the roster and checks every signature; there is none before the first `roster add`.
    pub fn load(home: &Home, key: &SigningKey) -> anyhow::Result<Self> {
        let path = home.roster_file();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let list = EnvelopeList::decode(&bytes)
            .with_context(|| format!("{} is damaged: restore it from a backup", path.display()))?;
        let open = |(at, envelope): (usize, &Vec<u8>)| {
            let verified =
                Envelope::parse(envelope, envelope.len())?.verify(&key.verifying_key())?;
            verified
                .open::<RosterEntry>()
                .with_context(|| format!("line {}", at + 1))
        };
        let entries = list.envelopes.iter().enumerate().map(open);
        let entries = entries
            .collect::<Result<Vec<_>, _>>()
            .with_context(|| format!("{} was not signed by this root's key", path.display()))?;
        Ok(Self {
            envelopes: list.envelopes,
            entries,
        })
    }

    /// Takes a member in. A name keeps its role and region; a new key replaces the old one.
    pub fn add(
        &mut self,
        home: &Home,
        key: &SigningKey,
        member: MemberId,
        public_key: &str,
        role: Role,
        region: RegionId,
    ) -> anyhow::Result<()> {
        ensure!(
            member.as_str() != ROOT_NAME,
            "no member can be called {ROOT_NAME:?}: take another name"
        );
        let verifying = keys::parse_public_hex(public_key)
            .context("take the key that the member's init command printed")?;
        let members = self.members();
        if let Some(known) = members.get(&member) {
            ensure!(
                known.role == role && known.region == region,
                "{member} is a {} of region {}: remove it first",
                known.role.as_str(),
                known.region,
            );
        }
        let rival = members.values().find(|entry| {
            role == Role::Fog
                && entry.role == Role::Fog
                && entry.region == region
                && entry.member != member
        });
        if let Some(rival) = rival {
            bail!(
                "region {region} has the fog {} already: remove it first",
                rival.member
            );
        }
        self.append(
            home,
            key,
            RosterEntry {
                number: self.next_number(),
                member,
                role,
                region,
                key: *verifying.as_bytes(),
                removed: false,
            },
        )
    }

    /// Takes a member out.
    pub fn remove(
        &mut self,
        home: &Home,
        key: &SigningKey,
        member: &MemberId,
    ) -> anyhow::Result<()> {
        let known = self.members().remove(member);
        let Some(known) = known else {
            bail!("{member} is not in the roster: cloud-root roster list shows who is");
        };
        self.append(
            home,
            key,
            RosterEntry {
                number: self.next_number(),
                removed: true,
                ..known
            },
        )
    }

    fn next_number(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.number + 1)
    }

    fn append(&mut self, home: &Home, key: &SigningKey, entry: RosterEntry) -> anyhow::Result<()> {
        let header = Header::new(MessageKind::RosterEntry, &root_name()).in_region(&entry.region);
        self.envelopes.push(seal(&header, &entry, key)?);
        self.entries.push(entry);
        let list = EnvelopeList {
            envelopes: self.envelopes.clone(),
        };
        write_atomic(&home.roster_file(), &list.encode()?, Access::Umask)?;
        Ok(())
    }

    /// Number of the last line; 0 in an empty roster.
    pub fn number(&self) -> u64 {
        self.next_number() - 1
    }

    /// Who is in now.
    pub fn members(&self) -> BTreeMap<MemberId, RosterEntry> {
        let mut members = BTreeMap::new();
        for entry in &self.entries {
            if entry.removed {
                members.remove(&entry.member);
            } else {
                members.insert(entry.member.clone(), entry.clone());
            }
        }
        members
    }

    /// The regions that have a fog, and how many devices each has.
    pub fn regions(&self) -> BTreeMap<RegionId, u32> {
        let members = self.members();
        let fogs = members.values().filter(|entry| entry.role == Role::Fog);
        let regions: BTreeSet<_> = fogs.map(|entry| entry.region.clone()).collect();
        let devices = |region: &RegionId| {
            let of = |entry: &&RosterEntry| entry.role == Role::Device && entry.region == *region;
            members.values().filter(of).count() as u32
        };
        regions
            .iter()
            .map(|region| (region.clone(), devices(region)))
            .collect()
    }

    /// The signed lines of a region, in order, for its fog.
    pub fn of_region(&self, region: &RegionId) -> EnvelopeList {
        let lines = self.entries.iter().zip(&self.envelopes);
        let of = lines.filter(|(entry, _)| entry.region == *region);
        EnvelopeList {
            envelopes: of.map(|(_, envelope)| envelope.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> MemberId {
        MemberId::new(name).unwrap()
    }

    #[test]
    fn a_roster_reads_back_what_was_signed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path());
        let key = SigningKey::from_bytes(&[1; 32]);
        let hex = |seed: u8| keys::public_hex(&SigningKey::from_bytes(&[seed; 32]).verifying_key());
        let north = RegionId::new("north").unwrap();
        let mut roster = RosterFile::load(&home, &key).unwrap();
        let mut add = |name: &str, key_text: &str, role| {
            roster.add(&home, &key, member(name), key_text, role, north.clone())
        };
        add("fog-1", &hex(2), Role::Fog).unwrap();
        add("edge-1", &hex(3), Role::Device).unwrap();
        add("edge-2", &hex(4), Role::Device).unwrap();
        let refused = |result: anyhow::Result<()>| result.unwrap_err().to_string();
        assert!(refused(add("fog-2", &hex(5), Role::Fog)).contains("fog-1"));
        assert!(refused(add("root", &hex(5), Role::Fog)).contains("another name"));
        assert!(refused(add("edge-1", &hex(5), Role::Fog)).contains("remove it first"));
        assert!(refused(add("edge-3", "zz", Role::Device)).contains("init"));
        roster.remove(&home, &key, &member("edge-2")).unwrap();
        assert!(roster.remove(&home, &key, &member("edge-2")).is_err());

        let again = RosterFile::load(&home, &key).unwrap();
        assert_eq!(again.number(), 4);
        assert_eq!(again.regions(), BTreeMap::from([(north.clone(), 1)]));
        assert_eq!(again.of_region(&north).envelopes.len(), 4);
        let other = SigningKey::from_bytes(&[9; 32]);
        let message = RosterFile::load(&home, &other).unwrap_err().to_string();
        assert!(
            message.contains("not signed by this root's key"),
            "{message}"
        );
    }
}
