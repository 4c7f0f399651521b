//! The roster: numbered, append-only, each line signed by the root.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use fl_model::{MemberId, ROOT_NAME, RegionId, Role, RosterEntry};
use fl_runtime::keys;
use fl_runtime::store::{Access, FileLock, write_atomic};
use fl_wire::limits::ENVELOPES_MAX;
use fl_wire::{
    Encoded as _, Envelope, EnvelopeList, Header, MessageKind, SigningKey, VerifyingKey, seal,
};

use crate::home::{Home, root_name};

/// Most bytes of the lines that a region's fog gets: one message of a nats-server with its own limit of
/// 1 MiB.
const REGION_BYTES_MAX: usize = 1_000_000;

/// The roster in a root's home.
#[derive(Debug, Clone, Default)]
pub struct RosterFile {
    envelopes: Vec<Vec<u8>>,
    entries: Vec<RosterEntry>,
    members: BTreeMap<MemberId, RosterEntry>,
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
        let mut roster = Self::default();
        for (at, envelope) in list.envelopes.into_iter().enumerate() {
            let entry = open(&envelope, key).with_context(|| {
                let line = at + 1;
                format!(
                    "line {line} of {} was not signed by this root's key: restore the key, or the file, from a backup",
                    path.display()
                )
            })?;
            roster.push(entry, envelope);
        }
        Ok(roster)
    }

    fn push(&mut self, entry: RosterEntry, envelope: Vec<u8>) {
        if entry.removed {
            self.members.remove(&entry.member);
        } else {
            self.members.insert(entry.member.clone(), entry.clone());
        }
        self.entries.push(entry);
        self.envelopes.push(envelope);
    }

    /// Number of the last line; 0 in an empty roster.
    pub fn number(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.number)
    }

    /// Every line, in order: also of members that are out.
    pub fn lines(&self) -> &[RosterEntry] {
        &self.entries
    }

    /// Who is in now.
    pub fn members(&self) -> &BTreeMap<MemberId, RosterEntry> {
        &self.members
    }

    /// The fog of a region and its key.
    ///
    /// # Errors
    /// The region has none.
    pub fn fog_of(&self, region: &RegionId) -> anyhow::Result<(&MemberId, VerifyingKey)> {
        let is_it = |entry: &&RosterEntry| entry.role == Role::Fog && entry.region == *region;
        let fog = self.members.values().find(is_it);
        let fog = fog.with_context(|| format!("region {region} has no fog in the roster"))?;
        let key = VerifyingKey::from_bytes(&fog.key);
        Ok((&fog.member, key.context("the fog's key in the roster")?))
    }

    /// The regions that have a fog, and how many devices each has.
    pub fn regions(&self) -> BTreeMap<RegionId, u32> {
        let members = self.members.values();
        let fogs = members.clone().filter(|entry| entry.role == Role::Fog);
        let mut regions: BTreeMap<_, u32> = fogs.map(|entry| (entry.region.clone(), 0)).collect();
        for device in members.filter(|entry| entry.role == Role::Device) {
            if let Some(devices) = regions.get_mut(&device.region) {
                *devices += 1;
            }
        }
        regions
    }

    /// Every region that any line names: also those whose fog is out by now, and should hear of it.
    pub fn regions_ever(&self) -> BTreeSet<RegionId> {
        let regions = self.entries.iter().map(|entry| entry.region.clone());
        regions.collect()
    }

    /// The signed lines that say who is in a region now, in order, for its fog. The region's last line is
    /// always there: by its number a fog tells a newer roster from an older one.
    pub fn of_region(&self, region: &RegionId) -> EnvelopeList {
        let needed = self.needed();
        let lines = self.entries.iter().zip(&self.envelopes).enumerate();
        let of = lines.filter(|(at, (entry, _))| entry.region == *region && needed.contains(at));
        EnvelopeList {
            envelopes: of.map(|(_, (_, envelope))| envelope.clone()).collect(),
        }
    }

    /// The lines that say who is in now: the line of each member, and the last of each region.
    fn needed(&self) -> BTreeSet<usize> {
        let mut last_of_region = BTreeMap::new();
        let mut needed = BTreeSet::new();
        for (at, entry) in self.entries.iter().enumerate() {
            last_of_region.insert(&entry.region, at);
            let current = self.members.get(&entry.member);
            if current.is_some_and(|current| current.number == entry.number) {
                needed.insert(at);
            }
        }
        needed.extend(last_of_region.into_values());
        needed
    }

    /// Lets the lines go that say nothing any more.
    fn compact(&mut self) {
        let needed = self.needed();
        let mut at = 0..;
        self.entries
            .retain(|_| at.next().is_some_and(|at| needed.contains(&at)));
        let mut at = 0..;
        self.envelopes
            .retain(|_| at.next().is_some_and(|at| needed.contains(&at)));
    }
}

