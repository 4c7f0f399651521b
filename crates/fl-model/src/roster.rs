//! Who belongs to the federation.

use crate::ids::{MemberId, RegionId};

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Runs an edge-agent.
    Device,
    /// Runs a fog-aggregator.
    Fog,
}

impl Role {
    /// The role as operators write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Device => "device",
            Role::Fog => "fog",
        }
    }
}

/// One line of the roster; the latest number of a member counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterEntry {
    /// Position in the roster, from 1.
    pub number: u64,
    /// Who.
    pub member: MemberId,
    /// As what.
    pub role: Role,
    /// Where.
    pub region: RegionId,
    /// Its Ed25519 public key.
    pub key: [u8; 32],
    /// Whether this line takes the member out.
    pub removed: bool,
}
