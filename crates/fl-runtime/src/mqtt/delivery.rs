//! Single messages: taken apart, sent and answered for.

use bytes::Bytes;
use rumqttc::{
    AsyncClient, PubAckReason, Publish, PublishNoticeError, PublishOptions, PublishProperties, QoS,
    SubscribeFilterInput,
};

use super::PAYLOAD_BYTES_MAX;
use super::session::{ACK_S, SessionOptions};

/// A message from the broker.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Whether the broker had kept it from before we subscribed.
    pub retain: bool,
    /// Its MQTT 5 user properties.
    pub user_properties: Vec<(String, String)>,
}

/// Why a publish cannot be relied on. It may still have arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// There is no connection.
    #[error("not connected to the broker: it is sent again after the next connect")]
    NotConnected,
    /// The connection broke before the acknowledgement.
    #[error("the connection to the broker broke before it acknowledged")]
    ConnectionLost,
    /// The broker answered nothing.
    #[error("the broker did not acknowledge within {ACK_S} s")]
    NotAcknowledged,
    /// The broker does not want it: sending it again does not help.
    #[error(
        "the broker refused a publish on {topic} ({reason}): check that this user may publish there"
    )]
    Refused {
        /// Where it was to go.
        topic: String,
        /// The broker's reason.
        reason: String,
    },
    /// Larger than any broker takes.
    #[error("a publish of {bytes} bytes on {topic} exceeds {PAYLOAD_BYTES_MAX}: send it in chunks")]
    TooLarge {
        /// Where it was to go.
        topic: String,
        /// Its size.
        bytes: usize,
    },
}

/// None when its topic is not text.
pub(super) fn message(publish: Publish) -> Option<Message> {
    let topic = String::from_utf8(publish.topic.into()).ok()?;
    Some(Message {
        topic,
        payload: publish.payload,
        retain: publish.retain,
        user_properties: publish
            .properties
            .map(|properties| properties.user_properties)
            .unwrap_or_default(),
    })
}

/// Subscribes to everything; says why it failed.
pub(super) async fn subscribe(
    client: &AsyncClient,
    options: &SessionOptions,
) -> Result<(), String> {
    for filter in &options.subscriptions {
        let input = SubscribeFilterInput::new(filter.clone(), QoS::AtLeastOnce);
        let refused = |why: String| {
            format!(
                "the broker refused the subscription to {filter} ({why}): check that this user may read there"
            )
        };
        let notice = client.subscribe_many_tracked([input]).await;
        let notice = notice.map_err(|error| refused(error.to_string()))?;
        let granted = notice.wait_completion_async().await;
        granted.map_err(|error| refused(error.to_string()))?;
    }
    Ok(())
}

/// Says that we are there; says why it failed.
pub(super) async fn announce_presence(
    client: &AsyncClient,
    options: &SessionOptions,
) -> Result<(), String> {
    if let Some(presence) = &options.presence {
        let payload = presence.online.clone().into();
        publish(client, &presence.topic, payload, true, Vec::new())
            .await
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Publishes at QoS 1 and waits for the acknowledgement, however long.
pub(super) async fn publish(
    client: &AsyncClient,
    topic: &str,
    payload: Bytes,
    retain: bool,
    user_properties: Vec<(String, String)>,
) -> Result<(), NotDelivered> {
    let properties = PublishProperties {
        user_properties,
        ..PublishProperties::default()
    };
    let options = PublishOptions::new(QoS::AtLeastOnce)
        .retain(retain)
        .properties(properties);
    let refused = |reason: String| NotDelivered::Refused {
        topic: topic.to_owned(),
        reason,
    };
    let notice = match client.publish_tracked(topic, payload, options).await {
        Ok(notice) => notice,
        Err(rumqttc::ClientError::InvalidRequest(_)) => return Err(refused("not a topic".into())),
        Err(_) => return Err(NotDelivered::ConnectionLost),
    };
    match notice.wait_completion_async().await {
        Ok(()) => Ok(()),
        Err(PublishNoticeError::V5PubAck(PubAckReason::NotAuthorized)) => {
            Err(refused("not authorised".into()))
        }
        Err(PublishNoticeError::V5PubAck(reason)) => Err(refused(format!("{reason:?}"))),
        Err(PublishNoticeError::RetainNotSupported) => {
            Err(refused("it keeps no retained messages".into()))
        }
        Err(_) => Err(NotDelivered::ConnectionLost),
    }
}
