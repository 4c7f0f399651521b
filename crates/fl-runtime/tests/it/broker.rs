//! Our client against our embedded broker, on loopback.

use std::path::Path;
use std::time::Duration;

use crate::common::{
    PATIENCE_S, broker, connected, device, disconnected, fog, message, region, server,
};
use fl_runtime::broker::{Broker, BrokerError, BrokerSettings};
use fl_runtime::mqtt::{Event, NotDelivered, PAYLOAD_BYTES_MAX, SessionOptions, open, probe};

fn url(broker: &Broker) -> String {
    format!("mqtt://{}", broker.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_size_go_both_ways() {
    let broker = broker().await;
    let (fog, mut fog_events) = fog(&broker).await;
    let (device, mut device_events) = device(server(&url(&broker)), "edge-01");
    connected(&mut device_events).await;

    for bytes in [0, 1, 1_000, 20_000, PAYLOAD_BYTES_MAX] {
        let payload: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        let properties = vec![("traceparent".to_owned(), "00-ab-cd-01".to_owned())];
        let up = "fl/1/north/d/edge-01/up/contribution";
        device
            .publish(up, payload.clone(), false, properties.clone())
            .await
            .unwrap();
        let got = message(&mut fog_events, up).await;
        assert_eq!(got.payload, payload);
        assert!(got.user_properties.contains(&properties[0]));

        let down = "fl/1/north/d/edge-01/dn/receipt";
        fog.publish(down, payload.clone(), false, Vec::new())
            .await
            .unwrap();
        assert_eq!(message(&mut device_events, down).await.payload, payload);
    }
    let too_large = device
        .publish(
            "fl/1/north/d/edge-01/up/contribution",
            vec![0; PAYLOAD_BYTES_MAX + 1],
            false,
            vec![],
        )
        .await;
    assert!(matches!(too_large, Err(NotDelivered::TooLarge { .. })));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunks_arrive_whole_and_in_order_at_a_slow_reader() {
    let broker = broker().await;
    let (fog, _fog_events) = fog(&broker).await;
    let (_device, mut device_events) = device(server(&url(&broker)), "edge-01");
    connected(&mut device_events).await;
    const CHUNKS: usize = 300;
    let sending = tokio::spawn(async move {
        for n in 0..CHUNKS {
            let topic = format!("fl/1/north/bcast/object/abc/{n}");
            fog.publish(&topic, vec![n as u8; 100_000], false, vec![])
                .await
                .unwrap();
        }
    });
    sending.await.unwrap();
    for n in 0..CHUNKS {
        let got = message(
            &mut device_events,
            &format!("fl/1/north/bcast/object/abc/{n}"),
        )
        .await;
        assert_eq!(got.payload.len(), 100_000);
        assert!(got.payload.iter().all(|&byte| byte == n as u8));
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_cannot_act_outside_its_own_topics() {
    let broker = broker().await;
    let (_fog, mut fog_events) = fog(&broker).await;
    let (device, mut events) = device(server(&url(&broker)), "edge-01");
    connected(&mut events).await;
    for topic in [
        "fl/1/north/d/edge-02/up/contribution",
        "fl/1/north/d/edge-01/dn/receipt",
        "fl/1/north/bcast/plan/job",
        "fl/1/south/d/edge-01/up/hello",
        "elsewhere",
    ] {
        let refused = device.publish(topic, "x", false, vec![]).await.unwrap_err();
        assert!(
            matches!(refused, NotDelivered::Refused { .. }),
            "{topic}: {refused}"
        );
        assert!(refused.to_string().contains(topic), "{refused}");
    }
    device
        .publish("fl/1/north/d/edge-01/up/hello", "in", false, vec![])
        .await
        .unwrap();
    let first = loop {
        match crate::common::next(&mut fog_events).await {
            Event::Message(message) if !message.topic.ends_with("/presence") => break message,
            _ => {}
        }
    };
    assert_eq!(first.payload, "in", "nothing refused was passed on");

    let (_spy, mut spied) = open(
        server(&url(&broker)),
        SessionOptions {
            client_id: "edge-02".into(),
            subscriptions: vec!["fl/1/north/d/edge-01/dn/#".into()],
            presence: None,
        },
    );
    tokio::select! {
        event = spied.next() => panic!("the broker let a spy in: {event:?}"),
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_users_come_in() {
    let broker = broker().await;
    let refused = |user: &str, password: &str, id: &str| {
        let url = format!("mqtt://{user}:{password}@{}", broker.address());
        let id = id.to_owned();
        async move {
            let result = probe(&server(&url), &id).await;
            result.expect_err("the broker let somebody in")
        }
    };
    let message = refused("_fog", "guess", "_fog").await;
    assert!(message.contains("user"), "{message}");
    refused("_fog", "", "_fog.2").await;
    refused("a.b", "", "a.b").await;
    refused("edge%2F01", "", "edge%2F01").await;
    let message = refused("edge-01", "", "edge-02").await;
    assert!(message.contains("edge-02"), "{message}");
    probe(&server(&url(&broker)), "edge-01").await.unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_will_comes_at_once_when_a_client_dies() {
    let broker = broker().await;
    let (_fog, mut fog_events) = fog(&broker).await;
    let presence = "fl/1/north/d/edge-01/presence";
    let url = url(&broker);
    // A runtime of its own ends as a killed process does: sockets close and nothing is said.
    let (ready, is_ready) = std::sync::mpsc::channel();
    let doomed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (session, mut events) = device(server(&url), "edge-01");
            connected(&mut events).await;
            std::mem::forget(session);
            ready.send(()).unwrap();
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(move || is_ready.recv_timeout(Duration::from_secs(PATIENCE_S)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message(&mut fog_events, presence).await.payload, "online");
    tokio::task::spawn_blocking(move || doomed.join().unwrap())
        .await
        .unwrap();
    assert_eq!(message(&mut fog_events, presence).await.payload, "offline");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_and_plans_are_kept_for_late_comers() {
    let broker = broker().await;
    let (leaving, mut leaving_events) = device(server(&url(&broker)), "edge-02");
    let (_staying, mut staying_events) = device(server(&url(&broker)), "edge-01");
    connected(&mut leaving_events).await;
    connected(&mut staying_events).await;
    leaving.close().await;
    assert!(leaving_events.next().await.is_none());

    let (fog, mut fog_events) = fog_late(&broker).await;
    let mut seen = std::collections::BTreeMap::new();
    while seen.len() < 2 {
        if let Event::Message(message) = crate::common::next(&mut fog_events).await {
            assert!(message.retain);
            seen.insert(message.topic, message.payload);
        }
    }
    assert_eq!(seen["fl/1/north/d/edge-01/presence"], "online");
    assert_eq!(seen["fl/1/north/d/edge-02/presence"], "offline");

    let plan = "fl/1/north/bcast/plan/job";
    fog.publish(plan, "the plan", true, vec![]).await.unwrap();
    let (_late, mut late_events) = device(server(&url(&broker)), "edge-03");
    assert_eq!(message(&mut late_events, plan).await.payload, "the plan");
    fog.publish(plan, "", true, vec![]).await.unwrap();
    assert_eq!(message(&mut late_events, plan).await.payload, "");
    let (_later, mut later_events) = device(server(&url(&broker)), "edge-04");
    connected(&mut later_events).await;
    fog.publish("fl/1/north/bcast/fog", "after", false, vec![])
        .await
        .unwrap();
    let first = loop {
        if let Event::Message(message) = crate::common::next(&mut later_events).await {
            break message;
        }
    };
    assert_eq!(first.payload, "after", "a cleared plan is not kept");
    broker.stop().await;
}

/// Like [`fog`], without passing over what comes before the subscription is confirmed.
async fn fog_late(broker: &Broker) -> (fl_runtime::mqtt::Session, fl_runtime::mqtt::Events) {
    let options = SessionOptions {
        client_id: broker.own_client_id().into(),
        subscriptions: vec!["fl/1/north/d/+/presence".into()],
        presence: None,
    };
    let (session, events) = open(broker.own_server(), options);
    while !session.is_connected() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (session, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_its_broker() {
    let first = broker().await;
    let address = first.address();
    let (session, mut events) = device(server(&format!("mqtt://{address}")), "edge-01");
    connected(&mut events).await;
    first.stop().await;
    let why = disconnected(&mut events).await;
    assert!(!why.is_empty());
    let hello = "fl/1/north/d/edge-01/up/hello";
    let lost = session.publish(hello, "x", false, vec![]).await;
    assert_eq!(lost, Err(NotDelivered::NotConnected));

    let settings = BrokerSettings {
        listen: address.to_string(),
        ..BrokerSettings::default()
    };
    let second = Broker::start(&settings, &region(), Path::new("."))
        .await
        .unwrap();
    let (_fog, mut fog_events) = fog(&second).await;
    connected(&mut events).await;
    session
        .publish(hello, "again", false, vec![])
        .await
        .unwrap();
    assert_eq!(message(&mut fog_events, hello).await.payload, "again");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_of_one_name_is_noticed() {
    let broker = broker().await;
    let (_first, mut first_events) = device(server(&url(&broker)), "edge-01");
    connected(&mut first_events).await;
    let (second, mut second_events) = device(server(&url(&broker)), "edge-01");
    connected(&mut second_events).await;
    let why = disconnected(&mut first_events).await;
    assert!(
        why.contains("edge-01") && why.contains("second process"),
        "{why}"
    );
    drop(second);
    broker.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = BrokerSettings {
        listen: address.to_string(),
        ..BrokerSettings::default()
    };
    let error = Broker::start(&settings, &region(), Path::new("."))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, BrokerError::PortInUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&address.port().to_string()), "{message}");
    assert!(message.contains("embedded_broker.listen"), "{message}");
}

#[tokio::test]
async fn a_wrong_address_says_what_to_check() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("mqtt://{}", closed.local_addr().unwrap());
    drop(closed);
    let message = probe(&server(&nobody), "edge-01").await.unwrap_err();
    assert!(
        message.contains(&nobody) && message.contains("port"),
        "{message}"
    );
    let message = probe(&server("mqtt://no-such-host.invalid"), "edge-01")
        .await
        .unwrap_err();
    assert!(
        message.contains("no-such-host.invalid") && message.contains("resolved"),
        "{message}"
    );
}
