//! What a session does when its link is bad.

use std::collections::BTreeMap;

use fl_runtime::mqtt::{Event, MqttServer, MqttSettings, NotDelivered};

use crate::common::{broker, connected, device, disconnected, fog, message, next};
use crate::link::Link;

fn through(link: &Link, keep_alive_s: u16) -> MqttServer {
    let settings = MqttSettings {
        keep_alive_s,
        ..MqttSettings::at(format!("mqtt://{}", link.address))
    };
    MqttServer::new(&settings, ".".as_ref()).expect("settings")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_a_link_that_is_cut_again_and_again() {
    const MESSAGES: usize = 200;
    let broker = broker().await;
    let (_fog, mut fog_events) = fog(&broker).await;
    let link = Link::to(broker.address(), 300_000).await;
    let (session, mut events) = device(through(&link, 15), "edge-01");
    let ignoring = tokio::spawn(async move { while events.next().await.is_some() {} });

    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let topic = format!("fl/1/north/d/edge-01/up/chunk/{number}");
            loop {
                match session
                    .publish(&topic, vec![number as u8; 10_000], false, vec![])
                    .await
                {
                    Ok(()) => break,
                    Err(error @ (NotDelivered::Refused { .. } | NotDelivered::TooLarge { .. })) => {
                        panic!("{error}")
                    }
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                }
            }
        }
        session
    });
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while seen.len() < MESSAGES {
        if let Event::Message(message) = next(&mut fog_events).await
            && message.topic.contains("/up/chunk/")
        {
            *seen.entry(message.topic).or_default() += 1;
        }
    }
    let session = sending.await.unwrap();
    assert!(link.cuts() >= 5, "the link was cut {} times", link.cuts());
    session.close().await;
    ignoring.await.unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_link_is_noticed_on_both_sides_and_left() {
    let broker = broker().await;
    let (_fog, mut fog_events) = fog(&broker).await;
    let link = Link::to(broker.address(), u64::MAX).await;
    let (session, mut events) = device(through(&link, 2), "edge-01");
    connected(&mut events).await;
    let presence = "fl/1/north/d/edge-01/presence";
    assert_eq!(message(&mut fog_events, presence).await.payload, "online");

    link.freeze(true);
    let waiting = tokio::spawn({
        let session = session.clone();
        async move {
            session
                .publish("fl/1/north/d/edge-01/up/beat", "x", false, vec![])
                .await
        }
    });
    disconnected(&mut events).await;
    waiting.await.unwrap().unwrap_err();
    assert_eq!(message(&mut fog_events, presence).await.payload, "offline");

    link.freeze(false);
    connected(&mut events).await;
    assert_eq!(message(&mut fog_events, presence).await.payload, "online");
    session
        .publish("fl/1/north/d/edge-01/up/beat", "x", false, vec![])
        .await
        .unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_holds_up_only_itself() {
    let broker = broker().await;
    let (fog, _fog_events) = fog(&broker).await;
    let server = through(&Link::to(broker.address(), u64::MAX).await, 2);
    let (stalled, mut stalled_events) = device(server.clone(), "edge-01");
    let (_other, mut other_events) = device(server, "edge-02");
    connected(&mut stalled_events).await;
    connected(&mut other_events).await;
    // More than the session holds, and longer than it may be silent.
    for number in 0..200 {
        let topic = format!("fl/1/north/bcast/object/o/{number}");
        fog.publish(&topic, vec![1; 50_000], false, vec![])
            .await
            .unwrap();
        message(&mut other_events, &topic).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert!(
        stalled.is_connected(),
        "signs of life do not wait for the reader"
    );
    stalled
        .publish("fl/1/north/d/edge-01/up/beat", "x", false, vec![])
        .await
        .unwrap();
    for number in 0..200 {
        message(
            &mut stalled_events,
            &format!("fl/1/north/bcast/object/o/{number}"),
        )
        .await;
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_another_way_ends_online() {
    let broker = broker().await;
    let (_fog, mut fog_events) = fog(&broker).await;
    let presence = "fl/1/north/d/edge-01/presence";
    for _ in 0..3 {
        let link = Link::to(broker.address(), u64::MAX).await;
        let (_old, mut old_events) = device(through(&link, 15), "edge-01");
        connected(&mut old_events).await;
        assert_eq!(message(&mut fog_events, presence).await.payload, "online");
        link.freeze(true);
        let direct = format!("mqtt://{}", broker.address());
        let (new, mut new_events) = device(crate::common::server(&direct), "edge-01");
        connected(&mut new_events).await;
        // The will of the old one may come after the new one has said that it is there.
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.push(message(&mut fog_events, presence).await.payload);
        }
        seen[..2].sort();
        assert_eq!(seen, ["offline", "online", "online"]);
        new.close().await;
        assert_eq!(message(&mut fog_events, presence).await.payload, "offline");
    }
    broker.stop().await;
}
