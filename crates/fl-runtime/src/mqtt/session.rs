//! One session at a time: connect, subscribe, announce, deliver; begin anew when anything breaks.
//!
//! Every connection is a fresh event loop with a clean start. Nothing is carried over: a publish is
//! acknowledged on the connection it was made on or reported as not delivered, and its caller sends it
//! again from its own outbox. Incoming messages are acknowledged when they are taken from [`Events`],
//! so a slow reader slows the broker down and no queue grows.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{
    AckMode, AsyncClient, ConnectReturnCode, EventLoop, Incoming, IncomingPacketSizeLimit,
    LastWill, ManualAck, MqttOptions, NetworkOptions, QoS, Transport,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::delivery::{Message, NotDelivered, announce_presence, message, publish, subscribe};
use super::explain::{Attempt, explain};
use super::{MqttServer, PACKET_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::backoff::Backoff;

/// Publishes that may wait for the broker's acknowledgement at once.
const IN_FLIGHT_MAX: usize = 4;

/// Messages that the broker may have sent and we have not yet taken.
const RECEIVE_MAX: u16 = 64;

/// Events that may wait to be taken: messages, and the connection's comings and goings.
const EVENTS_MAX: usize = RECEIVE_MAX as usize + 16;

/// Requests that may wait for the event loop: publishes, and an acknowledgement per message.
const REQUESTS_MAX: usize = 4 * RECEIVE_MAX as usize;

/// How long a connection may take, in seconds.
const CONNECT_S: u64 = 10;

/// How long an acknowledgement may stay out before the connection is given up, in seconds.
pub(super) const ACK_S: u64 = 30;

/// How long a session may take to say goodbye, in seconds.
const GOODBYE_S: u64 = 3;

/// Beyond twice the keep-alive interval, how long the event loop may be silent, in seconds.
const SILENCE_SLACK_S: u64 = 5;

/// How long after a connect our presence is published once more, in seconds: a broker may publish the
/// will of the connection that this one replaced after it has taken this one's word.
const PRESENCE_AGAIN_S: u64 = 2;

/// A connection that lasts this long was a good one, in seconds: after a shorter one the waits go on
/// growing, so that two clients of one name do not chase each other.
const STEADY_S: u64 = 10;

/// Between lines about a broker that stays away, in seconds.
const REMINDER_S: u64 = 30;

/// Who we are to the broker, and what we want of it.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Must be unique at the broker; also the user when the settings name none.
    pub client_id: String,
    /// Topic filters, subscribed at QoS 1 on every connect.
    pub subscriptions: Vec<String>,
    /// How others learn whether we are there.
    pub presence: Option<Presence>,
}

/// A retained message that says whether a client is there.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Where.
    pub topic: String,
    /// Published on every connect, and shortly after once more.
    pub online: Vec<u8>,
    /// Published by the broker when the connection breaks, and by us when we go.
    pub offline: Vec<u8>,
}

/// What happens to a session.
#[derive(Debug, Clone)]
pub enum Event {
    /// Connected and subscribed: send again whatever has no answer yet. Messages that the broker
    /// retained may come just before.
    Connected,
    /// The connection is gone; it is being made again.
    Disconnected {
        /// What happened and what to check.
        why: String,
    },
    /// A message came.
    Message(Message),
}

/// The sending side of a session; clones share it.
#[derive(Clone)]
pub struct Session {
    connection: watch::Receiver<Option<Connection>>,
    in_flight: Arc<Semaphore>,
    wedged: watch::Sender<u64>,
    closing: watch::Sender<bool>,
}

#[derive(Clone)]
struct Connection {
    client: AsyncClient,
    number: u64,
    since: Instant,
}

/// The receiving side of a session.
pub struct Events {
    events: mpsc::Receiver<(Event, Option<PendingAck>)>,
}

struct PendingAck {
    client: AsyncClient,
    ack: ManualAck,
}

impl Events {
    /// The next event; none after [`Session::close`] has done its work. May be dropped and called anew.
    pub async fn next(&mut self) -> Option<Event> {
        let (event, ack) = self.events.recv().await?;
        if let Some(PendingAck { client, ack }) = ack {
            // Fails only when that connection is gone, and its messages with it.
            let _ = client.try_manual_ack(ack);
        }
        Some(event)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("connected", &self.is_connected())
            .finish()
    }
}

impl Session {
    /// Publishes at QoS 1 and waits for the broker's acknowledgement, which says that the broker has it
    /// and nothing about anyone else.
    ///
    /// # Errors
    /// [`NotDelivered`], at once without a connection. Only [`NotDelivered::Refused`] and
    /// [`NotDelivered::TooLarge`] will happen again.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        retain: bool,
        user_properties: Vec<(String, String)>,
    ) -> Result<(), NotDelivered> {
        let payload = payload.into();
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(NotDelivered::TooLarge {
                topic: topic.to_owned(),
                bytes: payload.len(),
            });
        }
        let permit = self.in_flight.acquire().await;
        let _permit = permit.map_err(|_| NotDelivered::NotConnected)?;
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or(NotDelivered::NotConnected)?;
        let sent = publish(&connection.client, topic, payload, retain, user_properties);
        match timeout(Duration::from_secs(ACK_S), sent).await {
            Ok(result) => result,
            Err(_) => {
                self.wedged.send_replace(connection.number);
                Err(NotDelivered::NotAcknowledged)
            }
        }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Says goodbye, publishes that we are offline, and ends the session.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        // The task drops its end of the channel when it has ended.
        while self.connection.changed().await.is_ok() {}
    }
}

