//! A user's ONNX file: graphs for training and evaluation, or a refusal.

#![no_main]

use fl_model::{Loss, TrainingSpec};
use libfuzzer_sys::fuzz_target;
use onnx_grad::{Differentiated, EvalGraph, ForwardModel, Limits, TrainingGraph};

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = ForwardModel::parse(bytes, &Limits::default()) else {
        return;
    };
    let _ = model.cost();
    for loss in [
        Loss::SoftmaxCrossEntropy,
        Loss::BinaryCrossEntropy,
        Loss::MeanSquaredError,
    ] {
        let spec = TrainingSpec::plain(loss, 0.1);
        let _ = EvalGraph::new(&model, loss);
        let _ =
            Differentiated::new(&model, loss).and_then(|graph| TrainingGraph::new(graph, &spec));
    }
});
