//! A job of the samples and an open round of it, for unit tests.

use std::collections::{BTreeMap, VecDeque};

use fl_model::{JobSpec, LogEntry, ObjectRef, RegionId, RoundPlan, TraceContext};
use fl_round::{RootEffect, RootEvent, RootRound};

use crate::settings::RoundSettings;

pub(crate) fn region(name: &str) -> RegionId {
    RegionId::new(name).unwrap()
}

pub(crate) fn spec() -> JobSpec {
    let text = include_str!("../../config/jobs/virtual-particle-sensor.toml");
    fl_runtime::job_file::parse(text, "virtual-particle-sensor.toml").unwrap()
}

pub(crate) fn submitted(spec: JobSpec) -> LogEntry {
    LogEntry::Submitted {
        spec: Box::new(spec),
        model: ObjectRef::to(b"model"),
        parameters: ObjectRef::to(b"parameters"),
        tensors: vec![4],
        at_us: 0,
    }
}

/// The job's first plan, for regions `north` and `south`.
pub(crate) fn plan() -> RoundPlan {
    opened().1
}

/// The job in its first phase, of which the root has told the regions, and the plan.
pub(crate) fn opened() -> (RootRound, RoundPlan) {
    let limits = RoundSettings::default().limits();
    let mut root = RootRound::replay(limits, &[submitted(spec())]).unwrap();
    let devices = spec().quorum;
    let regions = BTreeMap::from([(region("north"), devices), (region("south"), 0)]);
    let mut events = VecDeque::from([
        RootEvent::Regions(regions),
        RootEvent::Started,
        RootEvent::Beat(region("north"), devices),
    ]);
    while let Some(event) = events.pop_front() {
        for effect in root.handle(event, 1, 1, |_, _| TraceContext::default()) {
            match effect {
                RootEffect::Append(entry) => events.push_front(RootEvent::Committed(entry)),
                RootEffect::PublishPlan(plan, _) => return (root, *plan),
                _ => {}
            }
        }
    }
    panic!("no phase was opened");
}
