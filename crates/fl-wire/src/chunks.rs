//! Objects in pieces that fit an MQTT message, checked one by one as they arrive.

use fl_model::{Digest, ObjectRef, Reason, RoundKey};

use crate::limits::{CHUNK_BYTES_MAX, CHUNKS_MAX, WANT_RANGES_MAX};
use crate::messages::{Manifest, Want};

/// Why a transfer cannot go on, or a chunk is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The object is larger than what the receiver expects, or than a manifest can describe.
    #[error("object {} of {bytes} bytes exceeds the limit of {limit} bytes", digest.short())]
    Oversized {
        /// The object.
        digest: Digest,
        /// Its size.
        bytes: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The object has no chunk of that number.
    #[error("object {} has no chunk {number}, only {chunks}", digest.short())]
    NoSuchChunk {
        /// The object.
        digest: Digest,
        /// The number.
        number: u32,
        /// How many chunks it has.
        chunks: usize,
    },
    /// A chunk is not the one that the manifest names.
    #[error("chunk {number} of object {} is corrupt: ask for it again", digest.short())]
    CorruptChunk {
        /// The object.
        digest: Digest,
        /// The chunk.
        number: u32,
    },
    /// The chunks are those of the manifest but do not make up the object that it names.
    #[error("the chunks of object {} make up {} instead: its manifest is wrong", digest.short(), got.short())]
    BadDigest {
        /// The object.
        digest: Digest,
        /// What they make up.
        got: Digest,
    },
    /// Chunks are missing.
    #[error("object {} still lacks {missing} chunks", digest.short())]
    Incomplete {
        /// The object.
        digest: Digest,
        /// How many chunks it lacks.
        missing: usize,
    },
}

impl ChunkError {
    /// The reason with which a contribution in this state is rejected.
    pub fn reason(&self) -> Reason {
        match self {
            ChunkError::Oversized { .. } => Reason::Oversized,
            _ => Reason::BadDigest,
        }
    }
}

/// Cuts an object into chunks.
#[derive(Debug, Clone)]
pub struct Chunker<'a> {
    bytes: &'a [u8],
    manifest: Manifest,
}

impl<'a> Chunker<'a> {
    /// Cuts into chunks of [`CHUNK_BYTES_MAX`]. Refuses an object of more than [`CHUNKS_MAX`] of them.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ChunkError> {
        let object = ObjectRef::to(bytes);
        let limit = CHUNK_BYTES_MAX * CHUNKS_MAX;
        if bytes.len() > limit {
            return Err(ChunkError::Oversized {
                digest: object.digest,
                bytes: object.bytes,
                limit: limit as u64,
            });
        }
        let manifest = Manifest {
            object,
            chunk_bytes: CHUNK_BYTES_MAX as u32,
            chunks: bytes.chunks(CHUNK_BYTES_MAX).map(Digest::of).collect(),
            contribution_to: None,
        };
        Ok(Self { bytes, manifest })
    }

    /// Cuts the signed bytes of a contribution to that phase.
    ///
    /// # Errors
    /// As [`Chunker::new`].
    pub fn of_contribution(bytes: &'a [u8], to: &RoundKey) -> Result<Self, ChunkError> {
        let mut chunker = Self::new(bytes)?;
        chunker.manifest.contribution_to = Some(to.clone());
        Ok(chunker)
    }

    /// What goes first.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The chunk of that number.
    pub fn chunk(&self, number: u32) -> Option<&'a [u8]> {
        self.bytes.chunks(CHUNK_BYTES_MAX).nth(number as usize)
    }

    /// Every chunk with its number, in order.
    pub fn chunks(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        (0..).zip(self.bytes.chunks(CHUNK_BYTES_MAX))
    }

    /// The chunks that are asked for; numbers that the object does not have are passed over.
    pub fn wanted(&self, want: &Want) -> impl Iterator<Item = (u32, &'a [u8])> {
        let all = want.ranges.is_empty();
        let ranges = want.ranges.clone();
        self.chunks().filter(move |(number, _)| {
            all || ranges
                .iter()
                .any(|(start, end)| (start..end).contains(&number))
        })
    }
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It was missing, and others still are.
    New,
    /// It was here already.
    Duplicate,
    /// It was the last one that was missing.
    Last,
}

/// Puts the chunks of one object together, in any order.
///
/// Holds what has arrived and nothing for what has not, so a manifest alone costs its own size.
/// A transfer that was interrupted goes on in the same assembler, or in a new one into which the
/// stored chunks are placed again.
#[derive(Debug, Clone)]
pub struct Assembler {
    manifest: Manifest,
    chunks: Vec<Option<Box<[u8]>>>,
    missing: usize,
}

impl Assembler {
    /// Expects the object of a manifest that was verified, and is of at most `bytes_max` bytes.
    pub fn new(manifest: Manifest, bytes_max: usize) -> Result<Self, ChunkError> {
        let object = manifest.object;
        if object.bytes > bytes_max as u64 {
            return Err(ChunkError::Oversized {
                digest: object.digest,
                bytes: object.bytes,
                limit: bytes_max as u64,
            });
        }
        let missing = manifest.chunks.len();
        Ok(Self {
            chunks: vec![None; missing],
            missing,
            manifest,
        })
    }

    /// The object.
    pub fn object(&self) -> ObjectRef {
        self.manifest.object
    }

