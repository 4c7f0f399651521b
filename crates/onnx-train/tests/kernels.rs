//! What is found out about the runtime.

// Of ONNX Runtime; tract has none.
#![cfg(not(feature = "tract"))]
#![allow(clippy::unwrap_used)]

mod support;

use onnx_train::kernels;
use support::runtime;

/// Without this the golden vectors over whole blocks would show nothing of them.
#[test]
fn blocks_are_found_where_the_runtime_is_known_to_have_them() {
    runtime();
    let found = kernels().unwrap().channel_block;
    println!("channels in a block: {found:?}");
    if cfg!(target_arch = "x86_64") {
        assert!(found.is_some());
    }
}
