//! Entries of the job's log.

use fl_model::{
    Absence, Digest, Epoch, EvaluationCounters, Grid, JobEnd, JobFailure, JobSpec, LogEntry,
    Normalization, ObjectRef, PhaseResult, Reason, RegionAbsence, RegionId, RegionSummary,
    RoundKey, RoundOutcome, RoundPlan,
};

use crate::cbor::{mirror_enum, mirror_struct};

mirror_enum! {
    RoundOutcome, "round outcome", RoundOutcomeMirror { Merged, NoQuorum }
}

mirror_enum! {
    JobEnd, "end of a job", JobEndMirror { Finished, Stopped, Failed(JobFailure) }
}

mirror_enum! {
    JobFailure, "failure of a job", JobFailureMirror { Diverged, Unmergeable }
}

mirror_struct! {
    RegionAbsence, "absent region", RegionAbsenceMirror {
        region: RegionId,
        reason: Reason,
    }
}

mirror_struct! {
    RegionSummary, "summary of a region", RegionSummaryMirror {
        contributors: u32,
        absent: Vec<Absence>,
        edge_up_bytes: u64,
        fog_up_bytes: u64,
        down_bytes: u64,
        absent_more: u32,
    }
}

mirror_enum! {
    PhaseResult, "result of a phase", PhaseResultMirror {
        Statistics { rows: u64, normalization: Normalization },
        Train {
            parameters: ObjectRef,
            moments: Option<ObjectRef>,
            grid: Grid,
            examples: u64,
            loss: f64,
        },
        Evaluate(EvaluationCounters),
    }
}

mirror_enum! {
    LogEntry, "log entry", LogEntryMirror {
        Submitted {
            spec: Box<JobSpec>,
            model: ObjectRef,
            parameters: ObjectRef,
            tensors: Vec<u64>,
            at_us: u64,
        },
        Led { epoch: Epoch, at_us: u64 },
        Opened { plan: Box<RoundPlan>, regions: Vec<RegionId>, at_us: u64 },
        PartialAccepted {
            key: RoundKey,
            region: RegionId,
            digest: Digest,
            summary: RegionSummary,
            at_us: u64,
        },
        Closed { key: RoundKey, outcome: RoundOutcome, absent: Vec<RegionAbsence>, at_us: u64 },
        Settled { key: RoundKey, result: Box<PhaseResult>, at_us: u64 },
        Ended { how: JobEnd, at_us: u64 },
    }
}