/// Opens a session, which connects by itself and again whenever the connection breaks, until it is
/// closed or every handle to it is dropped.
pub fn open(server: MqttServer, options: SessionOptions) -> (Session, Events) {
    if server.is_exposed() {
        tracing::warn!(
            "{} is another machine and not encrypted: all that is sent can be read on the way; use mqtts://",
            server.url
        );
    }
    let (events_in, events) = mpsc::channel(EVENTS_MAX);
    let (connection_in, connection) = watch::channel(None);
    let session = Session {
        connection,
        in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        wedged: watch::Sender::new(0),
        closing: watch::Sender::new(false),
    };
    let task = Task {
        server,
        options,
        events: events_in,
        connection: connection_in,
        wedged: session.wedged.subscribe(),
        closing: session.closing.subscribe(),
        connections: 0,
    };
    tokio::spawn(task.run());
    (session, Events { events })
}

/// Connects once and leaves again, to see whether it would work.
///
/// # Errors
/// What happened and what to check, naming the address.
pub async fn probe(server: &MqttServer, client_id: &str) -> Result<(), String> {
    let options = SessionOptions {
        client_id: client_id.to_owned(),
        subscriptions: Vec::new(),
        presence: None,
    };
    let (client, mut event_loop) = build(server, &options);
    let result = loop {
        match event_loop.poll().await {
            Ok(rumqttc::Event::Incoming(Incoming::ConnAck(_))) => break Ok(()),
            Ok(_) => {}
            Err(error) => {
                let attempt = Attempt {
                    tls: server.tls.is_some(),
                    accepted: false,
                    client_id,
                };
                let why = explain(&error, &attempt);
                break Err(format!("mqtt broker at {}: {why}", server.url));
            }
        }
    };
    if result.is_ok() && client.try_disconnect().is_ok() {
        let goodbye = async { while event_loop.poll().await.is_ok() {} };
        let _ = timeout(Duration::from_secs(GOODBYE_S), goodbye).await;
    }
    result
}

struct Task {
    server: MqttServer,
    options: SessionOptions,
    events: mpsc::Sender<(Event, Option<PendingAck>)>,
    connection: watch::Sender<Option<Connection>>,
    wedged: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    connections: u64,
}

enum End {
    Closed,
    Broken {
        why: String,
        connected_for: Option<Duration>,
    },
}

