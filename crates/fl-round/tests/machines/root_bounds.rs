//! What a root keeps within bounds: its pauses, contributions, log entries and objects.

use std::collections::BTreeMap;

use fl_model::{Absence, JobSpec, ObjectRef, Reason, RegionSummary};
use fl_round::{Millis, RootEvent, RootStage};

use crate::common::{device, digest, object, region, spec};
use crate::root_rounds::{Cloud, LIMITS, received, regions, submitted};

/// Everybody is there and nobody contributes, from then on; says when the next round opens.
fn fail(cloud: &mut Cloud, now: Millis) -> Millis {
    cloud.beat("r", 2, now);
    cloud.beat("s", 2, now);
    cloud.report("r", "", now);
    let failed = cloud.report("s", "a", now);
    assert!(failed.contains("log closed NoQuorum"), "{failed}");
    cloud.root.next_timeout().unwrap().at
}

#[test]
fn pauses_grow_while_rounds_miss_their_quorum() {
    let mut cloud = Cloud::open();
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..70 {
        let next = fail(&mut cloud, now);
        pauses.push(next - now);
        now = next;
        cloud.handle(RootEvent::Timeout, now);
        assert_eq!(cloud.root.stage(), RootStage::Open);
    }
    assert_eq!(pauses[..4], [300, 600, 1_000, 1_000]);
    assert!(pauses[4..].iter().all(|&pause| pause == 1_000));
    // A merge begins it anew, and a root that reads the log knows how long the lull has been.
    cloud.pass(now);
    assert_eq!(fail(&mut cloud, now), now + 300);
    cloud.handle(RootEvent::Timeout, now + 300);
    let mut again = Cloud::reading(&cloud.log);
    again.handle(regions(), 0);
    again.handle(RootEvent::Started, 0);
    // It has only now heard of those who are there: they may be new.
    assert_eq!(fail(&mut again, 10), 10 + 300);
    again.handle(RootEvent::Timeout, 310);
    assert_eq!(fail(&mut again, 310), 310 + 1_000);
}

#[test]
fn who_comes_back_ends_the_pause() {
    let failed_thrice = || {
        let mut cloud = Cloud::open();
        for now in [0, 300] {
            let next = fail(&mut cloud, now);
            cloud.handle(RootEvent::Timeout, next);
        }
        cloud
    };
    let mut cloud = failed_thrice();
    assert_eq!(fail(&mut cloud, 900), 1_900);
    cloud.beat("r", 1, 1_000);
    assert_eq!(cloud.root.next_timeout().map(|t| t.at), Some(1_900));
    assert_eq!(cloud.beat("r", 2, 1_100), "");
    assert_eq!(cloud.root.next_timeout().map(|t| t.at), Some(1_200));
    assert!(
        cloud
            .handle(RootEvent::Timeout, 1_200)
            .starts_with("log opened")
    );

    // Or was back before the round had failed.
    let mut cloud = failed_thrice();
    cloud.beat("r", 1, 900);
    assert_eq!(fail(&mut cloud, 950), 1_250);
}

#[test]
fn the_bound_on_contributions_is_shared_among_the_regions() {
    let check = |devices: &[u32], expected: u32| {
        let mut cloud = Cloud::reading(&[submitted(spec())]);
        let names = (0..).map(|number| region(&format!("r{number}")));
        let regions = names.zip(devices.iter().copied());
        cloud.handle(RootEvent::Regions(regions.collect()), 0);
        cloud.handle(RootEvent::Started, 0);
        for (number, &devices) in devices.iter().enumerate() {
            cloud.beat(&format!("r{number}"), devices, 0);
        }
        assert_eq!(cloud.plan().contributions_max, 4);
        let share = cloud.plan().region_contributions_max;
        assert_eq!(share, expected, "{devices:?}");
    };
    check(&[2], 4);
    check(&[9], 4);
    check(&[2, 2], 4);
    check(&[3, 3], 2);
    check(&[9, 1], 3);
    check(&[0, 9], 4);
    // A region that may bring none could not be told: it may bring one.
    check(&[2, 2, 2, 2, 2], 1);
}

#[test]
fn a_dead_region_keeps_no_share_of_the_bound() {
    let mut cloud = Cloud::reading(&[submitted(spec())]);
    let devices = BTreeMap::from([(region("r"), 4), (region("s"), 4)]);
    cloud.handle(RootEvent::Regions(devices), 0);
    cloud.handle(RootEvent::Started, 0);
    let late = LIMITS.grace_ms;
    cloud.beat("r", 4, late);
    cloud.handle(RootEvent::Timeout, late + LIMITS.gather_ms);
    assert_eq!(cloud.plan().contributions_max, 4);
    assert_eq!(cloud.plan().region_contributions_max, 4);
}

#[test]
fn the_log_names_so_many_of_the_absent_as_it_has_room_for() {
    let mut cloud = Cloud::open();
    let mut partial = cloud.partial("r", "a b");
    let absence = |number: usize| Absence {
        device: device(&format!("x{number:05}")),
        reason: Reason::Deadline,
    };
    partial.absent = (0..RegionSummary::ABSENT_MAX + 7).map(absence).collect();
    cloud.handle(received(partial, "r"), 1);
    let summary = &cloud.root.record().phases[0].accepted[&region("r")].summary;
    assert_eq!(summary.absent.len(), RegionSummary::ABSENT_MAX);
    assert_eq!(summary.absent_more, 7);
    assert_eq!(
        summary.absent_count() as usize,
        RegionSummary::ABSENT_MAX + 7
    );
}

#[test]
fn what_nobody_needs_any_more_is_let_go() {
    let names = |objects: Vec<ObjectRef>| {
        let known = ["model", "parameters", "1/train", "2/train", "3/train"];
        let name = |one: &ObjectRef| known.iter().find(|known| object(known) == *one).copied();
        objects
            .iter()
            .filter_map(name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let spec = JobSpec {
        rounds: 3,
        ..spec()
    };
    let mut cloud = Cloud::of(spec).with_everybody();
    let check = |cloud: &mut Cloud, needed: &str, retired: &str| {
        assert_eq!(names(cloud.root.objects().collect()), needed);
        assert_eq!(names(cloud.root.take_retired()), retired);
        assert!(cloud.root.take_retired().is_empty());
    };
    cloud.pass(1);
    let partials = cloud.root.take_retired();
    let digests: Vec<_> = partials.iter().map(|object| object.digest).collect();
    assert_eq!(digests, [digest("r"), digest("s")]);
    check(&mut cloud, "model parameters", "");
    cloud.pass(2);
    check(&mut cloud, "model 1/train parameters", "");
    cloud.pass(3);
    cloud.pass(4);
    check(&mut cloud, "model 2/train 1/train", "parameters");
    cloud.pass(5);
    cloud.pass(6);
    cloud.pass(7);
    assert!(matches!(cloud.root.stage(), RootStage::Ended(_)));
    check(&mut cloud, "model 3/train", "1/train 2/train");
    let mut again = Cloud::reading(&cloud.log);
    check(&mut again, "model 3/train", "parameters 1/train 2/train");
}
