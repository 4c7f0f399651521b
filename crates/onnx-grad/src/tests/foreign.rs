//! Foreign bytes never panic.

use std::path::{Path, PathBuf};

use fl_model::{LocalOptimizer, Loss, TrainingSpec};
use proptest::prelude::*;

use super::parse;
use crate::{Differentiated, EvalGraph, TrainingGraph};

const LOSSES: [Loss; 5] = [
    Loss::SoftmaxCrossEntropy,
    Loss::BinaryCrossEntropy,
    Loss::MeanSquaredError,
    Loss::MeanAbsoluteError,
    Loss::Huber { delta: 1.0 },
];

/// Everything that foreign bytes go through.
fn digest(bytes: &[u8]) {
    let Ok(model) = parse(bytes) else {
        return;
    };
    for loss in LOSSES {
        let spec = TrainingSpec {
            optimizer: LocalOptimizer::Sgd {
                momentum: 0.9,
                nesterov: true,
            },
            gradient_norm_max: 1.0,
            weight_decay: 0.1,
            proximal: 0.1,
            ..TrainingSpec::plain(loss, 0.1)
        };
        let _ = EvalGraph::new(&model, loss);
        let _ =
            Differentiated::new(&model, loss).and_then(|graph| TrainingGraph::new(graph, &spec));
    }
}

/// The golden models, which between them use every operator.
fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let within = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let families = within(&folder);
    let mut paths: Vec<PathBuf> = families.iter().flat_map(|family| within(family)).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn a_model_cut_short_anywhere_never_panics() {
    let corpus = corpus();
    assert!(corpus.len() > 40);
    for model in corpus {
        assert!(parse(&model).is_ok());
        for end in 0..model.len() {
            digest(&model[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        digest(&bytes);
    }

    #[test]
    fn a_mutated_model_never_panics(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let corpus = CORPUS.get_or_init(corpus);
        let mut bytes = which.get(corpus).clone();
        for (place, value) in changes {
            *place.get_mut(&mut bytes) = value;
        }
        digest(&bytes);
    }
}

static CORPUS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
