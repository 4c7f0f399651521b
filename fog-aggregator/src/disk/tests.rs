use fl_model::{JobId, Phase, RoundNumber};

use super::*;

struct Scene {
    _folder: tempfile::TempDir,
    home: Home,
    queue: DiskQueue,
    writing: tokio::task::JoinHandle<()>,
    written: mpsc::Receiver<Written>,
    shutdown: Shutdown,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let stores = Arc::new(Stores::open(&home, 1 << 20, 1 << 20).unwrap());
    let (said, written) = mpsc::channel(8);
    let shutdown = Shutdown::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    let remembered = (State::default(), None);
    let (queue, writing) = start(stores, remembered, key, said, shutdown.clone());
    Scene {
        _folder: folder,
        home,
        queue,
        writing,
        written,
        shutdown,
    }
}

fn record(round: u32) -> SettledRecord {
    SettledRecord {
        key: RoundKey {
            job: JobId::new("air").unwrap(),
            round: RoundNumber(round),
            phase: Phase::Train,
        },
        outcomes: std::collections::BTreeMap::new(),
    }
}

fn state(home: &Home) -> State {
    State::from_json(&std::fs::read(home.state()).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_queued_is_written_also_where_nobody_hears_of_it() {
    let Scene {
        _folder,
        home,
        queue,
        writing,
        written,
        shutdown: _shutdown,
    } = scene();
    drop(written);
    queue.push(Job::Settle(record(1))).await;
    queue.push(Job::Settle(record(2))).await;
    queue.push(Job::Epoch(Epoch(7))).await;
    drop(queue);
    writing.await.unwrap();
    let state = state(&home);
    assert_eq!(state.epoch, Epoch(7));
    assert_eq!(state.settled, [record(1), record(2)]);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_does_not_hold_up_the_end() {
    let mut scene = scene();
    scene.queue.push(Job::Epoch(Epoch(1))).await;
    scene.queue.push(Job::Settle(record(1))).await;
    scene.written.recv().await.unwrap();
    // A folder that is not empty cannot be replaced by a file: every write fails from now on.
    std::fs::remove_file(scene.home.state()).unwrap();
    std::fs::create_dir_all(scene.home.state().join("in the way")).unwrap();
    scene.queue.push(Job::Epoch(Epoch(2))).await;
    scene.queue.push(Job::Settle(record(2))).await;
    scene.shutdown.request("test");
    scene.writing.await.unwrap();
    // Whoever still has something to write is not kept waiting.
    scene.queue.push(Job::Epoch(Epoch(3))).await;
    assert!(scene.written.recv().await.is_none());
}
