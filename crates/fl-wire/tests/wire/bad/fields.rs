//! Protected headers that were changed, do not fit their body, or are not ours.

use fl_model::{Contribution, PartialSum, Reason, RoundPlan};
use fl_wire::MessageKind;

use crate::hex;

use super::forge::*;
use super::{Case, Reader, case, open, receive_contribution};

/// A signed message of which one protected field was changed: the signature no longer fits.
pub(super) fn swapped_fields() -> Vec<Case> {
    let field = |name: &str, protected: Vec<u8>| {
        let what = "a protected field was changed after signing";
        let bytes = swapped(&protected);
        case(
            name,
            what,
            bytes,
            open::<Contribution>,
            Reason::BadSignature,
        )
    };
    let evaluate = MessageKind::EvaluateContribution.code();
    let version = case(
        "swapped_version",
        "the version was changed after signing",
        swapped(&with(label::VERSION, 2)),
        open::<Contribution>,
        Reason::Malformed,
    );
    vec![
        version,
        field("swapped_kind", with(label::KIND, evaluate)),
        field("swapped_job", with(label::JOB, "water")),
        field("swapped_round", with(label::ROUND, 18)),
        field("swapped_epoch", with(label::EPOCH, 4)),
        field("swapped_region", with(label::REGION, "south")),
        field("swapped_sender", with(label::SENDER, b"edge-02".to_vec())),
        field("removed_region", without(label::REGION)),
    ]
}

/// Rightly signed messages that are not what they stand for: a body under a foreign header, or a
/// message where another was expected.
pub(super) fn signed_elsewhere() -> Vec<Case> {
    let foreign = |name: &str, what, protected: Vec<u8>, read: Reader| {
        let bytes = signed(&protected, &good_body());
        case(name, what, bytes, read, Reason::Foreign)
    };
    let opened: Reader = open::<Contribution>;
    let statistics = MessageKind::StatisticsContribution.code();
    let partial = MessageKind::TrainPartial.code();
    let stale = |name: &str, bytes: Vec<u8>, read: Reader| {
        let what = "the body names another epoch than the header";
        case(name, what, bytes, read, Reason::Stale)
    };
    vec![
        foreign(
            "body_of_another_job",
            "the body names another job than the header",
            with(label::JOB, "water"),
            opened,
        ),
        foreign(
            "body_of_another_round",
            "the body names another round than the header",
            with(label::ROUND, 16),
            opened,
        ),
        foreign(
            "body_of_another_sender",
            "the body names another device than the header",
            with(label::SENDER, b"edge-02".to_vec()),
            opened,
        ),
        foreign(
            "body_of_another_phase",
            "the body is of another phase than the header's kind",
            with(label::KIND, statistics),
            opened,
        ),
        foreign(
            "body_of_another_kind",
            "the header's kind is not that of a contribution",
            with(label::KIND, partial),
            opened,
        ),
        foreign(
            "body_without_job",
            "the header names no job",
            without(label::JOB),
            opened,
        ),
        foreign(
            "body_without_round",
            "the header names no round",
            without(label::ROUND),
            opened,
        ),
        foreign(
            "in_another_region",
            "the message came under another region's topic",
            with(label::REGION, "south"),
            receive_contribution,
        ),
        foreign(
            "in_no_region",
            "the header names no region",
            without(label::REGION),
            receive_contribution,
        ),
        foreign(
            "in_another_job",
            "the message came under another job",
            with(label::JOB, "water"),
            receive_contribution,
        ),
        foreign(
            "in_another_round",
            "the message came for another round",
            with(label::ROUND, 16),
            receive_contribution,
        ),
        foreign(
            "from_another_sender",
            "the message came under another device's topic",
            with(label::SENDER, b"edge-02".to_vec()),
            receive_contribution,
        ),
        foreign(
            "of_another_kind",
            "another kind of message was expected",
            with(label::KIND, statistics),
            receive_contribution,
        ),
        stale(
            "plan_of_another_epoch",
            resigned("plan_train", label::EPOCH, 4),
            open::<RoundPlan>,
        ),
        stale(
            "partial_of_another_epoch",
            resigned("partial_train", label::EPOCH, 2),
            open::<PartialSum>,
        ),
        case(
            "partial_of_another_region",
            "the body names another region than the header",
            resigned("partial_train", label::REGION, "south"),
            open::<PartialSum>,
            Reason::Foreign,
        ),
        case(
            "plan_from_a_device",
            "only the root may send a plan",
            resigned("plan_train", label::SENDER, b"edge-01".to_vec()),
            open::<RoundPlan>,
            Reason::Foreign,
        ),
        case(
            "roster_entry_from_a_fog",
            "only the root may send a roster entry",
            resigned("roster_entry", label::SENDER, b"fog-north".to_vec()),
            open::<fl_model::RosterEntry>,
            Reason::Foreign,
        ),
    ]
}

