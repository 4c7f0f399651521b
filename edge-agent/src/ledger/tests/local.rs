//! Parameters that stay on the device.

use super::*;

fn with_local(value: f32) -> Option<Update> {
    Some(Update {
        local: LocalParameters {
            names: vec!["head".to_owned()],
            tensors: vec![vec![value]],
        },
        ..update(&[1.0])
    })
}

/// What the ledger gives, and what is read of its files beside it.
fn local(ledger: &Ledger, folder: &TempDir) -> Option<f32> {
    let local = ledger.local(&job(), &model()).unwrap();
    let local = local.map(|local| local.tensors[0][0]);
    let read = own_parameters(folder.path(), &job()).unwrap();
    assert_eq!(read.map(|own| own.parameters.tensors[0][0]), local);
    local
}

#[test]
fn the_devices_own_parameters_count_from_when_their_contribution_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    assert_eq!(local(&ledger, &folder), None);
    let store = |ledger: &mut Ledger, round: u32| {
        let bytes = round.to_be_bytes().to_vec();
        ledger
            .store(&train(round), bytes, with_local(round as f32))
            .unwrap();
    };
    store(&mut ledger, 1);
    assert_eq!(local(&ledger, &folder), Some(1.0));
    store(&mut ledger, 2);
    assert_eq!(local(&open(&folder), &folder), Some(2.0));
    let other = ledger.local(&job(), &Digest::of(b"another")).unwrap();
    assert_eq!(other, None);

    // Outcomes come in any order, and none takes back what was learnt.
    let forget = |ledger: &mut Ledger, round, outcome| {
        ledger
            .forget(&train(round), outcome, Some(&train(round)))
            .unwrap();
    };
    forget(&mut ledger, 2, EXCLUDED);
    assert_eq!(local(&ledger, &folder), Some(2.0));
    forget(&mut ledger, 1, Outcome::Counted);
    assert_eq!(local(&ledger, &folder), Some(2.0));
    assert_eq!(local(&open(&folder), &folder), Some(2.0));
    store(&mut ledger, 3);
    forget(&mut ledger, 3, Outcome::Counted);
    assert_eq!(ledger.outstanding(), []);
    assert_eq!(local(&open(&folder), &folder), Some(3.0));
}

#[test]
fn a_crash_between_two_files_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    ledger.store(&train(1), vec![1], with_local(1.0)).unwrap();
    let entry = folder.path().join("outbox").join(entry_name(&train(1)));
    let stored = std::fs::read(&entry).unwrap();
    ledger
        .forget(&train(1), Outcome::Counted, Some(&train(1)))
        .unwrap();
    // As if the process had been killed before it removed the contribution.
    std::fs::write(&entry, stored).unwrap();
    let ledger = open(&folder);
    assert_eq!(ledger.outstanding(), []);
    assert_eq!(local(&ledger, &folder), Some(1.0));
}

#[test]
fn parameters_of_few_jobs_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder);
    for number in 0..20 {
        let key = RoundKey {
            job: JobId::new(&format!("job-{number}")).unwrap(),
            ..train(1)
        };
        ledger.store(&key, vec![number], with_local(1.0)).unwrap();
        ledger.forget(&key, Outcome::Counted, Some(&key)).unwrap();
    }
    let kept = std::fs::read_dir(folder.path().join("local")).unwrap();
    assert_eq!(kept.count(), 16);
}
