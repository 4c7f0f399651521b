//! Models and parameters on their way to the device.

use std::collections::BTreeMap;
use std::sync::Arc;

use fl_model::{Digest, ObjectRef, RoundPlan};
use fl_round::Millis;
use fl_runtime::store::ObjectCache;
use fl_wire::limits::HELLO_WANTS_MAX;
use fl_wire::topics::ChunkName;
use fl_wire::{Assembler, Manifest, Placed, Want};

/// Most objects that arrive at the same time.
const ACTIVE_MAX: usize = 4;

/// Longest wait between two requests for what is missing, in milliseconds.
const ASK_MS_MAX: Millis = 10_000;

/// The objects of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    /// The user's ONNX model.
    pub(crate) model: Arc<Vec<u8>>,
    /// The global parameters.
    pub(crate) parameters: Arc<Vec<u8>>,
}

/// What arrives, what is here, and what is to be asked for.
pub(crate) struct Downloads {
    cache: ObjectCache,
    bytes_max: u64,
    ask_ms: Millis,
    active: BTreeMap<Digest, Assembler>,
    wanted: Vec<ObjectRef>,
    here: BTreeMap<Digest, Arc<Vec<u8>>>,
    ask_at: Option<Millis>,
    asked: u32,
    /// Bytes and chunks that arrived since the plan came.
    arrived: (u64, u64),
}

impl Downloads {
    /// Keeps objects in `cache`; none may be larger than `bytes_max`. What is missing is asked for when
    /// nothing has arrived for `ask_ms`.
    pub(crate) fn new(cache: ObjectCache, bytes_max: u64, ask_ms: Millis) -> Self {
        Self {
            cache,
            bytes_max,
            ask_ms,
            active: BTreeMap::new(),
            wanted: Vec::new(),
            here: BTreeMap::new(),
            ask_at: None,
            asked: 0,
            arrived: (0, 0),
        }
    }

