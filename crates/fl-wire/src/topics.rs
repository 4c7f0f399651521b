//! MQTT topics: `fl/1/{region}/…`.
//!
//! A device publishes only under its own `d/{device}/up` and its presence, and subscribes only to its
//! own `d/{device}/dn` and the region's `bcast`.

use std::fmt;
use std::str::FromStr;

use fl_model::{DeviceId, Digest, JobId, RegionId};

/// What every topic starts with: the protocol and its version.
pub const PREFIX: &str = "fl/1";

/// Payload of [`Place::Presence`] while the device is connected: its birth message.
pub const ONLINE: &[u8] = b"online";

/// Payload of [`Place::Presence`] when it is gone: its last will.
pub const OFFLINE: &[u8] = b"offline";

/// Longest topic that is looked at.
pub const TOPIC_BYTES_MAX: usize = 256;

/// A text that is not a topic of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {0:?} is not of this protocol")]
pub struct UnknownTopic(String);

/// A piece of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkName {
    /// The object.
    pub digest: Digest,
    /// The chunk's number, from 0.
    pub number: u32,
}

/// From the fog to all devices of its region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Broadcast {
    /// The job's current plan: retained, cleared with an empty payload when the job ends.
    Plan(JobId),
    /// The fog's roster entry, signed by the root: retained.
    Fog,
    /// What an object's chunks are.
    Manifest(Digest),
    /// A chunk of an object: not retained.
    Chunk(ChunkName),
}

/// From a device to its fog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Up {
    /// [`crate::Hello`].
    Hello,
    /// [`crate::Beat`].
    Beat,
    /// [`fl_model::Contribution`] in one message.
    Contribution,
    /// [`crate::Manifest`] of a contribution in chunks.
    Manifest,
    /// A chunk of a contribution.
    Chunk(ChunkName),
    /// [`crate::Want`].
    Want,
    /// [`crate::Decline`].
    Decline,
    /// [`crate::SpanBatch`].
    Spans,
}

/// From a fog to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Down {
    /// [`crate::Welcome`].
    Welcome,
    /// [`crate::Receipt`].
    Receipt,
    /// [`crate::SettledNotice`].
    Settled,
    /// [`crate::Manifest`] of an object that the device asked for.
    Manifest,
    /// A chunk of an object that the device asked for.
    Chunk(ChunkName),
    /// [`crate::Want`]: chunks of the device's contribution that are missing.
    Want,
}

/// Where in a region a message goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// To all devices.
    Broadcast(Broadcast),
    /// From a device.
    Up(DeviceId, Up),
    /// To a device.
    Down(DeviceId, Down),
    /// Whether a device is connected: retained, set by its birth and its last will.
    Presence(DeviceId),
}

/// A topic of a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// The region.
    pub region: RegionId,
    /// Where in it.
    pub place: Place,
}

impl Topic {
    /// To all devices of the region.
    pub fn broadcast(region: &RegionId, broadcast: Broadcast) -> Self {
        Self::new(region, Place::Broadcast(broadcast))
    }

    /// From a device of the region.
    pub fn up(region: &RegionId, device: &DeviceId, up: Up) -> Self {
        Self::new(region, Place::Up(device.clone(), up))
    }

    /// To a device of the region.
    pub fn down(region: &RegionId, device: &DeviceId, down: Down) -> Self {
        Self::new(region, Place::Down(device.clone(), down))
    }

    /// Whether a device of the region is connected.
    pub fn presence(region: &RegionId, device: &DeviceId) -> Self {
        Self::new(region, Place::Presence(device.clone()))
    }

