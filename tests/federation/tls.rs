//! A federation whose buses are both encrypted: client certificates at the fog's broker, user and
//! password at the bus.

use std::fs;

use fl_runtime::testing::Authority;
use tributary_tests::{Stage, assert_traces_are_clean, hospitals, hospitals_job};
use xtask::demo::{CLOUD_ROOT, NATS_SERVER, agent_name, fog_name, set_in_file};

const ROUNDS: u32 = 2;
/// Every server listens on loopback.
const HOST: &str = "127.0.0.1";
const USER: &str = "federation";
const PASSWORD: &str = "not for the wire";

#[test]
fn rounds_finish_over_tls_with_certificates_and_passwords() {
    let authority = Authority::new();
    let mut regions = hospitals();
    regions.retain(|region| region.id.as_str() == "us");
    let mut stage = Stage::set(hospitals_job(ROUNDS, 2), regions, None);
    secure_bus(&mut stage, &authority);
    secure_broker(&stage, &authority);
    let course = stage.run(|_, _| {});
    let logs = ["agent-cleveland", "fog-us", CLOUD_ROOT]
        .map(|name| fs::read_to_string(stage.federation.fleet.log_path(name)).expect("a log"));
    stage.end();

    assert_eq!(course.trained(), ROUNDS);
    for round in course.rounds() {
        assert_eq!(round.participants, 2, "{round:?}");
        assert!(round.missing.is_empty(), "{round:?}");
    }
    for (log, address) in logs.iter().zip(["mqtts://", "tls://", "tls://"]) {
        assert!(log.contains(&format!(" at {address}{HOST}:")), "{log}");
        assert!(!log.contains(PASSWORD), "a password is in a log");
    }
    assert_traces_are_clean(&course, &stage.kept_spans());
}

/// nats-server with a certificate and one user; root and fog know both.
fn secure_bus(stage: &mut Stage, authority: &Authority) {
    authority.issue(NATS_SERVER, &[HOST]);
    let (cert, key) = (
        file(authority, NATS_SERVER, "pem"),
        file(authority, NATS_SERVER, "key"),
    );
    let federation = &mut stage.federation;
    federation.add_nats_settings(&format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?} }}\n\
         authorization {{ user: {USER}, password: {PASSWORD:?} }}\n"
    ));
    let url = federation.nats_url().replace("nats://", "tls://");
    let fog = fog_name(&federation.regions()[0]);
    for (name, settings) in [
        (CLOUD_ROOT, "cloud-root.toml"),
        (&fog, "fog-aggregator.toml"),
    ] {
        let changes = [
            ("nats.url", url.clone().into()),
            ("nats.ca_file", file(authority, "ca", "pem").into()),
            ("nats.user", USER.into()),
            ("nats.password", PASSWORD.into()),
        ];
        set_in_file(&federation.home(name).join(settings), changes).expect("settings");
    }
}

/// The fog's embedded broker with a certificate of its own, which lets in whom the authority knows.
fn secure_broker(stage: &Stage, authority: &Authority) {
    let federation = &stage.federation;
    let region = &federation.regions()[0];
    let fog = fog_name(region);
    authority.issue(&fog, &[HOST]);
    let changes = [
        (
            "embedded_broker.cert_file",
            file(authority, &fog, "pem").into(),
        ),
        (
            "embedded_broker.key_file",
            file(authority, &fog, "key").into(),
        ),
        (
            "embedded_broker.client_ca_file",
            file(authority, "ca", "pem").into(),
        ),
    ];
    set_in_file(&federation.home(&fog).join("fog-aggregator.toml"), changes).expect("settings");
    for device in &region.devices {
        let name = device.id.as_str();
        authority.issue(name, &[name]);
        let settings = federation.home(&agent_name(name)).join("edge-agent.toml");
        let text = fs::read_to_string(&settings).expect("settings");
        assert!(text.contains("mqtt://"), "{text}");
        fs::write(&settings, text.replace("\"mqtt://", "\"mqtts://")).expect("settings");
        let changes = [
            ("broker.ca_file", file(authority, "ca", "pem").into()),
            ("broker.cert_file", file(authority, name, "pem").into()),
            ("broker.key_file", file(authority, name, "key").into()),
        ];
        set_in_file(&settings, changes).expect("settings");
    }
}

/// The path of what the authority has issued, as it stands in a settings file.
fn file(authority: &Authority, name: &str, ending: &str) -> String {
    let path = authority.path(&format!("{name}.{ending}"));
    path.display().to_string()
}
