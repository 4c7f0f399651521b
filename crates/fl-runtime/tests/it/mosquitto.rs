//! Our client against Mosquitto, and Mosquitto's client against our broker.
//!
//! Mosquitto is a package of the system, which the project cannot fetch without root: where it is
//! missing these tests say that they did not run.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fl_runtime::mqtt::{NotDelivered, PAYLOAD_BYTES_MAX, SessionOptions, open};

use crate::common::{broker, connected, device, disconnected, fog, message, server};

/// Where Debian puts the server, which is not on every user's PATH.
const SYSTEM_FOLDER: &str = "/usr/sbin";

struct Mosquitto {
    folder: tempfile::TempDir,
    port: u16,
    binary: PathBuf,
    child: Option<Child>,
}

impl Mosquitto {
    fn new(binary: PathBuf) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut mosquitto = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: free.local_addr().expect("its address").port(),
            binary,
            child: None,
        };
        drop(free);
        mosquitto.start();
        mosquitto
    }

    fn start(&mut self) {
        let acl = self.folder.path().join("acl");
        std::fs::write(
            &acl,
            "user _fog\ntopic readwrite fl/1/north/#\n\
             pattern write fl/1/north/d/%u/up/#\npattern write fl/1/north/d/%u/presence\n\
             pattern read fl/1/north/d/%u/dn/#\npattern read fl/1/north/bcast/#\n",
        )
        .expect("a file");
        let config = self.folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nacl_file {}\nmax_packet_size 1000000\n",
            self.port,
            acl.display()
        );
        std::fs::write(&config, text).expect("a file");
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("mosquitto starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it was running");
            child.wait().expect("it ends");
        }
    }

    fn url(&self, user: &str) -> String {
        format!("mqtt://{user}@127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `MOSQUITTO` names the server; its clients lie beside it or on PATH.
fn find(program: &str) -> Option<PathBuf> {
    let named = std::env::var_os("MOSQUITTO").map(PathBuf::from);
    if program == "mosquitto" && named.is_some() {
        return named;
    }
    let beside = named.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain([PathBuf::from(SYSTEM_FOLDER)])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        // Past the test harness, which would swallow it: nobody shall take this for a pass.
        let line = format!(
            "NOT RUN: no {program} here: install mosquitto and mosquitto-clients, or set MOSQUITTO\n"
        );
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_does_with_mosquitto_what_it_does_with_our_broker() {
    let Some(binary) = find("mosquitto") else {
        return;
    };
    let mut mosquitto = Mosquitto::new(binary);
    let options = SessionOptions {
        client_id: "fog".into(),
        subscriptions: vec![
            "fl/1/north/d/+/up/#".into(),
            "fl/1/north/d/+/presence".into(),
        ],
        presence: None,
    };
    let (fog, mut fog_events) = open(server(&mosquitto.url("_fog")), options);
    connected(&mut fog_events).await;
    let (device, mut device_events) = device(server(&mosquitto.url("edge-01")), "edge-01");
    connected(&mut device_events).await;
    let presence = "fl/1/north/d/edge-01/presence";
    assert_eq!(message(&mut fog_events, presence).await.payload, "online");

    let up = "fl/1/north/d/edge-01/up/contribution";
    let property = ("traceparent".to_owned(), "00-ab-cd-01".to_owned());
    device
        .publish(
            up,
            vec![3; PAYLOAD_BYTES_MAX],
            false,
            vec![property.clone()],
        )
        .await
        .unwrap();
    let got = message(&mut fog_events, up).await;
    assert_eq!(got.payload.len(), PAYLOAD_BYTES_MAX);
    assert_eq!(got.user_properties, [property]);
    let refused = device
        .publish("fl/1/north/bcast/plan/job", "x", false, vec![])
        .await;
    assert!(
        matches!(refused, Err(NotDelivered::Refused { .. })),
        "{refused:?}"
    );
    for number in 0..150 {
        let topic = format!("fl/1/north/bcast/object/o/{number}");
        fog.publish(&topic, vec![number as u8; 50_000], false, vec![])
            .await
            .unwrap();
    }
    for number in 0..150 {
        message(
            &mut device_events,
            &format!("fl/1/north/bcast/object/o/{number}"),
        )
        .await;
    }

    mosquitto.kill();
    disconnected(&mut device_events).await;
    mosquitto.start();
    connected(&mut device_events).await;
    connected(&mut fog_events).await;
    device.publish(up, "again", false, vec![]).await.unwrap();
    assert_eq!(message(&mut fog_events, up).await.payload, "again");
    device.close().await;
    assert_eq!(message(&mut fog_events, presence).await.payload, "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_client_speaks_to_our_broker() {
    let (Some(publish), Some(subscribe)) = (find("mosquitto_pub"), find("mosquitto_sub")) else {
        return;
    };
    let broker = broker().await;
    let (fog, mut fog_events) = fog(&broker).await;
    let port = broker.address().port().to_string();
    let common = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-q",
        "1",
        "-i",
        "edge-01",
        "-u",
        "edge-01",
    ];
    let run = |program: &Path, rest: &[&str]| {
        let mut command = tokio::process::Command::new(program);
        command.args(common).args(rest).kill_on_drop(true).output()
    };
    let up = "fl/1/north/d/edge-01/up/hello";
    for version in ["5", "311"] {
        let output = run(&publish, &["-V", version, "-t", up, "-m", version])
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(message(&mut fog_events, up).await.payload, version);
    }
    let elsewhere = ["-V", "5", "-t", "fl/1/north/d/edge-02/up/hello", "-m", "x"];
    let output = run(&publish, &elsewhere).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(said.contains("not authorized"), "{output:?}");

    let plan = "fl/1/north/bcast/plan/job";
    fog.publish(plan, "the plan", true, vec![]).await.unwrap();
    let output = run(&subscribe, &["-V", "5", "-t", plan, "-C", "1", "-W", "30"])
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "the plan",
        "{output:?}"
    );
    broker.stop().await;
}