    /// Whether nothing is missing.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes a chunk whose SHA-256 is the manifest's, once.
    pub fn place(&mut self, number: u32, bytes: &[u8]) -> Result<Placed, ChunkError> {
        let digest = self.manifest.object.digest;
        let chunks = self.chunks.len();
        let (Some(slot), Some(expected)) = (
            self.chunks.get_mut(number as usize),
            self.manifest.chunks.get(number as usize),
        ) else {
            return Err(ChunkError::NoSuchChunk {
                digest,
                number,
                chunks,
            });
        };
        if slot.is_some() {
            return Ok(Placed::Duplicate);
        }
        let fits = bytes.len() <= self.manifest.chunk_bytes as usize;
        if !fits || Digest::of(bytes) != *expected {
            return Err(ChunkError::CorruptChunk { digest, number });
        }
        *slot = Some(bytes.into());
        self.missing -= 1;
        Ok(if self.missing == 0 {
            Placed::Last
        } else {
            Placed::New
        })
    }

    /// The first missing ranges; none when the object is complete.
    pub fn want(&self) -> Option<Want> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let missing = (0u32..)
            .zip(&self.chunks)
            .filter(|(_, chunk)| chunk.is_none());
        for (number, _) in missing {
            let full = ranges.len() == WANT_RANGES_MAX;
            match ranges.last_mut() {
                Some((_, end)) if *end == number => *end += 1,
                _ if full => break,
                _ => ranges.push((number, number + 1)),
            }
        }
        let digest = self.manifest.object.digest;
        (!ranges.is_empty()).then_some(Want { digest, ranges })
    }

    /// The object, when its chunks are all here and make up its digest.
    pub fn finish(self) -> Result<Vec<u8>, ChunkError> {
        let ObjectRef { digest, bytes } = self.manifest.object;
        if self.missing > 0 {
            let missing = self.missing;
            return Err(ChunkError::Incomplete { digest, missing });
        }
        let whole = self
            .chunks
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .concat();
        let got = Digest::of(&whole);
        if got != digest || whole.len() as u64 != bytes {
            return Err(ChunkError::BadDigest { digest, got });
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(chunks: usize, rest: usize) -> Vec<u8> {
        let bytes = chunks * CHUNK_BYTES_MAX + rest;
        (0..bytes).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn chunks_in_any_order_and_twice_make_up_the_object(
            order in prop::collection::vec(0u32..4, 0..20),
            rest in 0usize..100,
        ) {
            let bytes = object(3, rest);
            let chunker = Chunker::new(&bytes).unwrap();
            let mut assembler = Assembler::new(chunker.manifest().clone(), bytes.len()).unwrap();
            for number in order {
                if let Some(chunk) = chunker.chunk(number) {
                    assembler.place(number, chunk).unwrap();
                }
            }
            let want = assembler.want();
            prop_assert_eq!(want.is_none(), assembler.is_complete());
            let missing: Vec<_> = want.iter().flat_map(|want| chunker.wanted(want)).collect();
            for (i, (number, chunk)) in missing.iter().enumerate() {
                let last = i + 1 == missing.len();
                let placed = assembler.place(*number, chunk).unwrap();
                prop_assert_eq!(placed, if last { Placed::Last } else { Placed::New });
                prop_assert_eq!(assembler.place(*number, chunk), Ok(Placed::Duplicate));
            }
            prop_assert_eq!(assembler.finish(), Ok(bytes));
        }
    }

    #[test]
    fn missing_chunks_are_named_as_ranges() {
        let bytes = object(5, 1);
        let chunker = Chunker::new(&bytes).unwrap();
        let mut assembler = Assembler::new(chunker.manifest().clone(), bytes.len()).unwrap();
        assembler.place(2, chunker.chunk(2).unwrap()).unwrap();
        assert_eq!(assembler.want().unwrap().ranges, [(0, 2), (3, 6)]);
        let incomplete = assembler.finish().unwrap_err();
        assert!(matches!(
            incomplete,
            ChunkError::Incomplete { missing: 5, .. }
        ));
    }

    #[test]
    fn what_is_not_the_object_is_refused() {
        let bytes = object(2, 7);
        let chunker = Chunker::new(&bytes).unwrap();
        let manifest = chunker.manifest().clone();
        let digest = manifest.object.digest;
        let too_large = Assembler::new(manifest.clone(), bytes.len() - 1).unwrap_err();
        assert_eq!(too_large.reason(), Reason::Oversized);
        let mut assembler = Assembler::new(manifest.clone(), bytes.len()).unwrap();
        let corrupt = assembler.place(0, chunker.chunk(1).unwrap());
        assert_eq!(corrupt, Err(ChunkError::CorruptChunk { digest, number: 0 }));
        let beyond = assembler.place(3, &[]).unwrap_err();
        assert!(matches!(beyond, ChunkError::NoSuchChunk { chunks: 3, .. }));

        let other = ObjectRef {
            digest: Digest::of(b"other"),
            ..manifest.object
        };
        let lying = Manifest {
            object: other,
            ..manifest
        };
        let mut assembler = Assembler::new(lying, bytes.len()).unwrap();
        for (number, chunk) in chunker.chunks() {
            assembler.place(number, chunk).unwrap();
        }
        let lie = assembler.finish().unwrap_err();
        assert_eq!(
            lie,
            ChunkError::BadDigest {
                digest: other.digest,
                got: digest
            }
        );
    }

    #[test]
    fn an_empty_object_is_complete_at_once() {
        let chunker = Chunker::new(&[]).unwrap();
        let assembler = Assembler::new(chunker.manifest().clone(), 0).unwrap();
        assert!(assembler.is_complete() && assembler.want().is_none());
        assert_eq!(assembler.finish(), Ok(Vec::new()));
    }
}
