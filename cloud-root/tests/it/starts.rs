//! `init` and `serve`: what can be wrong at the start.

use std::net::TcpListener;

use fl_runtime::keys;
use fl_runtime::testing::assert_refused;

use crate::root::{Root, command};

#[test]
fn init_makes_a_home_once() {
    let root = Root::new();
    root.refuses(&["init"], &["a home", "already", "--home"]);
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    for nats in ["http://h", "nats://", "nats://h\"\nx = 1", ""] {
        let mut init = command(&["init", "--nats", nats, "--home"]);
        assert_refused(&init.arg(&home).output().unwrap(), &["--nats"]);
        assert!(!home.exists(), "{nats:?}");
    }
    assert_refused(
        &command(&["init"])
            .env_remove("CLOUD_ROOT_HOME")
            .output()
            .unwrap(),
        &["--home"],
    );
}

#[test]
fn init_finishes_what_a_crash_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    // Killed after the key, while the settings were written.
    let key = keys::load_or_create(&home.join("key")).unwrap();
    std::fs::write(home.join("cloud-root.toml.part"), "[nats]\nurl").unwrap();
    let made = command(&["init", "--home"]).arg(&home).output().unwrap();
    let public = keys::public_hex(&key.verifying_key());
    let line = format!("root public key: {public}\n");
    assert!(
        String::from_utf8_lossy(&made.stdout).contains(&line),
        "{made:?}"
    );
    assert!(home.join("cloud-root.toml").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_away_at_the_start_is_waited_for() {
    let mut root = Root::new();
    root.start();
    let url = root.nats.url();
    root.logged(&["nats at", &url, "is away, retrying", "nats-server runs"])
        .await;
    root.refuses(&["job", "list"], &["a home", "cloud-root serve --home"]);
    root.nats.start();
    root.logged(&["serving"]).await;
    assert_eq!(root.run(&["job", "list"]), "");
    assert!(root.stop().await.success());
}

#[tokio::test]
async fn it_ends_in_order_while_nats_is_away() {
    let mut root = Root::new();
    root.start();
    root.logged(&["retrying"]).await;
    assert!(root.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_ends_it_with_the_setting_to_change() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut root = Root::new();
    root.set(
        "#: listen = \"127.0.0.1:0\"",
        &format!("listen = \"{address}\""),
    );
    root.nats.start();
    root.start();
    assert!(!root.ended().await.success());
    root.logged(&["cloud-root: ", &address, "in use", "control.listen"])
        .await;
    root.set(&address, "0.0.0.0:0");
    root.start();
    assert!(!root.ended().await.success());
    root.logged(&["cloud-root: ", "0.0.0.0:0", "loopback"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_home_has_one_root() {
    let mut root = Root::serving().await;
    root.refuses(&["serve"], &["a home", "in use by another process", "pid"]);
    assert_eq!(root.run(&["job", "list"]), "");
    // Killed, it leaves the home to the next.
    root.kill();
    root.refuses(&["job", "list"], &["nothing is running", "start it first"]);
    root.start_again().await;
    assert!(root.stop().await.success());
}

#[tokio::test]
async fn wrong_settings_and_keys_end_it_by_name() {
    let check = async |spoil: &dyn Fn(&Root), parts: &[&str]| {
        let root = Root::new();
        spoil(&root);
        root.refuses(&["serve"], parts);
    };
    check(
        &|root| root.set("[rounds]", "[round]"),
        &["cloud-root.toml", "\"round\"", "\"rounds\""],
    )
    .await;
    check(
        &|root| root.set("#: grace_ms", "grase_ms"),
        &["cloud-root.toml", "rounds.grase_ms", "rounds.grace_ms"],
    )
    .await;
    check(
        &|root| root.set("url = \"nats://", "url = \"http://"),
        &["nats.url", "write nats://host:4222"],
    )
    .await;
    check(
        &|root| std::fs::remove_file(root.home().join("key")).unwrap(),
        &["a home/key", "backup"],
    )
    .await;
    check(
        &|root| std::fs::remove_file(root.home().join("cloud-root.toml")).unwrap(),
        &["cloud-root.toml", "init"],
    )
    .await;
    check(
        &|root| std::fs::write(root.home().join("roster.cbor"), "x").unwrap(),
        &["roster.cbor", "damaged"],
    )
    .await;
}

#[test]
fn commands_say_that_no_root_runs() {
    let root = Root::new();
    let job = root.job("first", &[]);
    for words in [
        &["job", "list"][..],
        &["job", "show", "first"],
        &["job", "watch", "first"],
        &["job", "stop", "first"],
        &["job", "submit", &job],
        &["model", "export", "--job", "first", "-o", "out.onnx"],
    ] {
        root.refuses(
            words,
            &[
                "needs the running root",
                "cloud-root serve --home",
                "a home",
            ],
        );
    }
    let nowhere = root.home().join("nowhere");
    for words in [
        &["roster", "list"][..],
        &["job", "list"],
        &["serve"],
        &["roster", "remove", "x"],
    ] {
        let output = command(words).arg("--home").arg(&nowhere).output().unwrap();
        assert_refused(&output, &["nowhere"]);
    }
    assert!(!nowhere.exists());
}
