//! A root that starts again, at every point of the log.

use fl_model::{LogEntry, Reason};
use fl_round::{RootEvent, RootStage};

use crate::common::digest;
use crate::root_rounds::{Cloud, received, regions};

/// The log of a job that ran to its end.
fn whole_log() -> (Vec<LogEntry>, Cloud) {
    let mut cloud = Cloud::open();
    for now in 1..=5 {
        cloud.pass(now);
    }
    assert!(matches!(cloud.root.stage(), RootStage::Ended(_)));
    (cloud.log.clone(), cloud)
}

#[test]
fn it_does_what_the_log_leaves_to_do() {
    let (log, _) = whole_log();
    let check = |entries: usize, expected: &str| {
        let mut cloud = Cloud::reading(&log[..entries]);
        cloud.handle(regions(), 0);
        assert_eq!(
            cloud.handle(RootEvent::Started, 0),
            expected,
            "after {entries} entries"
        );
    };
    check(1, "log led 1, waiting 0 of 2");
    check(2, "log led 2, waiting 0 of 2");
    let plan = "log led 2, plan 0/statistics to r s";
    check(3, plan);
    check(4, &format!("{plan}, fetch 0/statistics of r"));
    check(
        5,
        &format!("{plan}, fetch 0/statistics of r, fetch 0/statistics of s"),
    );
    check(
        6,
        "log led 2, fetch 0/statistics of r, fetch 0/statistics of s",
    );
    check(
        7,
        "log led 2, tell 0/statistics Merged, done 0, waiting 0 of 2",
    );
    check(8, "log led 2, done 0, plan 1/train to r s");
    check(12, "log led 2, done 0, tell 1/train Merged, waiting 0 of 2");
    check(
        log.len() - 1,
        "log led 2, tell 2/evaluate Merged, done 2, log ended Finished, ended Finished",
    );
    check(log.len(), "tell 2/evaluate Merged, done 2, ended Finished");
}

#[test]
fn it_merges_what_was_accepted_before() {
    let (log, _) = whole_log();
    for entries in [4, 5, 6] {
        let mut cloud = Cloud::reading(&log[..entries]);
        cloud.handle(regions(), 0);
        cloud.handle(RootEvent::Started, 0);
        let other = cloud.partial("r", "a");
        let refused = cloud.handle(received(other, "other bytes"), 1);
        assert_eq!(refused, "refuse r: Other");
        let from_r = cloud.report("r", "a b", 2);
        assert_eq!(from_r, "");
        let from_s = cloud.report("s", "c", 3);
        let expected = match entries {
            4 => "log accepted s, log closed Merged, merge 0/statistics",
            5 => "log closed Merged, merge 0/statistics",
            _ => "merge 0/statistics",
        };
        assert_eq!(from_s, expected);
        assert!(cloud.merged(4).starts_with("log settled 0/statistics"));
    }
}

#[test]
fn it_closes_nothing_before_it_has_what_was_accepted() {
    let (log, _) = whole_log();
    let mut cloud = Cloud::reading(&log[..4]);
    cloud.handle(regions(), 0);
    cloud.handle(RootEvent::Started, 0);
    assert_eq!(cloud.handle(RootEvent::Timeout, 60_000), "");
    let closed = "log closed Merged without s fog_silent, merge 0/statistics";
    assert_eq!(cloud.report("r", "a b", 60_001), closed);
}

#[test]
fn it_waits_for_fogs_that_it_has_not_heard_yet() {
    let (log, _) = whole_log();
    let mut cloud = Cloud::reading(&log[..3]);
    // The regions come late.
    assert_eq!(
        cloud.handle(RootEvent::Started, 0),
        "log led 2, plan 0/statistics to r s"
    );
    assert_eq!(cloud.handle(regions(), 10), "");
    let failed = "log closed NoQuorum without r region_late without s region_late";
    assert!(cloud.handle(RootEvent::Timeout, 1_500).starts_with(failed));

    let mut cloud = Cloud::reading(&log[..3]);
    cloud.handle(regions(), 0);
    cloud.handle(RootEvent::Started, 0);
    cloud.report("r", "a b", 1);
    cloud.beat("r", 2, 2);
    assert_eq!(cloud.root.next_timeout().map(|t| t.at), Some(1_500));
}

#[test]
fn every_prefix_of_the_log_folds_to_the_state_that_wrote_it() {
    let (log, live) = whole_log();
    let fold = Cloud::reading(&log).root;
    assert_eq!(fold.stage(), live.root.stage());
    assert_eq!(fold.record(), live.root.record());
    assert_eq!(fold.parameters(), live.root.parameters());
    for entries in 1..log.len() {
        let mut cloud = Cloud::reading(&log[..entries]);
        cloud.handle(regions(), 0);
        cloud.handle(RootEvent::Started, 0);
        cloud.beat("r", 2, 1);
        cloud.beat("s", 2, 1);
        for now in 2..50 {
            match cloud.root.stage() {
                RootStage::Ended(_) => break,
                RootStage::Waiting => cloud.handle(RootEvent::Timeout, now * 1_000),
                RootStage::Open | RootStage::Closed => cloud.pass(now * 1_000),
            };
            cloud.beat("r", 2, now * 1_000);
            cloud.beat("s", 2, now * 1_000);
        }
        assert_eq!(
            cloud.root.stage(),
            live.root.stage(),
            "after {entries} entries"
        );
        assert_eq!(cloud.root.parameters(), live.root.parameters());
        assert_eq!(cloud.root.merged_rounds(), 2);
    }
}

#[test]
fn a_takeover_within_a_round_is_noted() {
    let (log, _) = whole_log();
    let check = |entries: usize, failovers: usize| {
        let mut cloud = Cloud::reading(&log[..entries]);
        cloud.handle(RootEvent::Started, 9);
        let record = cloud.root.record();
        assert_eq!(record.failovers.len(), failovers, "after {entries} entries");
        let epochs = record.failovers.iter().map(|f| f.epoch.0);
        assert!(epochs.eq(std::iter::repeat_n(2, failovers)));
    };
    check(2, 0);
    check(4, 1);
    check(7, 0);
    check(10, 1);
    check(12, 1);
}

#[test]
fn a_stop_is_told_again() {
    let mut cloud = Cloud::open();
    cloud.report("r", "a b", 1);
    cloud.handle(RootEvent::Stop, 2);
    let mut again = Cloud::reading(&cloud.log);
    let told = "tell 0/statistics NoQuorum, done 0, ended Stopped";
    assert_eq!(again.handle(RootEvent::Started, 0), told);
    let record = &again.root.record().phases[0];
    assert_eq!(
        record.accepted[&crate::common::region("r")].digest,
        digest("r")
    );
    assert_eq!(record.absent[0].reason, Reason::JobEnded);
}
