//! What the tests of the MQTT session and of the embedded broker share.

use std::path::Path;
use std::time::Duration;

use fl_model::RegionId;
use fl_runtime::broker::{Broker, BrokerSettings};
use fl_runtime::mqtt::{
    Event, Events, Message, MqttServer, MqttSettings, Presence, Session, SessionOptions, open,
};

/// How long anything may take before a test gives up, in seconds.
pub(crate) const PATIENCE_S: u64 = 60;

pub(crate) fn region() -> RegionId {
    RegionId::new("north").expect("a region's name")
}

/// A broker on a free loopback port.
pub(crate) async fn broker() -> Broker {
    let settings = BrokerSettings {
        listen: "127.0.0.1:0".into(),
        ..BrokerSettings::default()
    };
    Broker::start(&settings, &region(), Path::new("."))
        .await
        .expect("a broker on a free port")
}

pub(crate) fn server(url: &str) -> MqttServer {
    MqttServer::new(&MqttSettings::at(url), Path::new(".")).expect("an address")
}

/// The session of a device, as an agent opens it.
pub(crate) fn device(server: MqttServer, name: &str) -> (Session, Events) {
    let own = format!("fl/1/north/d/{name}");
    let options = SessionOptions {
        client_id: name.into(),
        subscriptions: vec![format!("{own}/dn/#"), "fl/1/north/bcast/#".into()],
        presence: Some(Presence {
            topic: format!("{own}/presence"),
            online: b"online".to_vec(),
            offline: b"offline".to_vec(),
        }),
    };
    open(server, options)
}

/// The session of the fog that carries `broker`.
pub(crate) async fn fog(broker: &Broker) -> (Session, Events) {
    let options = SessionOptions {
        client_id: broker.own_client_id().into(),
        subscriptions: vec![
            "fl/1/north/d/+/up/#".into(),
            "fl/1/north/d/+/presence".into(),
        ],
        presence: None,
    };
    let (session, mut events) = open(broker.own_server(), options);
    connected(&mut events).await;
    (session, events)
}

pub(crate) async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(Duration::from_secs(PATIENCE_S), events.next())
        .await
        .expect("nothing happened")
        .expect("the session has ended")
}

pub(crate) async fn connected(events: &mut Events) {
    while !matches!(next(events).await, Event::Connected) {}
}

pub(crate) async fn disconnected(events: &mut Events) -> String {
    loop {
        if let Event::Disconnected { why } = next(events).await {
            return why;
        }
    }
}

/// The next message on `topic`; others are passed over.
pub(crate) async fn message(events: &mut Events, topic: &str) -> Message {
    loop {
        if let Event::Message(message) = next(events).await
            && message.topic == topic
        {
            return message;
        }
    }
}