/// Messages whose protected header is not ours, rightly signed.
pub(super) fn headers() -> Vec<Case> {
    let bad = |name: &str, what, protected: Vec<u8>| {
        let bytes = signed(&protected, &good_body());
        case(name, what, bytes, open::<Contribution>, Reason::Malformed)
    };
    let good = protected(&good_header());
    let unsorted = edited(|parameters| parameters.swap(2, 3));
    let twice = edited(|parameters| parameters.push(parameters[parameters.len() - 1].clone()));
    let mut round_not_minimal = good.clone();
    let round_at = good
        .windows(6)
        .position(|bytes| bytes == hex::parse("3a0001000311"))
        .unwrap();
    round_not_minimal.splice(round_at + 5..round_at + 6, [0x18, 17]);
    vec![
        bad(
            "header_version_0",
            "version 0 does not exist",
            with(label::VERSION, 0),
        ),
        bad(
            "header_version_2",
            "version 2 is not spoken yet",
            with(label::VERSION, 2),
        ),
        bad(
            "header_version_text",
            "the version is a text",
            with(label::VERSION, "1"),
        ),
        bad(
            "header_without_version",
            "the version is missing",
            without(label::VERSION),
        ),
        bad(
            "header_without_kind",
            "the kind is missing",
            without(label::KIND),
        ),
        bad(
            "header_without_epoch",
            "the epoch is missing",
            without(label::EPOCH),
        ),
        bad(
            "header_without_sender",
            "the sender is missing",
            without(label::SENDER),
        ),
        bad(
            "header_unknown_kind",
            "no kind has that number",
            with(label::KIND, 255),
        ),
        bad(
            "header_kind_too_large",
            "the kind exceeds 8 bits",
            with(label::KIND, 259),
        ),
        bad(
            "header_round_negative",
            "the round is negative",
            with(label::ROUND, -1),
        ),
        bad(
            "header_round_too_large",
            "the round exceeds 32 bits",
            with(label::ROUND, 1u64 << 32),
        ),
        bad(
            "header_round_nan",
            "the round is not a number",
            with(label::ROUND, f64::NAN),
        ),
        bad(
            "header_round_float",
            "the round is a float",
            with(label::ROUND, 17.0),
        ),
        bad(
            "header_job_bytes",
            "the job is a byte string",
            with(label::JOB, b"air".to_vec()),
        ),
        bad(
            "header_job_name",
            "the job's name has a dot",
            with(label::JOB, "a.b"),
        ),
        bad(
            "header_region_name",
            "the region's name is a wildcard",
            with(label::REGION, "+"),
        ),
        bad(
            "header_sender_not_utf8",
            "the sender's name is not text",
            with(label::SENDER, vec![0xff, 0xfe]),
        ),
        bad(
            "header_unknown_parameter",
            "version 1 has no such parameter",
            with(label::UNKNOWN, 0),
        ),
        bad(
            "header_other_algorithm",
            "the algorithm is ES256",
            with(label::ALGORITHM, -7),
        ),
        bad(
            "header_without_algorithm",
            "the algorithm is missing",
            without(label::ALGORITHM),
        ),
        bad(
            "header_unsorted",
            "two parameters are out of order",
            unsorted,
        ),
        bad("header_duplicate", "a parameter comes twice", twice),
        bad(
            "header_not_minimal",
            "the round takes two bytes",
            round_not_minimal,
        ),
        bad(
            "header_trailing_byte",
            "a byte follows the header",
            [good.as_slice(), &[0]].concat(),
        ),
        bad("header_empty", "the header is empty", Vec::new()),
        bad(
            "header_indefinite",
            "the header has an indefinite length",
            [&[0xbf], &good[1..], &[0xff]].concat(),
        ),
    ]
}