    /// Wants the objects of a plan from now on, and those of no other.
    pub(crate) fn want(&mut self, plan: &RoundPlan, now: Millis) {
        self.wanted = vec![plan.model, plan.parameters];
        self.arrived = (0, 0);
        self.asked = 0;
        let wanted = self.wanted.clone();
        self.here
            .retain(|digest, _| wanted.iter().any(|object| object.digest == *digest));
        for object in &wanted {
            if self.here.contains_key(&object.digest) {
                continue;
            }
            match self.cache.get(&object.digest) {
                Ok(Some(bytes)) => {
                    self.here.insert(object.digest, Arc::new(bytes));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("the object cache does not give: {error}"),
            }
        }
        self.ask_at = (!self.is_ready()).then_some(now + self.ask_ms);
    }

    /// Wants nothing any more.
    pub(crate) fn stop(&mut self) {
        self.wanted.clear();
        self.ask_at = None;
    }

    /// Asks at once for what is missing: it went to those who were there.
    pub(crate) fn hurry(&mut self, now: Millis) {
        if let Some(at) = &mut self.ask_at {
            *at = now;
        }
    }

    /// Whether everything wanted is here.
    pub(crate) fn is_ready(&self) -> bool {
        let here = |object: &ObjectRef| self.here.contains_key(&object.digest);
        self.wanted.iter().all(here)
    }

    /// The objects of a plan, when they are here.
    pub(crate) fn objects(&self, plan: &RoundPlan) -> Option<Objects> {
        Some(Objects {
            model: self.here.get(&plan.model.digest)?.clone(),
            parameters: self.here.get(&plan.parameters.digest)?.clone(),
        })
    }

    /// Bytes and chunks that arrived since the plan came.
    pub(crate) fn arrived(&self) -> (u64, u64) {
        self.arrived
    }

    /// Expects the chunks of an object that the fog has announced; a plan may follow its objects.
    ///
    /// # Errors
    /// Why it is not expected.
    pub(crate) fn on_manifest(&mut self, manifest: Manifest, now: Millis) -> Result<(), String> {
        let object = manifest.object;
        let digest = object.digest;
        if self.here.contains_key(&digest) || self.cache.contains(&digest) {
            return Ok(());
        }
        let wanted = self.wanted.iter().find(|wanted| wanted.digest == digest);
        if wanted.is_some_and(|wanted| *wanted != object) {
            return Err(format!(
                "object {} is not as long as the plan says",
                digest.short()
            ));
        }
        if self.active.contains_key(&digest) {
            return Ok(());
        }
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let assembler = Assembler::new(manifest, bytes_max).map_err(|error| {
            format!("{error}: raise cache.bytes_max, or this device cannot take part")
        })?;
        self.make_room();
        if assembler.is_complete() {
            return self.finish(assembler);
        }
        self.active.insert(digest, assembler);
        self.postpone(now);
        Ok(())
    }

    /// Takes a chunk; one that nobody has announced is passed over and asked for later.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(crate) fn on_chunk(
        &mut self,
        name: &ChunkName,
        bytes: &[u8],
        now: Millis,
    ) -> Result<(), String> {
        let Some(assembler) = self.active.get_mut(&name.digest) else {
            return Ok(());
        };
        let placed = assembler.place(name.number, bytes);
        if placed.map_err(|error| error.to_string())? == Placed::Duplicate {
            return Ok(());
        }
        self.arrived.0 += bytes.len() as u64;
        self.arrived.1 += 1;
        self.postpone(now);
        match self.active.remove(&name.digest) {
            Some(assembler) if assembler.is_complete() => self.finish(assembler),
            Some(assembler) => {
                self.active.insert(name.digest, assembler);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn finish(&mut self, assembler: Assembler) -> Result<(), String> {
        let digest = assembler.object().digest;
        let bytes = assembler.finish().map_err(|error| error.to_string())?;
        if let Err(error) = self.cache.put(&bytes) {
            tracing::warn!("an object is not kept for the next start: {error}");
        }
        if self.wanted.iter().any(|object| object.digest == digest) {
            self.here.insert(digest, Arc::new(bytes));
        }
        if self.is_ready() {
            self.ask_at = None;
        }
        Ok(())
    }

    /// When to call [`Downloads::due`].
    pub(crate) fn next_wake(&self) -> Option<Millis> {
        self.ask_at
    }

    /// What to ask the fog for now.
    pub(crate) fn due(&mut self, now: Millis) -> Vec<Want> {
        if self.ask_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.asked = self.asked.saturating_add(1);
        let wait = self.ask_ms.saturating_mul(1 << self.asked.min(6));
        self.ask_at = Some(now + wait.min(ASK_MS_MAX.max(self.ask_ms)));
        self.missing()
    }

    /// What is missing of the objects wanted; for a hello too.
    pub(crate) fn missing(&self) -> Vec<Want> {
        let missing = self
            .wanted
            .iter()
            .filter(|object| !self.here.contains_key(&object.digest));
        let want = |object: &ObjectRef| {
            let begun = self.active.get(&object.digest).and_then(Assembler::want);
            begun.unwrap_or(Want {
                digest: object.digest,
                ranges: Vec::new(),
            })
        };
        missing.map(want).take(HELLO_WANTS_MAX).collect()
    }

    fn postpone(&mut self, now: Millis) {
        if let Some(at) = &mut self.ask_at {
            self.asked = 0;
            *at = now + self.ask_ms;
        }
    }

    /// What nobody wants goes first.
    fn make_room(&mut self) {
        while self.active.len() >= ACTIVE_MAX {
            let wanted = |digest: &Digest| self.wanted.iter().any(|w| w.digest == *digest);
            let unwanted = self.active.keys().find(|digest| !wanted(digest));
            let Some(digest) = unwanted.or(self.active.keys().next()).copied() else {
                return;
            };
            self.active.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use fl_wire::Chunker;
    use fl_wire::limits::CHUNK_BYTES_MAX;

    use super::*;
    use crate::run::sample;

    fn downloads(folder: &tempfile::TempDir) -> Downloads {
        let cache = ObjectCache::open(folder.path(), 1 << 20).unwrap();
        Downloads::new(cache, 1 << 20, 100)
    }

    fn name(chunker: &Chunker<'_>, number: u32) -> ChunkName {
        ChunkName {
            digest: chunker.manifest().object.digest,
            number,
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_and_comes_together() {
        let folder = tempfile::tempdir().unwrap();
        let model = vec![7; 2 * CHUNK_BYTES_MAX + 5];
        let parameters = b"parameters".to_vec();
        let plan = sample::plan(&model, &parameters);
        let (large, small) = (
            Chunker::new(&model).unwrap(),
            Chunker::new(&parameters).unwrap(),
        );
        let mut downloads = downloads(&folder);
        downloads.want(&plan, 0);
        assert_eq!(downloads.due(99), []);
        let all = downloads.due(100);
        assert!(
            all.iter().all(|want| want.ranges.is_empty()) && all.len() == 2,
            "{all:?}"
        );

        downloads
            .on_manifest(large.manifest().clone(), 110)
            .unwrap();
        downloads
            .on_chunk(&name(&large, 1), large.chunk(1).unwrap(), 120)
            .unwrap();
        assert!(
            downloads
                .on_chunk(&name(&large, 0), b"corrupt", 130)
                .is_err()
        );
        assert_eq!(downloads.next_wake(), Some(220));
        let some = downloads.due(220);
        assert_eq!(some[0].ranges, [(0, 1), (2, 3)]);
        for number in [0, 2] {
            let chunk = large.chunk(number).unwrap();
            downloads
                .on_chunk(&name(&large, number), chunk, 230)
                .unwrap();
        }
        assert!(!downloads.is_ready());
        // Chunks before their manifest cannot be checked: they are asked for again.
        downloads
            .on_chunk(&name(&small, 0), &parameters, 240)
            .unwrap();
        assert!(!downloads.is_ready());
        downloads
            .on_manifest(small.manifest().clone(), 250)
            .unwrap();
        downloads
            .on_chunk(&name(&small, 0), &parameters, 260)
            .unwrap();
        let objects = downloads.objects(&plan).unwrap();
        assert_eq!((*objects.model).clone(), model);
        assert_eq!(downloads.next_wake(), None);
        assert_eq!(downloads.arrived().1, 4);
    }

    #[test]
    fn what_was_fetched_before_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let plan = sample::plan(b"model", b"parameters");
        let mut first = downloads(&folder);
        for object in [&b"model"[..], b"parameters"] {
            // Objects may come before the plan that names them.
            let chunker = Chunker::new(object).unwrap();
            first.on_manifest(chunker.manifest().clone(), 0).unwrap();
            first.on_chunk(&name(&chunker, 0), object, 0).unwrap();
        }
        first.want(&plan, 0);
        assert!(first.is_ready());
        let mut second = downloads(&folder);
        second.want(&plan, 0);
        assert!(second.is_ready() && second.objects(&plan).is_some());
    }

    #[test]
    fn an_object_of_another_length_or_beyond_the_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plan = sample::plan(b"model", b"parameters");
        let mut downloads = downloads(&folder);
        downloads.want(&plan, 0);
        let mut lying = Chunker::new(b"model").unwrap().manifest().clone();
        lying.object.bytes = 4;
        assert!(
            downloads
                .on_manifest(lying, 0)
                .unwrap_err()
                .contains("long")
        );
        let large = vec![0; (1 << 20) + 1];
        let refused = downloads.on_manifest(Chunker::new(&large).unwrap().manifest().clone(), 0);
        assert!(refused.unwrap_err().contains("cache.bytes_max"));
        for seed in 0..20u8 {
            let other = vec![seed; 3];
            let chunker = Chunker::new(&other).unwrap();
            downloads
                .on_manifest(chunker.manifest().clone(), 0)
                .unwrap();
        }
        assert!(downloads.active.len() <= ACTIVE_MAX);
    }
}
