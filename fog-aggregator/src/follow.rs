//! What the root sends down, in order.

use bytes::Bytes;
use fl_model::{JobId, RegionId, RoundKey};
use fl_runtime::nats::{From, Nats, Stream};
use fl_wire::subjects::{Subject, down_filter};
use tokio::sync::mpsc;

/// A message of the root's for this region; its signature is not checked yet.
#[derive(Debug)]
pub enum Down {
    /// The region's roster.
    Roster(Bytes),
    /// A job's plan; empty when the job is over.
    Plan(JobId, Bytes),
    /// How a phase ended.
    Settled(RoundKey, Bytes),
}

/// Follows the region's subjects, the last message of each first, until nobody listens.
pub async fn follow(nats: Nats, region: RegionId, down: mpsc::Sender<Down>) {
    let mut follower = nats.follow(
        Stream::Down,
        vec![down_filter(&region)],
        From::LastPerSubject,
    );
    loop {
        let message = follower.next().await;
        let said = match message.subject.parse() {
            Ok(Subject::Roster(of)) if of == region => Down::Roster(message.payload),
            Ok(Subject::Plan(of, job)) if of == region => Down::Plan(job, message.payload),
            Ok(Subject::Settled(of, key)) if of == region => Down::Settled(key, message.payload),
            _ => {
                tracing::warn!("a message on {} is not for this version", message.subject);
                continue;
            }
        };
        if down.send(said).await.is_err() {
            return;
        }
    }
}
