//! One device, one fog, one root: the whole path of a round, and what may be seen of it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use fl_telemetry::TraceId;
use fl_telemetry::check::findings;
use fl_telemetry::receiver::Receiver;
use xtask::demo::CLOUD_ROOT;

use tributary_tests::{
    PATIENCE, Stage, assert_traces_are_clean, hospitals, hospitals_job, of_trace,
};

const ROUNDS: u32 = 2;
const DEVICE: &str = "cleveland";

/// The root runs in a folder without data, and nothing that it holds leads to any.
#[tokio::test(flavor = "multi_thread")]
async fn one_device_one_fog_one_root() {
    let receiver = Receiver::start().await.expect("a loopback port");
    let endpoint = receiver.endpoint();
    let (stage, course) = tokio::task::spawn_blocking(move || {
        let mut regions = hospitals();
        regions.retain(|region| region.id.as_str() == "us");
        regions[0]
            .devices
            .retain(|device| device.id.as_str() == DEVICE);
        let data = regions[0].devices[0].data.clone();
        let mut stage = Stage::set(hospitals_job(ROUNDS, 1), regions, Some(&endpoint));
        let course = stage.run(|federation, _| {
            let pid = federation.fleet.pid(CLOUD_ROOT).expect("a running root");
            assert_knows_nothing_of(pid, &data);
        });
        assert_holds_nothing_of(&stage.home(), &data);
        stage.wait_for_empty_outboxes();
        stage.end();
        (stage, course)
    })
    .await
    .expect("a federation");

    let rounds = course.rounds();
    assert_eq!(rounds.len() as u32, ROUNDS + 1, "statistics, then training");
    for round in rounds {
        assert_eq!(round.participants, 1, "{round:?}");
        assert!(
            round.missing.is_empty() && round.failovers == 0,
            "{round:?}"
        );
        assert!(round.edge_up_bytes > 0 && round.fog_up_bytes > 0 && round.down_bytes > 0);
    }
    assert!(
        rounds
            .iter()
            .skip(1)
            .all(|round| round.trained() && round.accuracy.is_some())
    );

    let kept = stage.kept_spans();
    assert_traces_are_clean(&course, &kept);
    assert!(
        receiver.conflicts().is_empty(),
        "{:?}",
        receiver.conflicts()
    );
    for round in rounds {
        let trace = TraceId::parse(&round.trace_id).expect("a trace id");
        let expected = of_trace(&kept, &round.trace_id).len();
        let sent = receiver
            .wait_for(&trace, PATIENCE, |spans| spans.len() == expected)
            .await;
        assert_eq!(sent.len(), expected, "what was kept was also sent");
        assert_eq!(
            findings(&sent),
            Vec::<String>::new(),
            "round {}",
            round.round
        );
        assert_eq!(
            receipts(&sent),
            (1, 1),
            "admitted and counted once, round {}",
            round.round
        );
    }
    assert_eq!(receiver.traces().len(), rounds.len(), "one trace per round");
    receiver.stop().await;
}

/// Devices that were admitted by their fog, and uploads that their receipt answered.
fn receipts(spans: &[fl_telemetry::check::CollectedSpan]) -> (usize, usize) {
    let named = |name: &str| spans.iter().filter(|span| span.name == name).count();
    (named("admit"), named("upload"))
}

/// Neither the command line, the environment, the folder nor an open file of the process names the data.
fn assert_knows_nothing_of(pid: u32, data: &Path) {
    let process = Path::new("/proc").join(pid.to_string());
    let folder = data
        .parent()
        .expect("a region")
        .parent()
        .expect("a data folder");
    let needle = folder.as_os_str().as_bytes();
    for source in ["cmdline", "environ", "maps"] {
        let bytes = fs::read(process.join(source)).expect("a running process");
        assert!(
            !contains(&bytes, needle),
            "{source} of the root names {}",
            folder.display()
        );
    }
    let cwd = fs::read_link(process.join("cwd")).expect("a running process");
    assert!(
        !folder.starts_with(&cwd) && !cwd.starts_with(folder),
        "{}",
        cwd.display()
    );
    for entry in fs::read_dir(process.join("fd"))
        .expect("a running process")
        .flatten()
    {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        assert!(
            !target.starts_with(folder),
            "the root has {} open",
            target.display()
        );
    }
}

/// No file of the root's home names the data's folder or holds one of its rows.
fn assert_holds_nothing_of(home: &Path, data: &Path) {
    let rows = fs::read_to_string(data).expect("shipped data");
    let row = rows.lines().nth(1).expect("a row").as_bytes();
    let place = data.as_os_str().as_bytes();
    let mut folders = vec![home.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the root's home").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).expect("a file of the root");
            let holds = contains(&bytes, place) || contains(&bytes, row);
            assert!(!holds, "{} knows the data", path.display());
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
