//! Bytes from a bus: a message is read, verified and opened, or refused.

#![no_main]

use fl_model::{Contribution, LogEntry, PartialSum, RosterEntry, RoundPlan};
use fl_wire::{
    Beat, Body, Decline, Envelope, FogBeat, Hello, Manifest, Receipt, RoundSettled, SettledNotice,
    SigningKey, SpanBatch, Verified, Want, Welcome, seal,
};
use libfuzzer_sys::fuzz_target;

/// More than libFuzzer's inputs.
const BYTES_MAX: usize = 1 << 20;

/// The seed of the golden vectors' signer, so that they are a corpus that passes the signature.
const SEED: [u8; 32] = [7; 32];

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        read_text(text);
    }
    let key = SigningKey::from_bytes(&SEED);
    let Ok(envelope) = Envelope::parse(bytes, BYTES_MAX) else {
        return;
    };
    if let Ok(message) = envelope.verify(&key.verifying_key()) {
        open_as_everything(&message, bytes, &key);
    }
});

/// What reads back as a topic, a subject or a trace context prints as it was.
fn read_text(text: &str) {
    if let Ok(topic) = text.parse::<fl_wire::topics::Topic>() {
        assert_eq!(topic.to_string(), text);
    }
    if let Ok(subject) = text.parse::<fl_wire::subjects::Subject>() {
        assert_eq!(subject.to_string(), text);
    }
    let _ = fl_wire::parse_traceparent(text);
}

/// A message that opens is sealed again to the same bytes: there is one encoding of everything.
fn open<B: Body>(message: &Verified, bytes: &[u8], key: &SigningKey) {
    if let Ok(body) = message.open::<B>() {
        let again = seal(message.header(), &body, key);
        assert!(again.is_ok_and(|again| again == bytes));
    }
}

fn open_as_everything(message: &Verified, bytes: &[u8], key: &SigningKey) {
    open::<RoundPlan>(message, bytes, key);
    open::<Contribution>(message, bytes, key);
    open::<PartialSum>(message, bytes, key);
    open::<LogEntry>(message, bytes, key);
    open::<RosterEntry>(message, bytes, key);
    open::<Receipt>(message, bytes, key);
    open::<SettledNotice>(message, bytes, key);
    open::<RoundSettled>(message, bytes, key);
    open::<Hello>(message, bytes, key);
    open::<Welcome>(message, bytes, key);
    open::<Beat>(message, bytes, key);
    open::<FogBeat>(message, bytes, key);
    open::<Manifest>(message, bytes, key);
    open::<Want>(message, bytes, key);
    open::<Decline>(message, bytes, key);
    open::<SpanBatch>(message, bytes, key);
}
