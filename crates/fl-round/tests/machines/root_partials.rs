//! Which partials a root takes.

use fl_model::{Epoch, PartialSum, Sum};
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
    let check = |change: &dyn Fn(&mut PartialSum), expected: &str| {
        let mut cloud = training();
        let mut partial = cloud.partial("r", "a");
        change(&mut partial);
        let before = cloud.log.len();
        assert_eq!(cloud.handle(received(partial, "x"), 3), expected);
        assert_eq!(cloud.log.len(), before);
        // What was refused left nothing behind.
        let closed = "log accepted r, log closed Merged, merge 1/train";
        assert_eq!(cloud.report("r", "a b", 4), closed);
    };
    check(&|p| p.key = key("0/statistics"), "refuse r: NotOpen");
    check(&|p| p.key = key("2/train"), "refuse r: NotOpen");
    check(&|p| p.region = region("t"), "refuse t: Region");
    check(&|p| p.epoch = Epoch(0), "refuse r: Epoch");
    check(&|p| p.epoch = Epoch(2), "refuse r: Epoch");
    check(&|p| p.region = region("s"), "refuse s: Other");
    let other = |contributors: &'static str| {
        move |p: &mut PartialSum| *p = partial(&plan("1/train", 1), "r", contributors)
    };
    check(&other("a c"), "refuse r: Overlap");
    check(
        &|p| p.contributors.push(p.contributors[0].clone()),
        "refuse r: Overlap",
    );
    check(&other("a b d"), "refuse r: Quota");
    check(&|p| p.contributors.clear(), "refuse r: Shape");
    let wider = |p: &mut PartialSum| {
        if let Sum::Update(sum) = &mut p.sum {
            sum.wq.push(vec![0]);
        }
    };
    check(&wider, "refuse r: Shape");
    let too_large = |p: &mut PartialSum| {
        if let Sum::Update(sum) = &mut p.sum {
            sum.wq[0] = vec![i64::MAX, i64::MAX];
        }
    };
    check(&too_large, "refuse r: Shape");
    let statistics = |p: &mut PartialSum| {
        p.sum = Sum::Statistics(fl_model::FeatureStatistics::empty(0));
    };
    check(&statistics, "refuse r: Shape");
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
