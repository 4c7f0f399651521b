//! No length that a peer claims is allocated.

#![allow(
    unsafe_code,
    reason = "an allocator that counts cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::properties::decode_as_everything;
use crate::strategies::{sample_bodies, sample_bytes};
use crate::vectors::BYTES_MAX;

/// Counts the bytes that each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that this thread held at once during the call, beyond what it held before.
fn peak_bytes(call: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    call();
    (PEAK.get() - before) as usize
}

/// A value in memory may be larger than on the wire, by the size of the largest structure that an
/// empty item can stand for.
const FACTOR_MAX: usize = 256;

/// Messages of errors, and what a parser needs at all.
const SLACK_BYTES: usize = 16 * 1024;

/// Heads of strings, arrays and maps that claim more than there is, and as much as there is.
fn claims(rest: usize) -> Vec<Vec<u8>> {
    let majors = [2u8, 3, 4, 5].into_iter();
    let claimed = [u64::MAX, rest as u64, rest as u64 / 2];
    majors
        .flat_map(|major| claimed.map(|claimed| head(major << 5, claimed)))
        .collect()
}

/// The shortest head with that number.
fn head(major: u8, number: u64) -> Vec<u8> {
    match number {
        0..24 => vec![major | number as u8],
        24..0x100 => vec![major | 24, number as u8],
        0x100..0x1_0000 => [&[major | 25][..], &(number as u16).to_be_bytes()].concat(),
        _ => [&[major | 27][..], &number.to_be_bytes()].concat(),
    }
}

fn check_every_claim(good: &[u8], read: fn(&[u8])) {
    for at in 0..good.len() {
        for claim in claims(good.len() - at) {
            let mut bytes = good.to_vec();
            bytes.splice(at..at + 1, claim);
            let peak = peak_bytes(|| read(&bytes));
            let allowed = FACTOR_MAX * bytes.len() + SLACK_BYTES;
            assert!(
                peak <= allowed,
                "{peak} bytes held for {} at {at}",
                bytes.len()
            );
        }
    }
}

#[test]
fn claimed_lengths_are_not_allocated() {
    assert!(
        peak_bytes(|| drop(vec![0u8; 1 << 20])) >= 1 << 20,
        "the allocator does not count"
    );
    for message in sample_bytes() {
        check_every_claim(message, |bytes| {
            drop(fl_wire::Envelope::parse(bytes, BYTES_MAX))
        });
    }
    for body in sample_bodies() {
        check_every_claim(body, decode_as_everything);
    }
}
