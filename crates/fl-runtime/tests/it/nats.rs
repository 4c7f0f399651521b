//! The NATS session against a real nats-server.

use std::fmt::{Debug, Display};
use std::time::Duration;

use bytes::Bytes;
use fl_model::{Digest, ObjectRef};
use fl_runtime::nats::{
    AppendError, Durability, Follower, From, Nats, ObjectError, SetupError, StoredMessage, Stream,
    StreamLimits, durability,
};
use fl_runtime::testing::{JETSTREAM, NatsProcess};

use crate::common::PATIENCE_S;

async fn ready() -> (NatsProcess, Nats) {
    let server = NatsProcess::running(JETSTREAM);
    let nats = server.connect().await;
    nats.ensure_streams(&StreamLimits::default())
        .await
        .expect("streams within the limits");
    (server, nats)
}

async fn next(follower: &mut Follower) -> StoredMessage {
    tokio::time::timeout(Duration::from_secs(PATIENCE_S), follower.next())
        .await
        .expect("nothing came")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_happens_once_and_on_its_condition() {
    let (_server, nats) = ready().await;
    let log = "fl.log.job";
    let append = |text: &str, expected| {
        let (nats, text) = (nats.clone(), bytes(text));
        async move { nats.append(Stream::Log, log, text, expected, None).await }
    };
    let first = append("opened", 0).await.unwrap();
    assert_eq!(
        append("opened", 0).await.unwrap(),
        first,
        "the same again is done"
    );
    let conflict = append("closed", 0).await.unwrap_err();
    assert!(
        matches!(conflict, AppendError::Conflict { last_sequence, expected: 0, .. } if last_sequence == first),
        "{conflict}"
    );
    let second = append("closed", first).await.unwrap();
    assert!(second > first);
    let behind = append("other", first).await.unwrap_err();
    assert!(matches!(behind, AppendError::Conflict { .. }), "{behind}");
    let ahead = append("other", second + 7).await.unwrap_err();
    assert!(matches!(ahead, AppendError::Conflict { .. }), "{ahead}");

    let entries = nats.read_all(Stream::Log, log).await.unwrap();
    let payloads: Vec<_> = entries.iter().map(|entry| entry.payload.clone()).collect();
    assert_eq!(payloads, ["opened", "closed"]);
    assert_eq!(entries[1].sequence, second);
    assert!(
        nats.read_all(Stream::Log, "fl.log.other")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_each_append_of_one_counts() {
    let (_server, nats) = ready().await;
    let log = "fl.log.job";
    let writer = |name: &'static str| {
        let nats = nats.clone();
        async move {
            for number in 0..50 {
                let entry = bytes(&format!("{name} {number}"));
                loop {
                    let last = nats.last(Stream::Log, log).await.unwrap();
                    let expected = last.map_or(0, |last| last.sequence);
                    match nats
                        .append(Stream::Log, log, entry.clone(), expected, None)
                        .await
                    {
                        Ok(_) => break,
                        Err(AppendError::Conflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    };
    tokio::join!(writer("a"), writer("b"));
    let entries = nats.read_all(Stream::Log, log).await.unwrap();
    assert_eq!(entries.len(), 100);
    for name in ["a", "b"] {
        let own: Vec<_> = entries
            .iter()
            .filter(|entry| entry.payload.starts_with(name.as_bytes()))
            .collect();
        for (number, entry) in own.iter().enumerate() {
            assert_eq!(entry.payload, format!("{name} {number}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_is_taken_once_and_purged_when_named() {
    let (_server, nats) = ready().await;
    let subject = "fl.partial.job.1.train.north.0";
    let sum = Bytes::from(vec![7; 900_000]);
    let append = |bytes: Bytes| nats.append(Stream::Partials, subject, bytes, 0, Some("00-trace"));
    let sequence = append(sum.clone()).await.unwrap();
    assert_eq!(append(sum.clone()).await.unwrap(), sequence);
    let other = append(bytes("another sum")).await.unwrap_err();
    assert!(matches!(other, AppendError::Conflict { .. }), "{other}");
    let too_large = append(Bytes::from(vec![0; nats.message_bytes_max() + 1]))
        .await
        .unwrap_err();
    assert!(
        matches!(too_large, AppendError::TooLarge { .. }),
        "{too_large}"
    );

    let mut follower = nats.follow(
        Stream::Partials,
        vec!["fl.partial.job.>".into()],
        From::Beginning,
    );
    let message = next(&mut follower).await;
    assert_eq!((message.sequence, &message.payload), (sequence, &sum));
    assert_eq!(message.traceparent.as_deref(), Some("00-trace"));
    let purge = |until| nats.purge(Stream::Partials, "fl.partial.job.1.>", until);
    assert_eq!(purge(Some(sequence - 1)).await.unwrap(), 0);
    assert_eq!(purge(Some(sequence)).await.unwrap(), 1);
    append(sum.clone()).await.unwrap();
    let subjects = || nats.subjects(Stream::Partials, "fl.partial.job.>");
    assert_eq!(subjects().await.unwrap(), [subject]);
    assert_eq!(purge(None).await.unwrap(), 1);
    assert!(subjects().await.unwrap().is_empty());
    assert!(
        nats.last(Stream::Partials, subject)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_records_outlive_a_purge_of_older_ones() {
    let (_server, nats) = ready().await;
    let put = async |subject: &str| {
        nats.put_latest(subject, bytes(subject), None)
            .await
            .unwrap()
    };
    put("fl.down.north.roster").await;
    for round in 0..5 {
        put(&format!("fl.down.north.settled.job.{round}.train")).await;
    }
    put("fl.down.north.settled.other.0.train").await;
    let purge = async || {
        nats.purge_oldest(Stream::Down, "fl.down.north.settled.job.>", 3)
            .await
            .unwrap()
    };
    assert_eq!(purge().await, 2);
    assert_eq!(purge().await, 0);
    for (subject, there) in [
        ("fl.down.north.roster", true),
        ("fl.down.north.settled.other.0.train", true),
        ("fl.down.north.settled.job.1.train", false),
        ("fl.down.north.settled.job.2.train", true),
        ("fl.down.north.settled.job.4.train", true),
    ] {
        let last = nats.last(Stream::Down, subject).await.unwrap();
        assert_eq!(last.is_some(), there, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_begins_where_it_should_and_outlives_the_server() {
    let (mut server, nats) = ready().await;
    let put = |subject: &str, text: &str| {
        let (nats, subject, text) = (nats.clone(), subject.to_owned(), bytes(text));
        async move {
            loop {
                match nats.put_latest(&subject, text.clone(), None).await {
                    Ok(sequence) => return sequence,
                    Err(AppendError::Unavailable { .. }) => {
                        tokio::time::sleep(Duration::from_millis(50)).await
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    put("fl.down.north.plan.job", "old plan").await;
    put("fl.down.north.plan.job", "plan").await;
    put("fl.down.south.plan.job", "not ours").await;
    put("fl.down.north.roster", "roster").await;
    let filters = vec!["fl.down.north.plan.*".into(), "fl.down.north.roster".into()];
    let mut follower = nats.follow(Stream::Down, filters, From::LastPerSubject);
    assert_eq!(next(&mut follower).await.payload, "plan");
    assert_eq!(next(&mut follower).await.payload, "roster");
    put("fl.down.south.plan.job", "not ours").await;
    put("fl.down.north.plan.job", "next plan").await;
    let last = next(&mut follower).await;
    assert_eq!(last.payload, "next plan");
    assert_eq!(last.subject, "fl.down.north.plan.job");

    server.kill();
    let lost = nats
        .put_latest("fl.down.north.roster", bytes("x"), None)
        .await;
    assert!(matches!(lost, Err(AppendError::Unavailable { .. })));
    server.start();
    put("fl.down.north.roster", "after the kill").await;
    let message = next(&mut follower).await;
    assert_eq!(
        message.payload, "after the kill",
        "each message is given out once"
    );

    let mut later = nats.follow(
        Stream::Down,
        vec!["fl.down.>".into()],
        From::After(last.sequence),
    );
    assert_eq!(next(&mut later).await.payload, "after the kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_connection_is_lost_does_not_wait_for_its_answer() {
    const SUBJECT: &str = "fl.down.north.roster";
    let (mut server, nats) = ready().await;
    let object = nats.put_object(b"model").await.unwrap();
    let latest = nats.put_latest(SUBJECT, bytes("roster"), None);
    latest.await.unwrap();
    let server = &mut server;
    is_lost(server, &nats, nats.put_object(b"next")).await;
    is_lost(server, &nats, nats.get_object(&object)).await;
    is_lost(server, &nats, nats.has_object(object.digest)).await;
    is_lost(server, &nats, nats.remove_object(object.digest)).await;
    let next = nats.put_latest(SUBJECT, bytes("next"), None);
    is_lost(server, &nats, next).await;
    is_lost(server, &nats, nats.last(Stream::Down, SUBJECT)).await;
    is_lost(server, &nats, nats.read_all(Stream::Down, SUBJECT)).await;
    is_lost(server, &nats, nats.subjects(Stream::Down, "fl.down.>")).await;
    is_lost(server, &nats, nats.purge(Stream::Down, SUBJECT, None)).await;
    let oldest = nats.purge_oldest(Stream::Down, SUBJECT, 1);
    is_lost(server, &nats, oldest).await;
}

/// Asks a server that does not answer and is then killed: the request is told so while the server is
/// away, and does not end by the time that an answer may take.
async fn is_lost<T: Debug, E: Display>(
    server: &mut NatsProcess,
    nats: &Nats,
    request: impl Future<Output = Result<T, E>>,
) {
    server.suspend();
    let killed = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.kill();
    };
    let (told, ()) = tokio::join!(request, killed);
    match told {
        Err(error) if error.to_string().contains("connection was lost") => {}
        Err(error) => panic!("told something else: {error}"),
        Ok(answer) => panic!("answered {answer:?}"),
    }
    server.start();
    nats.until_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_notices_a_stream_made_anew() {
    let (mut server, nats) = ready().await;
    for text in ["one", "two", "three"] {
        nats.put_latest("fl.down.north.roster", bytes(text), None)
            .await
            .unwrap();
    }
    let mut follower = nats.follow(Stream::Down, vec!["fl.down.>".into()], From::LastPerSubject);
    assert_eq!(next(&mut follower).await.payload, "three");
    server.kill();
    std::fs::remove_dir_all(server.folder().join("data")).unwrap();
    server.start();
    let making = async {
        while nats.ensure_streams(&StreamLimits::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        nats.put_latest("fl.down.north.roster", bytes("anew"), None)
            .await
            .unwrap();
    };
    let (message, ()) = tokio::join!(next(&mut follower), making);
    assert_eq!(message.payload, "anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_meets_a_kill_is_settled_afterwards() {
    let (mut server, nats) = ready().await;
    let log = "fl.log.job";
    let mut expected = 0;
    for number in 0..40 {
        if number % 10 == 5 {
            server.kill();
            server.start();
        }
        let entry = bytes(&format!("entry {number}"));
        expected = loop {
            match nats
                .append(Stream::Log, log, entry.clone(), expected, None)
                .await
            {
                Ok(sequence) => break sequence,
                Err(AppendError::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await
                }
                Err(error) => panic!("{error}"),
            }
        };
    }
    let entries = nats.read_all(Stream::Log, log).await.unwrap();
    let payloads: Vec<_> = entries.iter().map(|entry| entry.payload.clone()).collect();
    let all: Vec<_> = (0..40).map(|number| format!("entry {number}")).collect();
    assert_eq!(payloads, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_what_their_name_says() {
    let (server, nats) = ready().await;
    for size in [0, 1, 5_000, 3_500_000] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 253) as u8).collect();
        let object = nats.put_object(&bytes).await.unwrap();
        assert_eq!(object, ObjectRef::to(&bytes));
        assert_eq!(nats.put_object(&bytes).await.unwrap(), object);
        assert_eq!(nats.get_object(&object).await.unwrap(), bytes);
        assert!(nats.has_object(object.digest).await.unwrap());
        if size == 5_000 {
            nats.remove_object(object.digest).await.unwrap();
            nats.remove_object(object.digest).await.unwrap();
            assert!(!nats.has_object(object.digest).await.unwrap());
            assert_eq!(nats.put_object(&bytes).await.unwrap(), object);
            assert_eq!(nats.get_object(&object).await.unwrap(), bytes);
        }
    }
    let absent = ObjectRef::to(b"never put");
    assert!(!nats.has_object(absent.digest).await.unwrap());
    let error = nats.get_object(&absent).await.unwrap_err();
    assert!(matches!(error, ObjectError::NotFound(_)), "{error}");
    let wrong_size = ObjectRef {
        digest: Digest::of(&[0]),
        bytes: 2,
    };
    nats.put_object(&[0]).await.unwrap();
    let error = nats.get_object(&wrong_size).await.unwrap_err();
    assert!(
        matches!(
            error,
            ObjectError::Size {
                bytes: 1,
                expected: 2,
                ..
            }
        ),
        "{error}"
    );

    // What somebody else has put under a digest that is not its own.
    let client = async_nats::connect(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let bucket = async_nats::jetstream::new(client)
        .get_object_store("fl-objects")
        .await
        .unwrap();
    let claimed = ObjectRef::to(b"right");
    let name = claimed.digest.to_string();
    bucket.put(name.as_str(), &mut &b"wrong"[..]).await.unwrap();
    let error = nats.get_object(&claimed).await.unwrap_err();
    assert!(matches!(error, ObjectError::Corrupt(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_reach_who_listens() {
    let (_server, nats) = ready().await;
    let mut beats = nats.subscribe("fl.beat.*".into()).await.unwrap();
    let (beating, own) = (nats.clone(), tokio::sync::Notify::new());
    let send = async {
        loop {
            beating
                .publish("fl.beat.north".into(), bytes("here"))
                .await
                .unwrap();
            tokio::select! {
                () = own.notified() => return,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    };
    let receive = async {
        let beat = tokio::time::timeout(Duration::from_secs(PATIENCE_S), beats.next()).await;
        assert_eq!(
            beat.unwrap().unwrap(),
            ("fl.beat.north".to_owned(), bytes("here"))
        );
        own.notify_one();
    };
    tokio::join!(send, receive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut server = NatsProcess::new(JETSTREAM);
    let settings = server.server(&server.settings());
    let error = Nats::connect_once(&settings, "test").await.err().unwrap();
    let message = error.to_string();
    assert!(
        message.contains(&server.port().to_string()) && message.contains("nats-server"),
        "{message}"
    );

    let waiting = tokio::spawn(async move { Nats::connect(&settings, "test").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.start();
    let nats = tokio::time::timeout(Duration::from_secs(PATIENCE_S), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let refused = nats
        .append(Stream::Log, "fl.log.job", bytes("x"), 0, None)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("cloud-root"), "{refused}");
    nats.ensure_streams(&StreamLimits::default()).await.unwrap();
    nats.ensure_streams(&StreamLimits::default()).await.unwrap();
    nats.append(Stream::Log, "fl.log.job", bytes("x"), 0, None)
        .await
        .unwrap();
    nats.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_lacks_is_named() {
    let server = NatsProcess::running("");
    let nats = server.connect().await;
    let error = nats
        .ensure_streams(&StreamLimits::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SetupError::NoJetStream { .. }), "{error}");

    let server =
        NatsProcess::running("jetstream { store_dir: \"STORE/data\", max_file_store: 10MB }");
    let nats = server.connect().await;
    let error = nats
        .ensure_streams(&StreamLimits::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SetupError::NoRoom { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_the_server_flushes_is_seen() {
    let seen = |sync: &str| {
        let server =
            NatsProcess::running(&format!("jetstream {{ store_dir: \"STORE/data\"{sync} }}"));
        async move {
            server.connect().await;
            let url = format!("http://127.0.0.1:{}", server.monitor_port());
            durability(&url).await.unwrap()
        }
    };
    assert_eq!(seen(", sync_interval: always").await, Durability::Always);
    assert!(matches!(seen("").await, Durability::Within { interval } if !interval.is_zero()));
    let error = durability("http://127.0.0.1:1").await.unwrap_err();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}
