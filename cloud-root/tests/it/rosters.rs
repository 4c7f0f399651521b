//! `roster add|list|remove`, and what the fogs hear of it.

use std::process::Stdio;

use fl_model::RosterEntry;
use fl_runtime::nats::Stream;
use fl_runtime::testing::until;
use fl_wire::{Encoded as _, Envelope, EnvelopeList};

use crate::root::{Root, public_key};

#[test]
fn members_come_and_go() {
    let root = Root::new();
    assert_eq!(root.run(&["roster", "list"]), "");
    let told = root.add("fog-north", 1, "fog", "north");
    assert_eq!(told, "fog-north is a fog of region north (roster line 1)\n");
    root.add("edge-01", 2, "device", "north");
    // The same again adds nothing; a new key replaces the old one.
    assert!(root.add("edge-01", 2, "device", "north").contains("line 2"));
    assert!(root.add("edge-01", 3, "device", "north").contains("line 3"));
    let list = root.run(&["roster", "list"]);
    let lines: Vec<Vec<&str>> = list
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let (edge, fog) = (public_key(3), public_key(1));
    assert_eq!(
        lines,
        [
            ["edge-01", "device", "north", &edge],
            ["fog-north", "fog", "north", &fog]
        ]
    );
    let told = root.run(&["roster", "remove", "edge-01"]);
    assert_eq!(told, "edge-01 is out (roster line 4)\n");
    assert_eq!(root.run(&["roster", "list"]).lines().count(), 1);
    // The name is free for another region.
    root.add("edge-01", 2, "device", "south");
}

#[test]
fn what_cannot_be_added_or_removed_is_named() {
    let root = Root::new();
    root.add("fog-north", 1, "fog", "north");
    root.add("edge-01", 2, "device", "north");
    let add = |name: &str, key: &str, role: &str, region: &str, parts: &[&str]| {
        let words = [
            "roster", "add", name, key, "--role", role, "--region", region,
        ];
        root.refuses(&words, parts);
    };
    let key = public_key(9);
    add(
        "edge-02",
        "12ab",
        "device",
        "north",
        &["12ab", "64", "init"],
    );
    add(
        "edge-02",
        &"z".repeat(64),
        "device",
        "north",
        &["zzz", "hexadecimal"],
    );
    add(
        "edge-02",
        &"0".repeat(64),
        "device",
        "north",
        &["public key"],
    );
    add("edge 02", &key, "device", "north", &["edge 02"]);
    add("edge-02", &key, "device", "a/b", &["a/b"]);
    add(
        "edge-02",
        &key,
        "cloud",
        "north",
        &["cloud", "device", "fog"],
    );
    add("root", &key, "device", "north", &["root", "another name"]);
    add(
        "edge-01",
        &key,
        "fog",
        "south",
        &["edge-01 is a device of region north", "roster remove"],
    );
    add(
        "edge-01",
        &key,
        "device",
        "south",
        &["edge-01", "roster remove edge-01 --home"],
    );
    add(
        "fog-2",
        &key,
        "fog",
        "north",
        &["north", "fog-north", "roster remove fog-north"],
    );
    add(
        "edge-02",
        &public_key(2),
        "device",
        "north",
        &["edge-01 has that key"],
    );
    root.refuses(&["roster", "remove", "nobody"], &["nobody", "roster list"]);
    root.refuses(&["roster", "remove", "a/b"], &["a/b"]);
    assert_eq!(root.run(&["roster", "list"]).lines().count(), 2);
}

#[test]
fn a_damaged_or_foreign_roster_is_told_and_kept() {
    let root = Root::new();
    root.add("fog-north", 1, "fog", "north");
    let file = root.home().join("roster.cbor");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    root.refuses(&["roster", "list"], &["roster.cbor", "damaged", "backup"]);
    let other = Root::new();
    std::fs::write(other.home().join("roster.cbor"), &good).unwrap();
    other.refuses(
        &["roster", "remove", "fog-north"],
        &["roster.cbor", "not signed by this root's key"],
    );
    assert_eq!(
        std::fs::read(other.home().join("roster.cbor")).unwrap(),
        good
    );
}

#[test]
fn two_commands_at_once_both_succeed() {
    let root = Root::new();
    let add = |number: u8| {
        let (name, key) = (format!("edge-{number:02}"), public_key(number));
        let words = [
            "roster", "add", &name, &key, "--role", "device", "--region", "north",
        ];
        root.command(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let commands: Vec<_> = (1..=12).map(add).collect();
    for command in commands {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(root.run(&["roster", "list"]).lines().count(), 12);
}

/// Names and numbers of the lines that a region's fog hears.
async fn heard(root: &Root, region: &str) -> Option<Vec<(String, u64)>> {
    let nats = root.nats.connect().await;
    let subject = format!("fl.down.{region}.roster");
    let message = nats.last(Stream::Down, &subject).await.unwrap()?;
    let key = fl_runtime::keys::load(&root.home().join("key")).unwrap();
    let list = EnvelopeList::decode(&message.payload).unwrap();
    let open = |line: Vec<u8>| {
        let verified = Envelope::parse(&line, line.len()).unwrap();
        let entry: RosterEntry = verified
            .verify(&key.verifying_key())
            .unwrap()
            .open()
            .unwrap();
        let sign = if entry.removed { "-" } else { "+" };
        (format!("{sign}{}", entry.member), entry.number)
    };
    Some(list.envelopes.into_iter().map(open).collect())
}

async fn hears(root: &Root, region: &str, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, n)| ((*name).to_owned(), *n))
        .collect();
    until("the region to hear of it", async || {
        (heard(root, region).await.as_ref() == Some(&expected)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fogs_hear_who_is_in_and_that_they_are_out() {
    let mut root = Root::new();
    root.add("fog-north", 1, "fog", "north");
    root.nats.start();
    root.start();
    root.logged(&["serving"]).await;
    hears(&root, "north", &[("+fog-north", 1)]).await;
    root.add("edge-01", 2, "device", "north");
    root.add("edge-01", 3, "device", "north");
    root.add("fog-south", 4, "fog", "south");
    hears(&root, "north", &[("+fog-north", 1), ("+edge-01", 3)]).await;
    hears(&root, "south", &[("+fog-south", 4)]).await;
    root.run(&["roster", "remove", "fog-north"]);
    hears(&root, "north", &[("+edge-01", 3), ("-fog-north", 5)]).await;

    // What fell out of the stream is there again when a job begins.
    let nats = root.nats.connect().await;
    nats.purge(Stream::Down, "fl.down.south.roster", None)
        .await
        .unwrap();
    assert_eq!(heard(&root, "south").await, None);
    root.import_model();
    root.run(&["job", "submit", &root.job("first", &[])]);
    hears(&root, "south", &[("+fog-south", 4)]).await;

    // The end of a job is told to the region that has no fog any more, too.
    root.run(&["job", "stop", "first"]);
    for region in ["north", "south"] {
        let subject = format!("fl.down.{region}.plan.first");
        let cleared = async || {
            let last = nats.last(Stream::Down, &subject).await.unwrap();
            last.filter(|message| message.payload.is_empty())
        };
        until("the plan to be taken back", cleared).await;
    }
}
