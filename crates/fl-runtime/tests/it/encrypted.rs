//! Both buses over TLS, with certificates made here.

use fl_runtime::broker::{Broker, BrokerSettings, hash_password};
use fl_runtime::mqtt::{MqttServer, MqttSettings, NotDelivered, probe};
use fl_runtime::nats::{Nats, NatsError, NatsServer, NatsSettings};
use fl_runtime::settings::Secret;
use fl_runtime::testing::NatsProcess;

use crate::common::{connected, device, fog, message, region};
use fl_runtime::testing::Authority;

const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

fn broker_settings() -> BrokerSettings {
    BrokerSettings {
        listen: "127.0.0.1:0".into(),
        cert_file: Some("broker.pem".into()),
        key_file: Some("broker.key".into()),
        ..BrokerSettings::default()
    }
}

async fn start(authority: &Authority, settings: &BrokerSettings) -> Broker {
    authority.issue("broker", &HOSTS);
    Broker::start(settings, &region(), authority.folder())
        .await
        .expect("a broker with TLS")
}

fn client(
    authority: &Authority,
    broker: &Broker,
    change: impl FnOnce(&mut MqttSettings),
) -> MqttServer {
    let mut settings = MqttSettings::at(format!("mqtts://{}", broker.address()));
    settings.ca_file = Some("ca.pem".into());
    change(&mut settings);
    MqttServer::new(&settings, authority.folder()).expect("settings")
}

