//! The bounds of everything that comes from outside.

/// Deepest nesting of arrays, maps and tags.
pub const DEPTH_MAX: usize = 16;

/// Most keys of a map.
pub const MAP_KEYS_MAX: usize = 64;

/// Largest control message: everything but contributions, partial sums, log entries and chunks.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Largest entry of a job's log: a plan, which is a control message, and what goes with it.
pub const LOG_ENTRY_BYTES_MAX: usize = 2 * CONTROL_BYTES_MAX;

/// Largest payload of an MQTT publish, chosen so that AWS IoT takes it.
pub const MQTT_PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// Data of a chunk; also the largest contribution that travels as one message.
pub const CHUNK_BYTES_MAX: usize = 120 * 1024;

/// Most chunks of an object, so that its manifest is a control message: objects up to about 230 MB.
pub const CHUNKS_MAX: usize = 1_900;

/// Most ranges in a [`crate::Want`].
pub const WANT_RANGES_MAX: usize = 256;

/// Most unsettled contributions that a device names in its hello; it names the oldest first.
pub const OUTSTANDING_MAX: usize = 128;

/// Most transfers that a device resumes in its hello.
pub const HELLO_WANTS_MAX: usize = 8;

/// Longest version text of an agent or its runtime, in bytes.
pub const VERSION_TEXT_BYTES_MAX: usize = 64;

/// Longest explanation of a device that declines, in bytes.
pub const DETAIL_BYTES_MAX: usize = 256;

/// Most spans of a batch.
pub const SPANS_MAX: usize = 16;

/// Longest name of a span or an event, in bytes.
pub const SPAN_NAME_BYTES_MAX: usize = 32;

/// Most attributes of a span or an event.
pub const SPAN_ATTRIBUTES_MAX: usize = 32;

/// Most events of a span.
pub const SPAN_EVENTS_MAX: usize = 16;

/// Longest text in a span: an attribute's key, its value, an error.
pub const SPAN_TEXT_BYTES_MAX: usize = 256;

/// Most envelopes in a list of them.
pub const ENVELOPES_MAX: usize = 65_536;