impl Task {
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut away = Away::default();
        loop {
            self.connections += 1;
            let end = self.drive(&mut away).await;
            self.connection.send_replace(None);
            let (why, connected_for) = match end {
                End::Closed => return,
                End::Broken { why, connected_for } => (why, connected_for),
            };
            away.tell(&self.server, &why);
            if connected_for.is_some_and(|lasted| lasted >= Duration::from_secs(STEADY_S)) {
                backoff.reset();
            }
            if connected_for.is_some() {
                let telling = self.events.send((Event::Disconnected { why }, None));
                tokio::select! {
                    result = telling => match result {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    () = told(&mut self.closing, |closing| *closing) => return,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = told(&mut self.closing, |closing| *closing) => return,
            }
        }
    }

    /// One connection, from its first attempt to its end.
    async fn drive(&mut self, away: &mut Away) -> End {
        let (client, mut event_loop) = build(&self.server, &self.options);
        let (accepted, on_accepted) = oneshot::channel();
        let polling = poll(
            &mut event_loop,
            &client,
            &self.events,
            accepted,
            &self.server,
            &self.options.client_id,
        );
        let connection = Connection {
            client: client.clone(),
            number: self.connections,
            since: Instant::now(),
        };
        let announcing = async {
            if on_accepted.await.is_err() {
                return std::future::pending().await;
            }
            let announced = async {
                subscribe(&client, &self.options).await?;
                announce_presence(&client, &self.options).await
            };
            if let Err(why) = announced.await {
                return why;
            }
            away.back(&self.server);
            self.connection.send_replace(Some(connection));
            let _ = self.events.send((Event::Connected, None)).await;
            tokio::time::sleep(Duration::from_secs(PRESENCE_AGAIN_S)).await;
            match announce_presence(&client, &self.options).await {
                Ok(()) => std::future::pending().await,
                Err(why) => why,
            }
        };
        let number = self.connections;
        // Closing comes first: with the last handle gone, the other channel has an end too.
        let why = tokio::select! {
            biased;
            () = told(&mut self.closing, |closing| *closing) => None,
            why = polling => Some(why),
            why = announcing => Some(why),
            () = told(&mut self.wedged, |wedged| *wedged == number) => {
                Some(format!("no acknowledgement within {ACK_S} s"))
            }
        };
        let Some(why) = why else {
            self.say_goodbye(&client, &mut event_loop).await;
            return End::Closed;
        };
        let connected_for = self.connection.borrow().as_ref().map(|c| c.since.elapsed());
        End::Broken { why, connected_for }
    }

    async fn say_goodbye(&self, client: &AsyncClient, event_loop: &mut EventLoop) {
        if self.connection.borrow().is_none() {
            return;
        }
        let goodbye = async {
            if let Some(presence) = &self.options.presence {
                let payload = presence.offline.clone().into();
                let _ = publish(client, &presence.topic, payload, true, Vec::new()).await;
            }
            let _ = client.try_disconnect();
            std::future::pending::<()>().await
        };
        let finishing = async { while event_loop.poll().await.is_ok() {} };
        tokio::select! {
            () = goodbye => {}
            () = finishing => {}
            () = tokio::time::sleep(Duration::from_secs(GOODBYE_S)) => {}
        }
    }
}

/// Until what is told satisfies `what`, or nobody is left to tell.
async fn told<T>(channel: &mut watch::Receiver<T>, what: impl FnMut(&T) -> bool) {
    let _ = channel.wait_for(what).await;
}

fn build(server: &MqttServer, options: &SessionOptions) -> (AsyncClient, EventLoop) {
    let address = (server.url.host.clone(), server.url.port);
    let mut mqtt = MqttOptions::new(options.client_id.clone(), address);
    mqtt.set_clean_start(true)
        .set_keep_alive(server.keep_alive_s)
        .set_connect_timeout(Duration::from_secs(CONNECT_S))
        .set_ack_mode(AckMode::Manual)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX as u16)
        .set_receive_maximum(Some(RECEIVE_MAX))
        .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Bytes(PACKET_BYTES_MAX));
    // Small messages go at once: with the other side's delayed acknowledgements each would wait.
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    let user = server.user.as_ref().unwrap_or(&options.client_id).clone();
    match &server.password {
        Some(password) => mqtt.set_credentials(user, password.expose().to_owned()),
        None => mqtt.set_username(user),
    };
    if let Some(tls) = &server.tls {
        let tls = rumqttc::TlsConfiguration::Rustls(tls.clone());
        mqtt.set_transport(Transport::tls_with_config(tls));
    }
    if let Some(presence) = &options.presence {
        let (topic, offline) = (presence.topic.clone(), presence.offline.clone());
        mqtt.set_last_will(LastWill::new(topic, offline, QoS::AtLeastOnce, true, None));
    }
    AsyncClient::builder(mqtt).capacity(REQUESTS_MAX).build()
}

/// Turns the event loop until it breaks; says why.
async fn poll(
    event_loop: &mut EventLoop,
    client: &AsyncClient,
    events: &mpsc::Sender<(Event, Option<PendingAck>)>,
    accepted: oneshot::Sender<()>,
    server: &MqttServer,
    client_id: &str,
) -> String {
    let mut accepted = Some(accepted);
    let silence = Duration::from_secs(2 * u64::from(server.keep_alive_s) + SILENCE_SLACK_S);
    loop {
        let event = match timeout(silence, event_loop.poll()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) => {
                let attempt = Attempt {
                    tls: server.tls.is_some(),
                    accepted: accepted.is_none(),
                    client_id,
                };
                return explain(&error, &attempt);
            }
            Err(_) => return format!("nothing moved for {} s", silence.as_secs()),
        };
        match event {
            rumqttc::Event::Incoming(Incoming::ConnAck(ack))
                if ack.code == ConnectReturnCode::Success =>
            {
                if let Some(accepted) = accepted.take() {
                    let _ = accepted.send(());
                }
            }
            rumqttc::Event::Incoming(Incoming::Publish(publish)) => {
                let ack = client.prepare_ack(&publish);
                let Some(message) = message(publish) else {
                    continue;
                };
                let ack = ack.map(|ack| PendingAck {
                    client: client.clone(),
                    ack,
                });
                if events.send((Event::Message(message), ack)).await.is_err() {
                    return "nobody listens any more".into();
                }
            }
            _ => {}
        }
    }
}

/// Keeps lines about a broker that is away few.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    told: Option<Instant>,
}

impl Away {
    fn tell(&mut self, server: &MqttServer, why: &str) {
        let now = Instant::now();
        self.since.get_or_insert(now);
        let due = self
            .told
            .is_none_or(|told| now - told >= Duration::from_secs(REMINDER_S));
        if due {
            self.told = Some(now);
            tracing::warn!("mqtt broker at {} is away, retrying: {why}", server.url);
        }
    }

    fn back(&mut self, server: &MqttServer) {
        match self.since.take() {
            Some(since) => tracing::info!(
                "connected to the mqtt broker at {} after {} s",
                server.url,
                since.elapsed().as_secs()
            ),
            None => tracing::info!("connected to the mqtt broker at {}", server.url),
        }
        self.told = None;
    }
}
