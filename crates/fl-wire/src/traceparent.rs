//! The W3C trace context as text, for MQTT user properties and NATS headers.

use fl_model::TraceContext;

/// Name of the user property and header.
pub const TRACEPARENT: &str = "traceparent";

/// Length of `00-{32 digits}-{16 digits}-{2 digits}`.
const TEXT_BYTES: usize = 55;

/// `00-{trace id}-{span id}-01`: version 0, sampled.
pub fn traceparent(context: &TraceContext) -> String {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    format!("00-{}-{}-01", hex(&context.trace_id), hex(&context.span_id))
}

/// Reads a traceparent of version 0; none where it is not one, or names the zero trace or span.
pub fn parse_traceparent(text: &str) -> Option<TraceContext> {
    let bytes = text.as_bytes();
    if bytes.len() != TEXT_BYTES || !text.is_ascii() {
        return None;
    }
    let dashes = [2, 35, 52].iter().all(|&at| bytes[at] == b'-');
    if !dashes || &bytes[..2] != b"00" {
        return None;
    }
    let mut context = TraceContext::default();
    read_hex(&bytes[3..35], &mut context.trace_id)?;
    read_hex(&bytes[36..52], &mut context.span_id)?;
    read_hex(&bytes[53..], &mut [0])?;
    let set = context.trace_id != [0; 16] && context.span_id != [0; 8];
    set.then_some(context)
}

/// Lower-case digits only, as the W3C recommendation asks.
fn read_hex(text: &[u8], into: &mut [u8]) -> Option<()> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in into.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_reads_back() {
        let context = TraceContext {
            trace_id: *b"0123456789abcdef",
            span_id: *b"\xff\x00345678",
        };
        assert_eq!(parse_traceparent(&traceparent(&context)), Some(context));
    }

    #[test]
    fn what_is_not_a_trace_context_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(parse_traceparent(good).is_some());
        let swap = |at: usize, with: &str| {
            let mut text = good.to_owned();
            text.replace_range(at..at + 1, with);
            text
        };
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-{}-{}-01", "a".repeat(32), "0".repeat(16));
        let short = good[..54].to_owned();
        let cases = [
            swap(1, "1"),
            swap(2, "_"),
            swap(5, "G"),
            swap(5, "A"),
            swap(5, "é"),
            swap(54, "x"),
            zero_trace,
            zero_span,
            short,
            String::new(),
        ];
        for bad in cases {
            assert_eq!(parse_traceparent(&bad), None, "{bad}");
        }
    }
}
