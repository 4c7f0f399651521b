//! `init`, `check`, `status`, `password`.

use fl_runtime::testing::{JETSTREAM, NatsProcess, output_to_nobody, until};
use std::io::Write as _;
use std::process::Stdio;

use crate::device::Device;
use crate::fog::{Fog, command, output};
use crate::root::{Root, root_key};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn init_makes_a_home_once_and_says_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("fog");
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let init = |name: &str, key: &str, nats: &str| {
        let home = home.to_str().unwrap();
        let arguments = [
            "init",
            "--home",
            home,
            "--name",
            name,
            "--region",
            "north",
            "--root-key",
            key,
            "--nats",
            nats,
        ];
        output(&arguments)
    };
    for (name, key, nats, part) in [
        ("a b", key, "nats://h", "--name"),
        ("fog", "abc", "nats://h", "--root-key"),
    ] {
        let refused = init(name, key, nats);
        assert!(
            !refused.status.success() && text(&refused.stderr).contains(part),
            "{refused:?}"
        );
        assert!(!home.exists());
    }
    let made = init("fog-north", key, "nats://a:b@h");
    let said = text(&made.stdout);
    assert!(
        made.status.success() && said.starts_with("public key: "),
        "{said}"
    );
    let public = said
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("public key: ");
    let command = format!("cloud-root roster add fog-north {public} --role fog --region north");
    assert!(public.len() == 64 && said.contains(&command), "{said}");
    let again = init("fog-north", key, "nats://h");
    assert!(
        !again.status.success() && text(&again.stderr).contains("exists"),
        "{again:?}"
    );
}

#[test]
fn a_reader_who_goes_is_no_error() {
    let fog = Fog::new(&root_key(), "nats://127.0.0.1:1");
    let home = fog.home();
    let home = home.to_str().unwrap();
    // Its verdict stands in the status all the same.
    let output = output_to_nobody(command(&["check", "--home", home]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let other = format!("{home} too");
    let key = fl_runtime::keys::public_hex(&root_key().verifying_key());
    let init = command(&[
        "init",
        "--home",
        &other,
        "--name",
        "fog-south",
        "--region",
        "south",
        "--root-key",
        &key,
        "--nats",
        "nats://h",
    ]);
    let output = output_to_nobody(init);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_gives_a_verdict_for_everything() {
    let mut nats = NatsProcess::running(JETSTREAM);
    let mut fog = Fog::new(&root_key(), &nats.url());
    let check = |fog: &Fog| {
        let checked = output(&["check", "--home", fog.home().to_str().unwrap()]);
        (checked.status.success(), text(&checked.stdout))
    };
    let expect = |fog: &Fog, good: bool, lines: &[(&str, &str, &str)]| {
        let (success, said) = check(fog);
        assert_eq!(success, good, "{said}");
        for (mark, what, part) in lines {
            let found = said
                .lines()
                .any(|line| line.starts_with(mark) && line.contains(what) && line.contains(part));
            assert!(found, "no {mark} {what} with {part:?} in\n{said}");
        }
    };
    let root_session = nats.connect().await;
    expect(
        &fog,
        false,
        &[
            ("ok", "settings", "fog-north"),
            ("ok", "key", ""),
            ("ok", "disk", "free"),
            ("ok", "broker", "free"),
            ("ok", "nats", "lets us in"),
            ("FAIL", "streams", "start cloud-root"),
        ],
    );
    let root = Root::new(root_session).await;
    expect(
        &fog,
        false,
        &[
            ("ok", "streams", ""),
            ("FAIL", "roster", "cloud-root roster add"),
        ],
    );
    root.enrol(&fog, &["edge-01"]).await;
    expect(
        &fog,
        true,
        &[("ok", "roster", "1 devices"), ("ok", "clock", "")],
    );

    fog.start();
    until("the gateway", || async { fog.status() }).await;
    expect(&fog, true, &[("ok", "broker", "of this home runs")]);
    fog.kill();
    let taken = std::net::TcpListener::bind(("127.0.0.1", fog.port)).unwrap();
    fog.set(
        "store",
        "free_bytes_min = 268435456",
        "free_bytes_min = 1152921504606846976",
    );
    nats.kill();
    expect(
        &fog,
        false,
        &[
            ("FAIL", "broker", "in use"),
            ("FAIL", "disk", "store.free_bytes_min"),
            ("FAIL", "nats", "away"),
        ],
    );
    drop(taken);
    std::fs::write(fog.home().join("fog-aggregator.toml"), "name = 1\n").unwrap();
    expect(&fog, false, &[("FAIL", "settings", "fog-aggregator.toml")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_devices_and_says_when_nothing_runs() {
    let nats = NatsProcess::running(JETSTREAM);
    let root = Root::new(nats.connect().await).await;
    let mut fog = Fog::new(&root_key(), &nats.url());
    let status = |fog: &Fog| output(&["status", "--home", fog.home().to_str().unwrap()]);
    let none = status(&fog);
    assert!(
        !none.status.success() && text(&none.stderr).contains("start it first"),
        "{none:?}"
    );
    root.enrol(&fog, &["edge-01", "edge-02"]).await;
    fog.start();
    let device = Device::connect(&fog, "edge-01").await;
    let online = || async {
        let status = fog.status()?;
        let seen = status
            .devices
            .iter()
            .any(|d| d.name == "edge-01" && d.online && d.agent == "test");
        seen.then_some(status)
    };
    let shown = until("the device to be online", online).await;
    assert!(shown.enrolled && shown.nats.connected && shown.broker.connected);
    assert!(shown.disk.free_bytes > 0 && shown.devices.len() == 2);
    let table = text(&status(&fog).stdout);
    assert!(
        table.contains("1 of 2 online") && table.contains("edge-02"),
        "{table}"
    );
    device.cut();
    let gone = || async { fog.status().filter(|s| s.devices.iter().all(|d| !d.online)) };
    until("the device to be gone", gone).await;
    let missing = output(&["run", "--home", "/nonexistent/home"]);
    assert!(text(&missing.stderr).contains("init"), "{missing:?}");
}

#[test]
fn a_password_becomes_a_line_for_the_password_file() {
    let mut child = command(&["password", "edge-01"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let line = text(&output.stdout);
    assert!(
        output.status.success() && line.starts_with("edge-01:$argon2id$"),
        "{line}"
    );
    assert!(!line.contains("secret"));
}
