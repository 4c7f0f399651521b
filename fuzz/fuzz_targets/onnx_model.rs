//! A user's ONNX file: a model that we can train, or a refusal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onnx_grad::{ForwardModel, Limits};

fuzz_target!(|bytes: &[u8]| {
    let _ = ForwardModel::parse(bytes, &Limits::default());
});