    fn new(region: &RegionId, place: Place) -> Self {
        Self {
            region: region.clone(),
            place,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (region, place) = text
            .strip_prefix(PREFIX)?
            .strip_prefix('/')?
            .split_once('/')?;
        let levels: Vec<&str> = place.splitn(LEVELS_MAX, '/').collect();
        Some(Self {
            region: RegionId::new(region).ok()?,
            place: Place::read(&levels)?,
        })
    }
}

/// Levels below the region: `d/{device}/up/chunk/{digest}/{n}`.
const LEVELS_MAX: usize = 6;

impl Place {
    fn read(levels: &[&str]) -> Option<Self> {
        let device = |name: &str| DeviceId::new(name).ok();
        Some(match levels {
            ["bcast", "plan", job] => Place::Broadcast(Broadcast::Plan(JobId::new(job).ok()?)),
            ["bcast", "fog"] => Place::Broadcast(Broadcast::Fog),
            ["bcast", "object", digest, "manifest"] => {
                Place::Broadcast(Broadcast::Manifest(digest.parse().ok()?))
            }
            ["bcast", "object", digest, number] => {
                Place::Broadcast(Broadcast::Chunk(ChunkName::read(digest, number)?))
            }
            ["d", name, "up", rest @ ..] => Place::Up(device(name)?, Up::read(rest)?),
            ["d", name, "dn", rest @ ..] => Place::Down(device(name)?, Down::read(rest)?),
            ["d", name, "presence"] => Place::Presence(device(name)?),
            _ => return None,
        })
    }
}

impl ChunkName {
    fn read(digest: &str, number: &str) -> Option<Self> {
        Some(Self {
            digest: digest.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

impl Up {
    fn read(levels: &[&str]) -> Option<Self> {
        Some(match levels {
            ["hello"] => Up::Hello,
            ["beat"] => Up::Beat,
            ["contribution"] => Up::Contribution,
            ["manifest"] => Up::Manifest,
            ["chunk", digest, number] => Up::Chunk(ChunkName::read(digest, number)?),
            ["want"] => Up::Want,
            ["decline"] => Up::Decline,
            ["spans"] => Up::Spans,
            _ => return None,
        })
    }
}

impl Down {
    fn read(levels: &[&str]) -> Option<Self> {
        Some(match levels {
            ["welcome"] => Down::Welcome,
            ["receipt"] => Down::Receipt,
            ["settled"] => Down::Settled,
            ["manifest"] => Down::Manifest,
            ["chunk", digest, number] => Down::Chunk(ChunkName::read(digest, number)?),
            ["want"] => Down::Want,
            _ => return None,
        })
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    /// Reads a topic in exactly the form in which it is written.
    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let short = text.len() <= TOPIC_BYTES_MAX;
        let topic = short.then(|| Self::read(text)).flatten();
        topic
            .filter(|topic| topic.to_string() == text)
            .ok_or_else(|| UnknownTopic(text.chars().take(TOPIC_BYTES_MAX).collect()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}/{}/", self.region)?;
        match &self.place {
            Place::Broadcast(broadcast) => write!(f, "bcast/{broadcast}"),
            Place::Up(device, up) => write!(f, "d/{device}/up/{up}"),
            Place::Down(device, down) => write!(f, "d/{device}/dn/{down}"),
            Place::Presence(device) => write!(f, "d/{device}/presence"),
        }
    }
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.digest, self.number)
    }
}

impl fmt::Display for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broadcast::Plan(job) => write!(f, "plan/{job}"),
            Broadcast::Fog => f.write_str("fog"),
            Broadcast::Manifest(digest) => write!(f, "object/{digest}/manifest"),
            Broadcast::Chunk(chunk) => write!(f, "object/{chunk}"),
        }
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Up::Hello => "hello",
            Up::Beat => "beat",
            Up::Contribution => "contribution",
            Up::Manifest => "manifest",
            Up::Chunk(chunk) => return write!(f, "chunk/{chunk}"),
            Up::Want => "want",
            Up::Decline => "decline",
            Up::Spans => "spans",
        })
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Down::Welcome => "welcome",
            Down::Receipt => "receipt",
            Down::Settled => "settled",
            Down::Manifest => "manifest",
            Down::Chunk(chunk) => return write!(f, "chunk/{chunk}"),
            Down::Want => "want",
        })
    }
}

/// What a device subscribes to, and may.
pub fn device_subscriptions(region: &RegionId, device: &DeviceId) -> [String; 2] {
    [
        format!("{PREFIX}/{region}/bcast/#"),
        format!("{PREFIX}/{region}/d/{device}/dn/#"),
    ]
}

