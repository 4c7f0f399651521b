//! A step of training allocates nothing in our code once the first has been taken.

// Of ONNX Runtime; tract allocates as it likes, and has no such kernels.
#![cfg(not(feature = "tract"))]
#![allow(clippy::unwrap_used)]
#![allow(
    unsafe_code,
    reason = "an allocator that counts cannot be written without"
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fl_model::{Loss, TrainingSpec};
use onnx_train::{LocalTrainer, initial_parameters};
use support::{AIR_MLP, runtime, separable, sgd};

/// Counts what each thread asks for. What the runtime asks for itself does not come here.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often a run of so many epochs of three steps asks for memory.
fn allocations(local_epochs: u32) -> usize {
    let spec = TrainingSpec {
        local_epochs,
        batch_size: 10,
        ..sgd(Loss::BinaryCrossEntropy, 0.01)
    };
    let mut trainer = LocalTrainer::new(AIR_MLP, &spec).unwrap();
    let parameters = initial_parameters(AIR_MLP).unwrap();
    let examples = separable(25, 1);
    let before = ASKED.get();
    trainer.run(&parameters, &examples, [0; 32]).unwrap();
    ASKED.get() - before
}

/// The crate that calls the runtime wraps the handle of each output: two allocations each, and two lists.
const OF_THE_CALL: usize = 2 * OUTPUTS + 2;
/// The loss, and two layers' weights and biases.
const OUTPUTS: usize = 5;

#[test]
fn a_step_asks_for_nothing_but_what_the_call_of_the_runtime_does() {
    runtime();
    allocations(1);
    let (few, many) = (allocations(2), allocations(42));
    let steps = 40 * 3;
    println!("{few} allocations in 6 steps, {many} in 126");
    assert!(many - few <= steps * OF_THE_CALL, "{many} - {few}");
}