fn with_certificate(settings: &mut MqttSettings, name: &str) {
    settings.cert_file = Some(format!("{name}.pem").into());
    settings.key_file = Some(format!("{name}.key").into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_known_by_its_certificate() {
    let authority = Authority::new();
    let settings = BrokerSettings {
        client_ca_file: Some("ca.pem".into()),
        ..broker_settings()
    };
    let broker = start(&authority, &settings).await;
    authority.issue("edge-01", &["edge-01"]);
    let server = client(&authority, &broker, |s| with_certificate(s, "edge-01"));

    let (_fog, mut fog_events) = fog(&broker).await;
    let (session, mut events) = device(server.clone(), "edge-01");
    connected(&mut events).await;
    let up = "fl/1/north/d/edge-01/up/contribution";
    session
        .publish(up, vec![5; 128 * 1024], false, vec![])
        .await
        .unwrap();
    assert_eq!(message(&mut fog_events, up).await.payload.len(), 128 * 1024);
    let refused = session
        .publish("fl/1/north/d/edge-02/up/x", "x", false, vec![])
        .await;
    assert!(matches!(refused, Err(NotDelivered::Refused { .. })));

    let impostor = probe(&server, "edge-02").await.unwrap_err();
    assert!(impostor.contains("user"), "{impostor}");
    let nobody = probe(&client(&authority, &broker, |_| {}), "edge-01")
        .await
        .unwrap_err();
    assert!(nobody.contains("broker.cert_file"), "{nobody}");
    let strangers = Authority::new();
    strangers.issue("edge-01", &["edge-01"]);
    let stranger = client(&authority, &broker, |s| {
        s.cert_file = Some(strangers.path("edge-01.pem"));
        s.key_file = Some(strangers.path("edge-01.key"));
    });
    let stranger = probe(&stranger, "edge-01").await.unwrap_err();
    assert!(stranger.contains("cert_file"), "{stranger}");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_known_by_its_password() {
    let authority = Authority::new();
    let line = format!("edge-01:{}\n", hash_password("right").unwrap());
    std::fs::write(authority.path("passwords"), line).unwrap();
    let settings = BrokerSettings {
        password_file: Some("passwords".into()),
        client_ca_file: Some("ca.pem".into()),
        ..broker_settings()
    };
    let broker = start(&authority, &settings).await;
    authority.issue("edge-02", &["edge-02"]);
    let with_password = |password: &str| {
        client(&authority, &broker, |s| {
            s.password = Some(Secret::new(password))
        })
    };
    probe(&with_password("right"), "edge-01").await.unwrap();
    for (password, name) in [("wrong", "edge-01"), ("", "edge-01"), ("right", "edge-02")] {
        let refused = probe(&with_password(password), name).await.unwrap_err();
        assert!(refused.contains("broker.password"), "{refused}");
    }
    let certified = client(&authority, &broker, |s| with_certificate(s, "edge-02"));
    probe(&certified, "edge-02").await.unwrap();
    probe(&certified, "edge-01").await.unwrap_err();
    let (_fog, _events) = fog(&broker).await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_about_tls_is_named() {
    let authority = Authority::new();
    let broker = start(&authority, &broker_settings()).await;
    probe(&client(&authority, &broker, |_| {}), "edge-01")
        .await
        .unwrap();

    let others = Authority::new();
    let ca = others.path("ca.pem");
    let untrusted = client(&authority, &broker, |s| s.ca_file = Some(ca));
    let untrusted = probe(&untrusted, "edge-01").await.unwrap_err();
    assert!(untrusted.contains("broker.ca_file"), "{untrusted}");

    let plain = MqttSettings::at(format!("mqtt://{}", broker.address()));
    let plain = MqttServer::new(&plain, authority.folder()).unwrap();
    let plain = probe(&plain, "edge-01").await.unwrap_err();
    assert!(plain.contains("mqtts://"), "{plain}");

    let other_name = Authority::new();
    other_name.issue("broker", &["elsewhere"]);
    let misnamed = Broker::start(&broker_settings(), &region(), other_name.folder())
        .await
        .unwrap();
    let wrong_name = probe(&client(&other_name, &misnamed, |_| {}), "edge-01")
        .await
        .unwrap_err();
    assert!(wrong_name.contains("another name"), "{wrong_name}");

    let unencrypted = crate::common::broker().await;
    let no_tls = client(&authority, &unencrypted, |_| {});
    let no_tls = probe(&no_tls, "edge-01").await.unwrap_err();
    assert!(no_tls.contains("mqtt"), "{no_tls}");

    let missing = BrokerSettings {
        key_file: Some("none.key".into()),
        ..broker_settings()
    };
    let error = Broker::start(&missing, &region(), authority.folder())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("none.key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_speaks_tls_with_client_certificates() {
    let authority = Authority::new();
    authority.issue("server", &HOSTS);
    authority.issue("root", &["root"]);
    let path = |name: &str| authority.path(name).display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    );
    let server = NatsProcess::running(&tls);
    let connect = |change: fn(&mut NatsSettings)| {
        let mut settings = NatsSettings::at(format!("tls://localhost:{}", server.port()));
        settings.ca_file = Some("ca.pem".into());
        settings.cert_file = Some("root.pem".into());
        settings.key_file = Some("root.key".into());
        change(&mut settings);
        let server = NatsServer::new(&settings, authority.folder()).unwrap();
        async move { Nats::connect_once(&server, "test").await }
    };
    // The server may still be starting.
    let started = std::time::Instant::now();
    while let Err(error) = connect(|_| {}).await {
        assert!(
            started.elapsed().as_secs() < crate::common::PATIENCE_S,
            "{error}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let away = |result: Result<Nats, NatsError>| result.err().expect("a refusal").to_string();
    let uncertified = away(
        connect(|s| {
            s.cert_file = None;
            s.key_file = None;
        })
        .await,
    );
    assert!(uncertified.contains("nats.cert_file"), "{uncertified}");
    let wrong_name = away(connect(|s| s.url = s.url.replace("localhost", "[::1]")).await);
    assert!(
        wrong_name.contains("nats.url") || wrong_name.contains("nothing listens"),
        "{wrong_name}"
    );
    let others = Authority::new();
    std::fs::copy(others.path("ca.pem"), authority.path("others.pem")).unwrap();
    let untrusted = away(connect(|s| s.ca_file = Some("others.pem".into())).await);
    assert!(untrusted.contains("nats.ca_file"), "{untrusted}");
    let plain = away(
        connect(|s| {
            *s = NatsSettings::at(s.url.replace("tls://", "nats://"));
        })
        .await,
    );
    assert!(plain.contains("tls"), "{plain}");
}
