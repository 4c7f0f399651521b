//! A fog with no more rights at nats-server than it needs.

use std::time::Duration;

use bytes::Bytes;
use fl_model::ObjectRef;
use fl_runtime::nats::{AppendError, From, Nats, Stream, StreamLimits};
use fl_runtime::settings::Secret;
use fl_runtime::testing::{JETSTREAM, NatsProcess};

use crate::common::PATIENCE_S;

/// What a fog of region north may do; the root may do everything.
const USERS: &str = r#"
authorization {
  users: [
    { user: root, password: root-secret }
    { user: fog-north, password: fog-secret, permissions: {
      publish: [
        "fl.partial.*.*.*.north.*", "fl.beat.north",
        "$O.fl-objects.>",
        "$JS.API.STREAM.INFO.FL_DOWN", "$JS.API.STREAM.INFO.OBJ_fl-objects",
        "$JS.API.STREAM.MSG.GET.FL_PARTIALS", "$JS.API.STREAM.MSG.GET.FL_DOWN",
        "$JS.API.DIRECT.GET.OBJ_fl-objects.>",
        "$JS.API.CONSUMER.CREATE.FL_DOWN", "$JS.API.CONSUMER.CREATE.FL_DOWN.>",
        "$JS.API.CONSUMER.CREATE.OBJ_fl-objects", "$JS.API.CONSUMER.CREATE.OBJ_fl-objects.>",
        "$JS.API.CONSUMER.MSG.NEXT.FL_DOWN.>", "$JS.API.CONSUMER.DELETE.FL_DOWN.>",
        "$JS.FC.>",
      ]
      subscribe: [ "_INBOX.>" ]
    } }
  ]
}
"#;

async fn login(server: &NatsProcess, user: &str, password: &str) -> Nats {
    let mut settings = server.settings();
    settings.user = Some(user.into());
    settings.password = Some(Secret::new(password));
    Nats::connect(&server.server(&settings), user)
        .await
        .expect("a session")
}

/// A refused request shows as silence.
async fn soon<T>(something: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(PATIENCE_S), something)
        .await
        .expect("nothing came")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fog_does_its_work_without_the_rights_of_an_administrator() {
    let server = NatsProcess::running(&format!("{JETSTREAM}\n{USERS}"));
    let root = login(&server, "root", "root-secret").await;
    root.ensure_streams(&StreamLimits::default()).await.unwrap();
    let fog = login(&server, "fog-north", "fog-secret").await;

    let plan = Bytes::from_static(b"plan");
    root.put_latest("fl.down.north.plan.job", plan.clone(), None)
        .await
        .unwrap();
    let model = root.put_object(&[7; 50_000]).await.unwrap();
    let filters = vec!["fl.down.north.>".into()];
    let mut follower = fog.follow(Stream::Down, filters, From::LastPerSubject);
    assert_eq!(soon(follower.next()).await.payload, plan);
    assert_eq!(fog.get_object(&model).await.unwrap(), [7; 50_000]);

    // The root asks for more before the fog beats, so the server knows of this by then.
    let mut beats = root.subscribe("fl.beat.*".into()).await.unwrap();
    let own = "fl.partial.job.1.train.north.0";
    let sum = Bytes::from_static(b"sum");
    let sequence = fog
        .append(Stream::Partials, own, sum.clone(), 0, None)
        .await
        .unwrap();
    assert_eq!(
        fog.append(Stream::Partials, own, sum.clone(), 0, None)
            .await
            .unwrap(),
        sequence
    );
    let large = fog.put_object(&[8; 2_000_000]).await.unwrap();
    assert_eq!(large, ObjectRef::to(&[8; 2_000_000]));
    assert_eq!(root.get_object(&large).await.unwrap().len(), 2_000_000);
    fog.publish("fl.beat.north".into(), sum.clone())
        .await
        .unwrap();
    assert_eq!(soon(beats.next()).await.unwrap().0, "fl.beat.north");

    // The stream would take this like any message on its subjects.
    let foreign = "fl.partial.job.1.train.south.0";
    fog.publish(foreign.into(), sum.clone()).await.unwrap();
    // Each is answered by silence, so they wait together.
    let (limits, down) = (StreamLimits::default(), "fl.down.north.plan.job");
    let (put, purged, made) = tokio::join!(
        fog.put_latest(down, sum.clone(), None),
        fog.purge(Stream::Partials, "fl.partial.>", None),
        fog.ensure_streams(&limits),
    );
    assert!(
        matches!(put, Err(AppendError::Unavailable { .. })),
        "{put:?}"
    );
    assert!(purged.is_err() && made.is_err());
    assert_eq!(
        root.last(Stream::Down, down)
            .await
            .unwrap()
            .unwrap()
            .payload,
        plan
    );
    assert!(
        root.last(Stream::Partials, foreign)
            .await
            .unwrap()
            .is_none()
    );
    assert!(root.last(Stream::Partials, own).await.unwrap().is_some());
}
