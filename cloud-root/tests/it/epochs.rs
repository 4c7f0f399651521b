//! The epoch in which a root leads, beside logs that it cannot read.

use fl_model::{Epoch, JobId, ROOT_NAME};
use fl_runtime::keys;
use fl_runtime::nats::{Nats, Stream};
use fl_runtime::testing::until;
use fl_wire::limits::LOG_ENTRY_BYTES_MAX;
use fl_wire::subjects::Subject;
use fl_wire::{Body, Encoded, Envelope, Header, MessageKind, Scope, SigningKey, WireError, seal};

use crate::root::Root;

/// An entry as no version of ours writes it: its body is an array of one text.
struct Foreign;

impl Encoded for Foreign {
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        Ok(b"\x81\x65older".to_vec())
    }

    fn decode(_: &[u8]) -> Result<Self, WireError> {
        unreachable!("it is written alone")
    }
}

impl Body for Foreign {
    const KINDS: &[MessageKind] = &[MessageKind::LogEntry];

    fn kind(&self) -> MessageKind {
        MessageKind::LogEntry
    }

    fn scope(&self) -> Scope {
        Scope::default()
    }
}

/// Appends an entry under that epoch behind the last, and gives its place in the stream.
async fn append(nats: &Nats, key: &SigningKey, job: &str, epoch: u64, after: u64) -> u64 {
    let job = JobId::new(job).unwrap();
    let root = ROOT_NAME.parse().unwrap();
    let header = Header::new(MessageKind::LogEntry, &root)
        .in_job(&job)
        .under(Epoch(epoch));
    let entry = seal(&header, &Foreign, key).unwrap();
    let subject = Subject::Log(job).to_string();
    let appended = nats.append(Stream::Log, &subject, entry.into(), after, None);
    appended.await.unwrap()
}

/// The epoch of a job's last entry.
async fn epoch(nats: &Nats, key: &SigningKey, job: &str) -> u64 {
    let subject = Subject::Log(JobId::new(job).unwrap()).to_string();
    let last = nats.last(Stream::Log, &subject).await.unwrap().unwrap();
    let entry = Envelope::parse(&last.payload, LOG_ENTRY_BYTES_MAX).unwrap();
    let entry = entry.verify(&key.verifying_key()).unwrap();
    entry.header().epoch.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_leads_above_logs_that_it_cannot_read() {
    let mut root = Root::serving().await;
    let key = keys::load(&root.home().join("key")).unwrap();
    let nats = root.nats.connect().await;
    root.import_model();
    root.run(&["job", "submit", &root.job("first", &[])]);
    root.job_is("first", "waiting").await;
    assert_eq!(epoch(&nats, &key, "first").await, 1);
    root.kill();

    let begun = append(&nats, &key, "older", 0, 0).await;
    append(&nats, &key, "older", 41, begun).await;
    // Whoever has another key leads nobody.
    append(&nats, &SigningKey::from_bytes(&[9; 32]), "forged", 99, 0).await;
    root.start_again().await;
    for job in ["older", "forged"] {
        root.logged(&[&format!("job {job} cannot be taken up")])
            .await;
    }
    root.job_is("first", "waiting").await;
    until("the root to lead", async || {
        (epoch(&nats, &key, "first").await != 1).then_some(())
    })
    .await;
    assert_eq!(epoch(&nats, &key, "first").await, 42);
    assert!(!root.run(&["job", "list"]).contains("older"));
    assert!(root.stop().await.success());
}
