//! Contributions that arrive in chunks, put together with bounded memory.

use std::collections::BTreeMap;

use fl_model::{DeviceId, Digest};
use fl_wire::topics::ChunkName;
use fl_wire::{Assembler, ChunkError, Manifest, Placed, Want};

/// Bytes of unfinished contributions of all devices together. A device whose manifest does not fit
/// is not answered and sends it again.
const UNFINISHED_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What a manifest leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// Its chunks are expected.
    New,
    /// Some are here already; these are missing.
    Resumed(Want),
    /// There is no room now.
    Busy,
}

/// One unfinished contribution per device; a new one takes the place of the old.
#[derive(Debug, Default)]
pub struct Uploads {
    unfinished: BTreeMap<DeviceId, Assembler>,
}

impl Uploads {
    /// Expects the chunks of a manifest that the device signed, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`ChunkError::Oversized`].
    pub fn begin(
        &mut self,
        device: &DeviceId,
        manifest: Manifest,
        bytes_max: usize,
    ) -> Result<Begun, ChunkError> {
        if let Some(known) = self.unfinished.get(device)
            && known.object() == manifest.object
        {
            return Ok(known.want().map_or(Begun::New, Begun::Resumed));
        }
        let others = self.unfinished.iter().filter(|(other, _)| *other != device);
        let held: u64 = others.map(|(_, assembler)| assembler.object().bytes).sum();
        if held.saturating_add(manifest.object.bytes) > UNFINISHED_BYTES_MAX {
            return Ok(Begun::Busy);
        }
        let assembler = Assembler::new(manifest, bytes_max)?;
        self.unfinished.insert(device.clone(), assembler);
        Ok(Begun::New)
    }

    /// Takes a chunk; the whole, when it was the last. A chunk that nobody announced is passed over.
    ///
    /// # Errors
    /// Every [`ChunkError`]; a whole that is not what its manifest says is forgotten.
    pub fn place(
        &mut self,
        device: &DeviceId,
        name: &ChunkName,
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, ChunkError> {
        let Some(assembler) = self.unfinished.get_mut(device) else {
            return Ok(None);
        };
        if assembler.object().digest != name.digest {
            return Ok(None);
        }
        match assembler.place(name.number, bytes)? {
            Placed::Last => {}
            Placed::New | Placed::Duplicate => return Ok(None),
        }
        let whole = self.unfinished.remove(device);
        whole.map(Assembler::finish).transpose()
    }

    /// What is missing of the device's unfinished contribution.
    pub fn want(&self, device: &DeviceId, digest: &Digest) -> Option<Want> {
        let assembler = self.unfinished.get(device)?;
        (assembler.object().digest == *digest).then(|| assembler.want())?
    }

    /// Forgets every unfinished contribution: their phase is over.
    pub fn clear(&mut self) {
        self.unfinished.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fl_wire::Chunker;
    use fl_wire::limits::CHUNK_BYTES_MAX;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    #[test]
    fn a_transfer_goes_on_where_it_stopped() {
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES_MAX + 5).map(|i| i as u8).collect();
        let chunker = Chunker::new(&bytes).unwrap();
        let manifest = chunker.manifest().clone();
        let digest = manifest.object.digest;
        let name = |number| ChunkName { digest, number };
        let (a, b) = (device("a"), device("b"));
        let mut uploads = Uploads::default();
        assert_eq!(
            uploads.place(&a, &name(0), chunker.chunk(0).unwrap()),
            Ok(None)
        );
        let begun = uploads.begin(&a, manifest.clone(), bytes.len());
        assert_eq!(begun, Ok(Begun::New));
        assert_eq!(
            uploads.place(&a, &name(1), chunker.chunk(1).unwrap()),
            Ok(None)
        );
        assert!(uploads.place(&a, &name(0), b"other bytes").is_err());
        let Ok(Begun::Resumed(want)) = uploads.begin(&a, manifest.clone(), bytes.len()) else {
            panic!("the transfer was not resumed");
        };
        assert_eq!(want.ranges, [(0, 1), (2, 3)]);
        assert_eq!(uploads.want(&a, &digest), Some(want));
        assert_eq!(
            uploads.place(&a, &name(0), chunker.chunk(0).unwrap()),
            Ok(None)
        );
        assert_eq!(
            uploads.place(&b, &name(2), chunker.chunk(2).unwrap()),
            Ok(None)
        );
        let whole = uploads.place(&a, &name(2), chunker.chunk(2).unwrap());
        assert_eq!(whole, Ok(Some(bytes)));
        assert!(uploads.begin(&a, manifest, 10).is_err());
    }

    #[test]
    fn unfinished_contributions_have_a_bound() {
        let large = vec![0; CHUNK_BYTES_MAX * 1_000];
        let manifest = Chunker::new(&large).unwrap().manifest().clone();
        let mut uploads = Uploads::default();
        let fits = UNFINISHED_BYTES_MAX / manifest.object.bytes;
        for number in 0..fits {
            let begun = uploads.begin(
                &device(&format!("d{number}")),
                manifest.clone(),
                large.len(),
            );
            assert_eq!(begun, Ok(Begun::New));
        }
        let begun = uploads.begin(&device("late"), manifest.clone(), large.len());
        assert_eq!(begun, Ok(Begun::Busy));
        uploads.clear();
        let begun = uploads.begin(&device("late"), manifest, large.len());
        assert_eq!(begun, Ok(Begun::New));
    }
}
