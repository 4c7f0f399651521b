//! A command as the source of rows, run by the real agent: restarts, floods, faults, and what `check` says.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fl_runtime::testing::{Process, assert_refused, until};
use tempfile::TempDir;

use crate::check::{says, shipped};
use crate::common::{command, home, start};

/// A home whose rows come from a script in it.
struct Sensor {
    folder: TempDir,
}

impl Sensor {
    fn new(script: &str) -> Self {
        Self::with_bounds(script, "")
    }

    fn with_bounds(script: &str, bounds: &str) -> Self {
        let sensor = Self {
            folder: home("mqtt://127.0.0.1:1"),
        };
        let file = sensor.home().join("edge-agent.toml");
        let settings = std::fs::read_to_string(&file).unwrap();
        let command = format!("command = [\"./read-sensor\", \"an argument\"]\n{bounds}");
        let settings = settings.replace("file = \"data.csv\"", &command);
        std::fs::write(file, settings).unwrap();
        sensor.set(script);
        sensor
    }

    /// Puts another script in the place of the one before.
    fn set(&self, script: &str) {
        let next = self.home().join("read-sensor.next");
        std::fs::write(&next, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(next, self.home().join("read-sensor")).unwrap();
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("edge home")
    }

    fn start(&self) -> Process {
        start(&self.home())
    }

    /// Header, rows and gaps of the ring as `cat` and `cut` show it.
    fn ring(&self) -> String {
        let mut segments: Vec<PathBuf> = std::fs::read_dir(self.home().join("ring"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        segments.sort();
        let texts = segments.iter().enumerate().map(|(place, segment)| {
            let text = std::fs::read_to_string(segment).unwrap_or_default();
            let lines = text.lines().skip(usize::from(place > 0));
            let lines = lines.map(|line| line.split_once(' ').unwrap_or_default().1.to_owned());
            lines.collect::<Vec<_>>()
        });
        texts.flatten().collect::<Vec<_>>().join("\n")
    }

    async fn holds(&self, part: &str) {
        until(part, async || self.ring().contains(part).then_some(())).await;
    }

    fn check(&self, job: Option<&Path>) -> std::process::Output {
        let mut check = command("check", &self.home());
        if let Some(job) = job {
            check.arg("--job").arg(job);
        }
        check.output().unwrap()
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie has ended.
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn rows_come_in_as_they_are_printed_and_stay_over_a_kill() {
    let sensor =
        Sensor::new("echo \"a,b\"; echo \"$1,1\"; pwd | sed 's/.*\\///' >&2; exec sleep 1000\n");
    let mut agent = sensor.start();
    sensor.holds("a,b\nan argument,1").await;
    // It runs in the home, and what it says on standard error is in the log.
    agent.logged(&["read-sensor says: edge home"]).await;
    agent.kill();
    let segment = std::fs::read_dir(sensor.home().join("ring"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut torn = std::fs::read(&segment).unwrap();
    torn.extend(b"12345678 torn");
    std::fs::write(&segment, torn).unwrap();
    let mut agent = sensor.start();
    agent
        .logged(&["its last 13 bytes are no whole row", "cut off"])
        .await;
    agent.logged(&["1 rows of earlier runs", "ring"]).await;
    // What comes after a time without the agent does not follow what was there.
    sensor.holds("a,b\nan argument,1\n\nan argument,1").await;
    assert!(agent.stop().await.success());
}

#[tokio::test]
async fn the_command_ends_with_the_agent_however_that_ends() {
    let script = "echo $$ > command.pid; sleep 1000 & echo $! > child.pid; echo a; echo x; wait\n";
    for is_killed in [false, true] {
        let sensor = Sensor::new(script);
        let mut agent = sensor.start();
        sensor.holds("x").await;
        let pid = |file: &str| std::fs::read_to_string(sensor.home().join(file)).unwrap();
        let pids = [pid("command.pid"), pid("child.pid")];
        assert!(pids.iter().all(|pid| is_alive(pid)));
        match is_killed {
            true => agent.kill(),
            false => assert!(agent.stop().await.success()),
        }
        until("the end of both", async || {
            let gone = pids.iter().all(|pid| !is_alive(pid));
            gone.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_command_that_ends_is_started_again_and_both_is_said() {
    let sensor = Sensor::new("echo a; echo 1 >&2; echo x\n");
    let mut agent = sensor.start();
    agent
        .logged(&[
            "read-sensor ended with status 0 after 1 rows",
            "started again in",
        ])
        .await;
    // One that ended well has left nothing out.
    sensor.holds("x\nx").await;
    sensor.set("echo a; echo y; exit 7\n");
    sensor.holds("x\ny\n\ny").await;
    assert!(agent.stop().await.success());

    let crashing = Sensor::new("echo a; kill -SEGV $$\n");
    let mut agent = crashing.start();
    agent
        .logged(&["WARN", "was killed by signal 11 after 0 rows"])
        .await;
    assert!(agent.stop().await.success());
}

#[tokio::test]
async fn what_is_no_row_is_left_out_and_said_without_a_cell() {
    let sensor = Sensor::with_bounds(
        "echo a,b; echo 1,2; echo SECRET; head -c 9000 /dev/zero | tr '\\0' 7; echo; echo 3,4; exec sleep 1000\n",
        "bytes_max = 65536\n",
    );
    let mut agent = sensor.start();
    sensor.holds("1,2\n\n3,4").await;
    agent
        .logged(&[
            "lines of ./read-sensor are left out",
            "line 3",
            "1 cells",
            "2 columns",
        ])
        .await;
    assert!(!agent.log().contains("SECRET") && !agent.log().contains("777"));
    assert!(agent.stop().await.success());

    let headless = Sensor::new("echo 1.5,2; echo 3,4; exec sleep 1000\n");
    let mut agent = headless.start();
    agent
        .logged(&["WARN", "first line must name the columns", "cell 1"])
        .await;
    agent.logged(&["was ended after 0 rows"]).await;
    assert_eq!(headless.ring(), "");
    assert!(agent.stop().await.success());

    let missing = Sensor::new("");
    std::fs::remove_file(missing.home().join("read-sensor")).unwrap();
    let mut agent = missing.start();
    agent
        .logged(&[
            "./read-sensor says",
            "cannot run ./read-sensor",
            "No such file",
        ])
        .await;
    agent.logged(&["ended with status 1 after 0 rows"]).await;
    assert!(agent.stop().await.success());
}

#[tokio::test]
async fn a_flood_fills_no_more_than_its_bound() {
    let sensor = Sensor::with_bounds(
        "echo a; exec yes 0123456789012345678901234567890123456789\n",
        "rows_max = 500\nbytes_max = 65536\n",
    );
    let mut agent = sensor.start();
    let ring = sensor.home().join("ring");
    let seen = Mutex::new(BTreeSet::new());
    until("many segments", async || {
        let entries = std::fs::read_dir(&ring).ok()?;
        let mut bytes = 0;
        let mut seen = seen.lock().unwrap();
        for entry in entries.flatten() {
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
            seen.insert(entry.file_name());
        }
        // The newest segment may have been made, and the oldest removed, while they were looked at.
        assert!(bytes <= 65_536 * 5 / 4, "{bytes} bytes");
        (seen.len() > 50).then_some(())
    })
    .await;
    assert!(agent.stop().await.success());
    says(
        &sensor.check(None),
        false,
        &["ok    data", "ring holds 500 rows"],
    );
}

#[tokio::test]
async fn other_columns_set_the_rows_aside() {
    let sensor = Sensor::new("echo a,b; echo 1,2; exec sleep 1000\n");
    let mut agent = sensor.start();
    sensor.holds("1,2").await;
    agent.kill();
    sensor.set("echo a,c; echo 1,3; exec sleep 1000\n");
    let told = ["note  command", "names other columns", "set those aside"];
    says(&sensor.check(None), false, &told);
    assert!(sensor.ring().contains("1,2"), "check changes nothing");
    let mut agent_again = sensor.start();
    agent_again
        .logged(&["names other columns than before", "1 rows", "ring.aside"])
        .await;
    sensor.holds("a,c\n1,3").await;
    assert!(sensor.home().join("ring.aside").is_dir());
    assert!(agent_again.stop().await.success());
}

#[test]
fn check_runs_the_command_for_a_moment() {
    let check = |script: &str, job: Option<&Path>, parts: &[&str]| {
        let sensor = Sensor::new(script);
        // There is no broker, so that none of them is a success.
        says(&sensor.check(job), false, parts);
        assert!(!sensor.home().join("ring").exists(), "check keeps nothing");
    };
    check(
        "echo a,b; echo 1,2; echo 3,4\n",
        None,
        &["ok    command", "gave 2 rows", "ring holds 0 rows"],
    );
    check(
        "echo a,b; echo 1; echo 3,4\n",
        None,
        &[
            "note  command",
            "gave 1 rows",
            "1 lines would be left out",
            "line 2: 1 cells",
        ],
    );
    check(
        "echo oops >&2; exit 3\n",
        None,
        &[
            "FAIL  command",
            "exit status: 3",
            "says: oops",
            "without a header",
        ],
    );
    check(
        "echo 1,2\n",
        None,
        &["FAIL  command", "must name the columns"],
    );
    check(
        "echo a; sleep 1000\n",
        None,
        &["note  command", "gave 0 rows"],
    );
    let job = shipped("config/jobs/heart-disease.toml");
    check(
        "echo age,sex; echo 1,2\n",
        Some(&job),
        &[
            "FAIL  command",
            "./read-sensor has no column",
            "note  data",
            "no rows yet",
        ],
    );
}

#[test]
fn a_ring_can_be_trained_on_alone() {
    let data = shipped("data/heart-disease/us/cleveland.csv");
    let sensor = Sensor::new(&format!("cat '{}'\n", data.display()));
    let job = shipped("config/jobs/heart-disease.toml");
    let train = || {
        let mut train = command("train-local", &sensor.home());
        train
            .arg("--job")
            .arg(&job)
            .args(["--epochs", "1", "--model"]);
        train
            .arg(shipped("config/models/heart-mlp.onnx"))
            .output()
            .unwrap()
    };
    assert_refused(&train(), &["ring holds no rows yet", "its command"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut agent = sensor.start();
        agent.logged(&["ended with status 0 after 303 rows"]).await;
        assert!(agent.stop().await.success());
    });
    let output = train();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("edge-01"), "{said}");
    let told = [
        "ok    command",
        "gave 303 rows",
        "ok    data",
        "ring: 303 rows",
    ];
    says(&sensor.check(Some(&job)), false, &told);
}
