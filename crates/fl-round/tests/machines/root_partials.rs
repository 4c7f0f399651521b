//! Which partials a root takes.

use fl_model::{Epoch, PartialSum, Reason, Sum};
use fl_round::RootEvent;

use crate::common::{TENSORS, evaluation, key, partial, plan, region, update};
use crate::root_rounds::{Cloud, received};

/// In round 1, with region `s` accepted.
fn training() -> Cloud {
    let mut cloud = Cloud::open();
    cloud.pass(1);
    cloud.report("s", "c", 2);
    cloud
}

#[test]
fn each_refusal_has_its_reason() {
    let refuse = |change: &dyn Fn(&mut PartialSum)| {
        let mut cloud = training();
        let mut partial = cloud.partial("r", "a");
        change(&mut partial);
        let effects = cloud.handle(received(partial, "x"), 3);
        (cloud, effects)
    };
    // Of another phase or region, or after the first: who is awaited still is.
    let check_passing = |change: &dyn Fn(&mut PartialSum), expected: &str| {
        let (mut cloud, effects) = refuse(change);
        assert_eq!(effects, expected);
        let closed = "log accepted r, log closed Merged, merge 1/train";
        assert_eq!(cloud.report("r", "a b", 4), closed);
    };
    // The region has answered, and nothing of it is in the sum: the others go on without it.
    let check = |change: &dyn Fn(&mut PartialSum), expected: &str, reason: &str| {
        let (mut cloud, effects) = refuse(change);
        let closed = format!("log closed NoQuorum without r {reason}");
        let told = "tell 1/train NoQuorum, done 1";
        assert_eq!(effects, format!("{expected}, {closed}, {told}"));
        cloud.beat("r", 2, 60_000);
        cloud.beat("s", 2, 60_000);
        assert_eq!(cloud.plan().key, key("2/train"));
        cloud.report("s", "c", 60_001);
        let closed = "log accepted r, log closed Merged, merge 2/train";
        assert_eq!(cloud.report("r", "a b", 60_002), closed);
    };
    check_passing(&|p| p.key = key("0/statistics"), "refuse r: NotOpen");
    check_passing(&|p| p.key = key("2/train"), "refuse r: NotOpen");
    check_passing(&|p| p.region = region("t"), "refuse t: Region");
    check(&|p| p.epoch = Epoch(0), "refuse r: Epoch", "stale");
    check(&|p| p.epoch = Epoch(2), "refuse r: Epoch", "stale");
    check_passing(&|p| p.region = region("s"), "refuse s: Other");
    let other = |contributors: &'static str| {
        move |p: &mut PartialSum| *p = partial(&plan("1/train", 1), "r", contributors)
    };
    check(&other("a c"), "refuse r: Overlap", "duplicate");
    check(
        &|p| p.contributors.push(p.contributors[0].clone()),
        "refuse r: Overlap",
        "duplicate",
    );
    check(&other("a b d e f"), "refuse r: Quota", "quota");
    check(
        &|p| p.contributors.clear(),
        "refuse r: Shape",
        "wrong_shape",
    );
    let wider = |p: &mut PartialSum| {
        if let Sum::Update(sum) = &mut p.sum {
            sum.wq.push(vec![0]);
        }
    };
    check(&wider, "refuse r: Shape", "wrong_shape");
    let too_large = |p: &mut PartialSum| {
        if let Sum::Update(sum) = &mut p.sum {
            sum.wq[0] = vec![i64::MAX, i64::MAX];
        }
    };
    check(&too_large, "refuse r: Shape", "wrong_shape");
    let statistics = |p: &mut PartialSum| {
        p.sum = Sum::Statistics(fl_model::FeatureStatistics::empty(0));
    };
    check(&statistics, "refuse r: Shape", "wrong_shape");
}

#[test]
fn a_region_that_was_refused_is_not_waited_for() {
    // What its fog signed could not even be read.
    let refused = |of: &str| RootEvent::Refused(key(of), region("r"), Reason::Malformed);
    let mut cloud = Cloud::open();
    cloud.report("s", "c d", 1);
    assert_eq!(cloud.handle(refused("1/train"), 2), "");
    let closed = "log closed Merged without r malformed, merge 0/statistics";
    assert_eq!(cloud.handle(refused("0/statistics"), 3), closed);

    // The others are still waited for, and a later partial of the region counts.
    let mut cloud = Cloud::open();
    assert_eq!(cloud.handle(refused("0/statistics"), 1), "");
    assert_eq!(cloud.report("r", "a b", 2), "log accepted r");
    let closed = "log accepted s, log closed Merged, merge 0/statistics";
    assert_eq!(cloud.report("s", "c", 3), closed);

    // What the log has taken stays.
    let mut cloud = training();
    let key = || key("1/train");
    let refused = RootEvent::Refused(key(), region("s"), Reason::Malformed);
    assert_eq!(cloud.handle(refused, 3), "");
    let closed = "log accepted r, log closed Merged, merge 1/train";
    assert_eq!(cloud.report("r", "a b", 4), closed);
}

#[test]
fn the_same_partial_again_is_no_news() {
    let mut cloud = training();
    let again = cloud.partial("s", "c");
    assert_eq!(cloud.handle(received(again.clone(), "s"), 3), "");
    let other = received(again, "other bytes");
    assert_eq!(cloud.handle(other, 4), "refuse s: Other");
}

#[test]
fn the_sum_of_the_regions_is_the_flat_sum() {
    let mut cloud = training();
    let plan = cloud.plan();
    let effects = cloud
        .root
        .handle(received(cloud.partial("r", "a b"), "r"), 3, 3, |_, _| {
            Default::default()
        });
    let [fl_round::RootEffect::Append(entry)] = &effects[..] else {
        panic!("{effects:?}")
    };
    cloud.log.push(entry.clone());
    let closing = cloud
        .root
        .handle(RootEvent::Committed(entry.clone()), 3, 3, |_, _| {
            Default::default()
        });
    let [fl_round::RootEffect::Append(entry)] = &closing[..] else {
        panic!("{closing:?}")
    };
    let merging = cloud
        .root
        .handle(RootEvent::Committed(entry.clone()), 3, 3, |_, _| {
            Default::default()
        });
    let [fl_round::RootEffect::Merge(input)] = &merging[..] else {
        panic!("{merging:?}")
    };
    let mut flat = fl_aggregate::ExactSum::empty(&plan, &TENSORS);
    for _ in ["a", "b", "c"] {
        flat.add(&update(1, vec![1, 2])).unwrap();
    }
    assert!(flat.add(&evaluation()).is_err());
    assert_eq!(&input.sum, flat.sum());
    assert_eq!(*input.plan, plan);
}
