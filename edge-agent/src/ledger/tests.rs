use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};

use fl_model::{GridWidth, Phase, Reason, RoundNumber};
use rustix::process::{Uid, geteuid, getuid};
use rustix::thread::set_thread_res_uid;
use tempfile::TempDir;

use super::*;

mod local;

const ROOM: u64 = 1 << 20;

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn job() -> JobId {
    JobId::new("air").unwrap()
}

fn model() -> Digest {
    Digest::of(b"model")
}

fn train(round: u32) -> RoundKey {
    RoundKey {
        job: job(),
        round: RoundNumber(round),
        phase: Phase::Train,
    }
}

/// A grid whose step is 0.25 for the only tensor.
fn grid() -> Grid {
    Grid {
        width: GridWidth::W16,
        exponents: vec![-2],
    }
}

fn update(coordinates: &[f32]) -> Update {
    Update {
        model: model(),
        grid: grid(),
        coordinates: vec![coordinates.to_vec()],
        local: LocalParameters::default(),
    }
}

fn open(folder: &TempDir) -> Ledger {
    Ledger::open(folder.path(), ROOM).unwrap()
}

fn residual(ledger: &Ledger) -> Option<Vec<f32>> {
    ledger.residual(&job(), &model()).map(<[_]>::concat)
}

const EXCLUDED: Outcome = Outcome::Excluded(Reason::NoQuorum);

#[test]
fn a_contribution_outlives_the_process_until_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger.save_epoch(Epoch(3)).unwrap();
    ledger.store(&train(1), b"signed".to_vec(), None).unwrap();
    drop(ledger);

    let mut ledger = open(&folder);
    assert_eq!(ledger.epoch(), Epoch(3));
    assert_eq!(ledger.outstanding(), [train(1)]);
    assert_eq!(ledger.sealed(&train(1)).unwrap().unwrap(), b"signed");
    assert_eq!(ledger.find(&Digest::of(b"signed")), Some(&train(1)));
    ledger
        .forget(&train(1), Outcome::Counted, Some(&train(1)))
        .unwrap();
    drop(ledger);

    let ledger = open(&folder);
    assert_eq!(ledger.outstanding(), []);
    assert_eq!(ledger.last(), Some(&train(1)));
    assert_eq!(ledger.sealed(&train(1)).unwrap(), None);
}

#[test]
fn the_residual_is_what_was_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    assert_eq!(residual(&ledger), None);
    let settle = |ledger: &mut Ledger, round, of: &[f32], outcome| {
        ledger
            .store(&train(round), vec![1], Some(update(of)))
            .unwrap();
        ledger.forget(&train(round), outcome, None).unwrap();
    };
    settle(&mut ledger, 1, &[0.5, 0.3125], Outcome::Counted);
    assert_eq!(residual(&ledger).unwrap(), [0.0, 0.0625]);
    let file = std::fs::metadata(folder.path().join("residual")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // The next update has the residual in it: excluded, all of it is still to come, once.
    settle(&mut ledger, 2, &[1.0, 0.0625], EXCLUDED);
    assert_eq!(residual(&ledger).unwrap(), [1.0, 0.0625]);
    settle(&mut ledger, 3, &[1.0, 0.0625], Outcome::Counted);
    assert_eq!(residual(&ledger).unwrap(), [0.0, 0.0625]);
    // What the width cuts off comes back too.
    settle(&mut ledger, 4, &[10_000.0, 0.0], Outcome::Counted);
    assert_eq!(
        residual(&ledger).unwrap(),
        [10_000.0 - 32_767.0 * 0.25, 0.0]
    );
}

#[test]
fn a_residual_is_taken_once_while_several_contributions_are_outstanding() {
    let check = |first: Outcome, second: Outcome, swapped: bool, expected: f32| {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = open(&folder);
        ledger
            .store(&train(1), vec![1], Some(update(&[0.0625])))
            .unwrap();
        ledger.forget(&train(1), Outcome::Counted, None).unwrap();
        assert_eq!(residual(&ledger).unwrap(), [0.0625]);
        ledger
            .store(&train(2), vec![2], Some(update(&[1.0625])))
            .unwrap();
        assert_eq!(residual(&ledger), None, "round 2 carries it");
        drop(ledger);
        let mut ledger = open(&folder);
        assert_eq!(residual(&ledger), None, "also after a restart");
        ledger
            .store(&train(3), vec![3], Some(update(&[2.0])))
            .unwrap();
        let mut order = [(2, first), (3, second)];
        if swapped {
            order.reverse();
        }
        for (round, outcome) in order {
            ledger.forget(&train(round), outcome, None).unwrap();
        }
        assert_eq!(residual(&ledger).unwrap(), [expected]);
    };
    for swapped in [false, true] {
        check(Outcome::Counted, Outcome::Counted, swapped, 0.0625);
        check(EXCLUDED, Outcome::Counted, swapped, 1.0625);
        check(Outcome::Counted, EXCLUDED, swapped, 2.0625);
        check(EXCLUDED, EXCLUDED, swapped, 3.0625);
    }
}