fn open(envelope: &[u8], key: &SigningKey) -> anyhow::Result<RosterEntry> {
    let verified = Envelope::parse(envelope, envelope.len())?.verify(&key.verifying_key())?;
    Ok(verified.open()?)
}

/// The roster while one command changes it; others wait for their turn.
#[derive(Debug)]
pub(crate) struct RosterEditor {
    home: Home,
    key: SigningKey,
    roster: RosterFile,
    _turn: FileLock,
}

impl RosterEditor {
    /// Waits for the turn, then reads the roster.
    pub(crate) fn open(home: &Home) -> anyhow::Result<Self> {
        let key = home.key()?;
        let turn = FileLock::wait(&home.roster_lock_file())?;
        Ok(Self {
            roster: RosterFile::load(home, &key)?,
            home: home.clone(),
            key,
            _turn: turn,
        })
    }

    /// Takes a member in. A name keeps its role and region; a new key replaces the old one. Returns the
    /// line's number.
    pub(crate) fn add(
        &mut self,
        member: MemberId,
        public_key: &str,
        role: Role,
        region: RegionId,
    ) -> anyhow::Result<u64> {
        ensure!(
            member.as_str() != ROOT_NAME,
            "no member can be called {ROOT_NAME:?}: take another name"
        );
        let verifying = keys::parse_public_hex(public_key)
            .context("take the key that the member's init command printed")?;
        let out = |member: &MemberId| self.home.command(&format!("roster remove {member}"));
        let members = self.roster.members();
        if let Some(known) = members.get(&member) {
            ensure!(
                known.role == role && known.region == region,
                "{member} is a {} of region {}: take it out first with {}",
                known.role.as_str(),
                known.region,
                out(&member)
            );
        }
        let rival = self.roster.fog_of(&region).ok();
        if let Some((rival, _)) = rival.filter(|(fog, _)| role == Role::Fog && **fog != member) {
            bail!(
                "region {region} has the fog {rival} already: take it out first with {}",
                out(rival)
            );
        }
        let key = *verifying.as_bytes();
        if let Some(same) = members.get(&member).filter(|known| known.key == key) {
            return Ok(same.number);
        }
        let twin = members.values().find(|other| other.key == key);
        if let Some(twin) = twin.filter(|twin| twin.member != member) {
            bail!(
                "{} has that key already: every member makes its own with its init command",
                twin.member
            );
        }
        self.append(RosterEntry {
            number: self.roster.number() + 1,
            member,
            role,
            region,
            key,
            removed: false,
        })
    }

    /// Takes a member out. Returns the line's number.
    pub(crate) fn remove(&mut self, member: &MemberId) -> anyhow::Result<u64> {
        let Some(known) = self.roster.members().get(member) else {
            bail!(
                "{member} is not in the roster: see who is with {}",
                self.home.command("roster list")
            );
        };
        self.append(RosterEntry {
            number: self.roster.number() + 1,
            removed: true,
            ..known.clone()
        })
    }

    fn append(&mut self, entry: RosterEntry) -> anyhow::Result<u64> {
        let region = entry.region.clone();
        let number = entry.number;
        let header = Header::new(MessageKind::RosterEntry, &root_name()).in_region(&region);
        let envelope = seal(&header, &entry, &self.key)?;
        if self.roster.envelopes.len() >= ENVELOPES_MAX {
            self.roster.compact();
        }
        self.roster.push(entry, envelope);
        let lines = self.roster.envelopes.len();
        ensure!(
            lines <= ENVELOPES_MAX,
            "the roster is full: it may hold {ENVELOPES_MAX} lines"
        );
        let bytes = self.roster.of_region(&region).encode()?.len();
        ensure!(
            bytes <= REGION_BYTES_MAX,
            "region {region} is full: its roster would have {bytes} bytes, and {REGION_BYTES_MAX} fit a message; put the device into another region"
        );
        let list = EnvelopeList {
            envelopes: self.roster.envelopes.clone(),
        };
        write_atomic(&self.home.roster_file(), &list.encode()?, Access::Umask)?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests;
