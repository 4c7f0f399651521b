//! Names, numbers, digests and keys.

use fl_model::{
    Digest, Epoch, JobId, MemberId, ObjectRef, Phase, Reason, RegionId, Role, RosterEntry,
    RoundKey, RoundNumber, TraceContext,
};

use crate::cbor::arrays::Bytes;
use crate::cbor::{Wire, list_of_mirrors, mirror_enum, mirror_struct};
use crate::error::WireError;

macro_rules! name {
    ($($type:ty, $name:literal;)*) => {$(
        impl Wire for $type {
            const NAME: &'static str = $name;
            type Mirror = String;

            fn mirror(&self) -> String {
                self.as_str().to_owned()
            }

            fn from_mirror(mirror: String) -> Result<Self, WireError> {
                Self::new(&mirror).map_err(|error| WireError::value($name, error))
            }

            list_of_mirrors!();
        }
    )*};
}

name! {
    JobId, "job name";
    RegionId, "region name";
    MemberId, "member name";
}

macro_rules! wrapped {
    ($($type:ident($inner:ty), $name:literal;)*) => {$(
        impl Wire for $type {
            const NAME: &'static str = $name;
            type Mirror = $inner;

            fn mirror(&self) -> $inner {
                self.0
            }

            fn from_mirror(mirror: $inner) -> Result<Self, WireError> {
                Ok(Self(mirror))
            }

            list_of_mirrors!();
        }
    )*};
}

wrapped! {
    RoundNumber(u32), "round number";
    Epoch(u64), "epoch";
}

impl<const N: usize> Wire for [u8; N] {
    const NAME: &'static str = "byte string";
    type Mirror = Bytes;

    fn mirror(&self) -> Bytes {
        Bytes(self.to_vec())
    }

    fn from_mirror(mirror: Bytes) -> Result<Self, WireError> {
        let problem = format!("{} bytes where {N} are wanted", mirror.0.len());
        mirror
            .0
            .try_into()
            .map_err(|_| WireError::value(Self::NAME, problem))
    }

    list_of_mirrors!();
}

impl Wire for Digest {
    const NAME: &'static str = "digest";
    type Mirror = Bytes;

    fn mirror(&self) -> Bytes {
        self.0.mirror()
    }

    fn from_mirror(mirror: Bytes) -> Result<Self, WireError> {
        Wire::from_mirror(mirror).map(Self)
    }

    list_of_mirrors!();
}

impl Wire for Reason {
    const NAME: &'static str = "reason";
    type Mirror = u8;

    fn mirror(&self) -> u8 {
        self.code()
    }

    fn from_mirror(mirror: u8) -> Result<Self, WireError> {
        let unknown = || WireError::value("reason", format!("no reason has number {mirror}"));
        Self::from_code(mirror).ok_or_else(unknown)
    }

    list_of_mirrors!();
}

mirror_enum! {
    Phase, "phase", PhaseMirror {
        Statistics,
        Train,
        Evaluate
    }
}

mirror_struct! {
    RoundKey, "round key", RoundKeyMirror {
        job: JobId,
        round: RoundNumber,
        phase: Phase,
    }
}

mirror_struct! {
    ObjectRef, "object reference", ObjectRefMirror {
        digest: Digest,
        bytes: u64,
    }
}

mirror_struct! {
    TraceContext, "trace context", TraceContextMirror {
        trace_id: [u8; 16],
        span_id: [u8; 8],
    }
}

mirror_enum! {
    Role, "role", RoleMirror { Device, Fog }
}

mirror_struct! {
    RosterEntry, "roster entry", RosterEntryMirror {
        number: u64,
        member: MemberId,
        role: Role,
        region: RegionId,
        key: [u8; 32],
        removed: bool,
    }
}