#[test]
fn a_crash_after_the_residual_was_written_absorbs_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger
        .store(&train(1), vec![1], Some(update(&[1.0])))
        .unwrap();
    let entry = folder.path().join("outbox").join(entry_name(&train(1)));
    let kept = std::fs::read(&entry).unwrap();
    ledger.forget(&train(1), EXCLUDED, Some(&train(1))).unwrap();
    drop(ledger);
    std::fs::write(&entry, kept).unwrap();

    let ledger = open(&folder);
    assert_eq!(ledger.outstanding(), []);
    assert_eq!(residual(&ledger).unwrap(), [1.0]);
    assert!(!entry.exists());
}

#[test]
fn another_model_begins_without_a_residual() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger
        .store(&train(1), vec![1], Some(update(&[1.0])))
        .unwrap();
    ledger.forget(&train(1), EXCLUDED, None).unwrap();
    assert_eq!(ledger.residual(&job(), &Digest::of(b"other")), None);
    let other = JobId::new("other").unwrap();
    assert_eq!(ledger.residual(&other, &model()), None);
}

#[test]
fn damage_is_named_and_a_damaged_contribution_does_not_stop_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger.store(&train(1), vec![1], None).unwrap();
    ledger.save_epoch(Epoch(1)).unwrap();
    drop(ledger);
    let entry = folder.path().join("outbox").join(entry_name(&train(1)));
    std::fs::write(&entry, b"damaged").unwrap();
    assert_eq!(open(&folder).outstanding(), []);
    let aside = entry.with_file_name(format!("{}.damaged", entry_name(&train(1))));
    assert_eq!(std::fs::read(aside).unwrap(), b"damaged");
    for name in ["state.json", "residual"] {
        let path = folder.path().join(name);
        std::fs::write(&path, b"{\"epoch\"").unwrap();
        let error = Ledger::open(folder.path(), ROOM).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("damaged"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}

/// What `work` gives where files may have forbidden it: root, which may read them all, becomes nobody.
fn as_user<T: Send>(folder: &Path, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if geteuid().is_root() {
                let own = |path: &Path| chown(path, Some(NOBODY), None).unwrap();
                for path in [folder, &folder.join("outbox")] {
                    own(path);
                    let entries = std::fs::read_dir(path).unwrap();
                    entries.for_each(|entry| own(&entry.unwrap().path()));
                }
                // Of this thread only.
                set_thread_res_uid(getuid(), Uid::from_raw(NOBODY), getuid()).unwrap();
            }
            work()
        });
        worker.join().unwrap()
    })
}

#[test]
fn what_cannot_be_read_just_now_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger.store(&train(1), b"signed".to_vec(), None).unwrap();
    ledger.save_epoch(Epoch(1)).unwrap();
    ledger
        .store(&train(2), vec![1], Some(update(&[1.0])))
        .unwrap();
    ledger.forget(&train(2), EXCLUDED, None).unwrap();
    drop(ledger);
    for name in [
        &format!("outbox/{}", entry_name(&train(1))),
        "state.json",
        "residual",
    ] {
        let path = folder.path().join(name);
        let readable = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        let opened = as_user(folder.path(), || Ledger::open(folder.path(), ROOM));
        let error = opened.unwrap_err().to_string();
        let expected = [name, "cannot read", "own the file"];
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        std::fs::set_permissions(&path, readable).unwrap();
    }
    let ledger = open(&folder);
    assert_eq!(ledger.epoch(), Epoch(1));
    assert_eq!(ledger.sealed(&train(1)).unwrap().unwrap(), b"signed");
    assert_eq!(residual(&ledger).unwrap(), [1.0]);
}

#[test]
fn a_full_outbox_stores_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(folder.path(), 200).unwrap();
    let error = ledger.store(&train(1), vec![0; 300], None).unwrap_err();
    assert!(
        matches!(error, LedgerError::Store(StoreError::Full { .. })),
        "{error}"
    );
    assert_eq!(ledger.outstanding(), []);
}