/// What a device may publish to, as filters.
pub fn device_publications(region: &RegionId, device: &DeviceId) -> [String; 2] {
    [
        format!("{PREFIX}/{region}/d/{device}/up/#"),
        format!("{PREFIX}/{region}/d/{device}/presence"),
    ]
}

/// What a fog subscribes to, and may.
pub fn fog_subscriptions(region: &RegionId) -> [String; 2] {
    [
        format!("{PREFIX}/{region}/d/+/up/#"),
        format!("{PREFIX}/{region}/d/+/presence"),
    ]
}

/// What a fog may publish to, as filters.
pub fn fog_publications(region: &RegionId) -> [String; 2] {
    [
        format!("{PREFIX}/{region}/bcast/#"),
        format!("{PREFIX}/{region}/d/+/dn/#"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk() -> ChunkName {
        ChunkName {
            digest: Digest::of(b""),
            number: 7,
        }
    }

    #[test]
    fn every_topic_reads_back_as_it_prints() {
        let region = RegionId::new("north").unwrap();
        let device = DeviceId::new("edge-01").unwrap();
        let digest = chunk().digest;
        let broadcasts = [
            Broadcast::Plan(JobId::new("air").unwrap()),
            Broadcast::Fog,
            Broadcast::Manifest(digest),
            Broadcast::Chunk(chunk()),
        ];
        use {Down as D, Up as U};
        let ups = [
            U::Hello,
            U::Beat,
            U::Contribution,
            U::Manifest,
            U::Chunk(chunk()),
            U::Want,
            U::Decline,
            U::Spans,
        ];
        let downs = [
            D::Welcome,
            D::Receipt,
            D::Settled,
            D::Manifest,
            D::Chunk(chunk()),
            D::Want,
        ];
        let mut topics: Vec<Topic> = Vec::new();
        topics.extend(broadcasts.map(|broadcast| Topic::broadcast(&region, broadcast)));
        topics.extend(ups.map(|up| Topic::up(&region, &device, up)));
        topics.extend(downs.map(|down| Topic::down(&region, &device, down)));
        topics.push(Topic::presence(&region, &device));
        for topic in topics {
            assert_eq!(topic.to_string().parse(), Ok(topic));
        }
    }

    #[test]
    fn topics_are_as_documented() {
        let check = |text: &str| assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        let digest = chunk().digest;
        check("fl/1/north/bcast/plan/air");
        check("fl/1/north/bcast/fog");
        check(&format!("fl/1/north/bcast/object/{digest}/manifest"));
        check(&format!("fl/1/north/bcast/object/{digest}/0"));
        check("fl/1/north/d/edge-01/up/hello");
        check(&format!("fl/1/north/d/edge-01/up/chunk/{digest}/12"));
        check("fl/1/north/d/edge-01/dn/receipt");
        check("fl/1/north/d/edge-01/presence");
    }

    #[test]
    fn what_is_not_a_topic_is_refused() {
        let digest = chunk().digest;
        let upper = digest.to_string().to_uppercase();
        for bad in [
            "",
            "fl/1",
            "fl/1/",
            "fl/1/north",
            "fl/2/north/bcast/fog",
            "fl/1/+/bcast/fog",
            "fl/1/north/bcast/fog/",
            "/fl/1/north/bcast/fog",
            "fl/1/north/d/edge-01/up",
            "fl/1/north/d/edge-01/up/hello/x",
            "fl/1/north/d/a b/up/hello",
            "fl/1/north/bcast/object/00/1",
            &format!("fl/1/north/bcast/object/{digest}/01"),
            &format!("fl/1/north/bcast/object/{digest}/+1"),
            &format!("fl/1/north/bcast/object/{digest}/4294967296"),
            &format!("fl/1/north/bcast/object/{upper}/1"),
            &"fl/1/".repeat(1000),
        ] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,80}", levels in "(fl/1/|)[a-d/+0]{0,20}") {
            let _ = text.parse::<Topic>();
            let _ = levels.parse::<Topic>();
        }
    }
}
