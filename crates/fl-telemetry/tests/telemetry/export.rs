//! The way out: collectors that are away, come back, or want TLS, and what happens to spans meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use fl_telemetry::check::findings;
use fl_telemetry::export::ExportError;
use fl_telemetry::metrics::Link;
use fl_telemetry::receiver::Receiver;
use fl_telemetry::sampling::Totals;
use fl_telemetry::{
    Exporter, Identity, Metrics, OtlpSettings, RegionTrace, RoundContext, RoundOutcome, RoundTrace,
    Service, SpanBatch, TelemetrySettings,
};

use crate::federation::Round;

/// Generous: a busy machine may take long to start a task.
const PATIENCE: Duration = Duration::from_secs(60);

fn to(endpoint: &str) -> TelemetrySettings {
    TelemetrySettings {
        otlp: Some(OtlpSettings::new(endpoint)),
        ..TelemetrySettings::default()
    }
}

fn fog() -> Identity {
    Identity {
        service: Service::FogAggregator,
        instance: "fog-north".into(),
        version: "0.1.0".into(),
        region: Some("north".into()),
        ..Identity::default()
    }
}

/// A clean round's spans, all in one submission.
fn round(number: u32) -> (Round, Vec<SpanBatch>, u64) {
    let round = Round::new("air-quality", number, Vec::new());
    let batches: Vec<SpanBatch> = round
        .exports()
        .into_iter()
        .flat_map(|(_, batches)| batches)
        .collect();
    let spans = batches.iter().map(|batch| batch.spans.len() as u64).sum();
    (round, batches, spans)
}

async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_is_away() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let first = Receiver::start().await.expect("a loopback port is free");
    let (port, endpoint) = (first.port(), first.endpoint());
    let exporter = Exporter::start(&to(&endpoint), home.path(), None).expect("settings are valid");

    let (before, batches, spans) = round(1);
    exporter.send(batches);
    wait_until("the first round arrives", || first.received() == spans).await;
    assert_eq!(
        findings(&first.spans(&before.trace())),
        Vec::<String>::new()
    );
    first.stop().await;

    let (during, batches, more) = round(2);
    exporter.send(batches);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        exporter.counts().sent,
        spans,
        "there is nobody to take the second round"
    );

    let second = Receiver::start_on(port)
        .await
        .expect("the port is free again");
    let arrived = second
        .wait_for(&during.trace(), PATIENCE, |spans| {
            spans.len() as u64 == more
        })
        .await;
    assert_eq!(findings(&arrived), Vec::<String>::new());
    wait_until("the second round is counted", || {
        exporter.counts().sent == spans + more
    })
    .await;
    assert_eq!(exporter.shutdown(PATIENCE).await.dropped, 0);
}

#[tokio::test]
async fn without_a_collector_the_file_has_all_and_the_end_is_bounded() {
    let home = tempfile::tempdir().expect("a folder can be made");
    // A port that was free a moment ago and that nobody listens on.
    let gone = Receiver::start().await.expect("a loopback port is free");
    let endpoint = gone.endpoint();
    gone.stop().await;
    let settings = TelemetrySettings {
        file: true,
        ..to(&endpoint)
    };
    let exporter = Exporter::start(&settings, home.path(), None).expect("settings are valid");
    let (_, batches, spans) = round(3);
    exporter.send(batches);
    let ended = tokio::time::timeout(PATIENCE, exporter.shutdown(Duration::from_millis(200))).await;
    let counts = ended.expect("the end is bounded");
    assert_eq!(
        (counts.sent, counts.written, counts.dropped),
        (0, spans, spans)
    );
}

#[tokio::test]
async fn a_process_without_telemetry_drops_nothing_and_writes_nothing() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let exporter = Exporter::start(&TelemetrySettings::default(), home.path(), None)
        .expect("settings are valid");
    exporter.send(round(4).1);
    let counts = exporter.shutdown(PATIENCE).await;
    assert_eq!((counts.sent, counts.written, counts.dropped), (0, 0, 0));
    assert_eq!(
        std::fs::read_dir(home.path())
            .expect("the home is there")
            .count(),
        0
    );
}

#[tokio::test]
async fn tls_trusts_the_authority_it_is_given_and_no_other() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .expect("a certificate can be made");
    let receiver = Receiver::start_tls(&issued.cert.pem(), &issued.signing_key.serialize_pem())
        .await
        .expect("a loopback port is free");
    let endpoint = format!("https://localhost:{}", receiver.port());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()])
        .expect("a certificate can be made");

    let trusting = |cert: &str, name: &str| {
        std::fs::write(home.path().join(name), cert).expect("the file can be written");
        let mut settings = to(&endpoint);
        // Relative to the home, wherever the process runs.
        settings.otlp.as_mut().expect("just set").ca_file = Some(name.into());
        Exporter::start(&settings, home.path(), None).expect("settings are valid")
    };
    let (_, batches, spans) = round(5);
    let stranger = trusting(&other.cert.pem(), "other.pem");
    stranger.send(batches.clone());
    let refused = stranger.shutdown(Duration::from_secs(2)).await;
    assert_eq!(
        (refused.sent, refused.dropped, receiver.received()),
        (0, spans, 0)
    );

    let friend = trusting(&issued.cert.pem(), "ca.pem");
    friend.send(batches);
    assert_eq!(friend.shutdown(PATIENCE).await.sent, spans);
}

#[tokio::test]
async fn metrics_are_pushed_where_that_is_switched_on() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let receiver = Receiver::start().await.expect("a loopback port is free");
    for pushed in [false, true] {
        let metrics = Metrics::new(&fog()).expect("metrics start");
        let mut settings = to(&receiver.endpoint());
        let otlp = settings.otlp.as_mut().expect("just set");
        (otlp.metrics, otlp.metrics_interval_s) = (pushed, 3600);
        let exporter =
            Exporter::start(&settings, home.path(), Some(&metrics)).expect("settings are valid");
        metrics.contribution("accepted", "");
        metrics.moved(Link::EdgeUp, 12_400);
        let (_, batches, spans) = round(6);
        exporter.send(batches);
        exporter.shutdown(PATIENCE).await;
        let text = metrics.prometheus_text().expect("text is written");
        let line = format!("fl_telemetry_spans_total{{outcome=\"sent\"}} {spans}");
        assert!(text.contains(&line), "{line} is missing in\n{text}");
        assert_eq!(receiver.metrics().contains("fl.contributions"), pushed);
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_the_start() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let refuse = |spoil: &dyn Fn(&mut OtlpSettings)| {
        let mut otlp = OtlpSettings::new("http://127.0.0.1:4317");
        spoil(&mut otlp);
        let settings = TelemetrySettings {
            otlp: Some(otlp),
            ..TelemetrySettings::default()
        };
        Exporter::start(&settings, home.path(), None)
            .map(|_| ())
            .expect_err("this cannot work")
    };
    let missing = || Some(home.path().join("missing.pem"));
    assert!(matches!(
        refuse(&|otlp| otlp.endpoint = "127.0.0.1:4317".into()),
        ExportError::Endpoint { .. }
    ));
    assert!(matches!(
        refuse(&|otlp| otlp.endpoint = "http://not a host".into()),
        ExportError::Endpoint { .. }
    ));
    let header =
        |otlp: &mut OtlpSettings| drop(otlp.headers.insert("two words".into(), "x".into()));
    assert!(matches!(refuse(&header), ExportError::Header { name } if name == "two words"));
    let tls = |otlp: &mut OtlpSettings| otlp.endpoint = "https://localhost:4317".into();
    assert!(matches!(
        refuse(&|otlp| {
            tls(otlp);
            otlp.ca_file = missing()
        }),
        ExportError::File { .. }
    ));
    assert!(matches!(
        refuse(&|otlp| {
            tls(otlp);
            otlp.cert_file = missing()
        }),
        ExportError::HalfIdentity
    ));
    let file = TelemetrySettings {
        file: true,
        ..TelemetrySettings::default()
    };
    let nowhere = Exporter::start(&file, Path::new("/nonexistent/home"), None).map(|_| ());
    assert!(matches!(
        nowhere.expect_err("there is no such folder"),
        ExportError::File { .. }
    ));
}

/// A round of many devices, some of them bad or slow, keeps the caps of a trace and of its spans.
#[tokio::test]
async fn large_rounds_keep_the_caps() {
    const SECOND: u64 = 1_000_000;
    const START_US: u64 = 1_795_262_400 * SECOND;
    let home = tempfile::tempdir().expect("a folder can be made");
    let receiver = Receiver::start().await.expect("a loopback port is free");
    for devices in [128, 300, 10_000] {
        let context = RoundContext::new("large", devices, 0);
        let totals = Totals {
            devices,
            regions: 3,
        };
        let exporter = Exporter::start(&to(&receiver.endpoint()), home.path(), None)
            .expect("settings are valid");
        let mut root = RoundTrace::new(&context, START_US, START_US + 1000);
        let mut bad = 0;
        for (index, region) in ["north", "south", "west"].into_iter().enumerate() {
            root.region_sent(region, START_US + 2000);
            let mut trace = RegionTrace::new(&context, region, "fog", totals, START_US + 3000);
            for number in (index as u32..devices).step_by(3) {
                let device = format!("edge-{number:05}");
                let done_us = START_US + 4 * SECOND + u64::from(number);
                trace.selected(&device, START_US + SECOND);
                if number % 7 == 0 {
                    bad += 1;
                    trace.rejected(&device, done_us, done_us + 500, "not_finite");
                } else {
                    trace.accepted(&device, done_us, done_us + 500, 12_400);
                }
            }
            trace.closed(START_US + 6 * SECOND, START_US + 7 * SECOND, "deadline");
            let accept = fl_telemetry::region::Transfer {
                start_us: START_US + 8 * SECOND,
                end_us: START_US + 9 * SECOND,
                ..Default::default()
            };
            root.region_accepted(region, accept, trace.summary());
            let batches = trace.spans(&fog(), root.region_window(region));
            let close = batches[0]
                .spans
                .iter()
                .find(|span| span.name() == "close")
                .expect("a region is closed");
            // At 128 all devices are traced, more than a span may link to; at more, few of each region are.
            assert_eq!(close.dropped().links > 0, devices == 128);
            exporter.send(batches);
        }
        root.closed(START_US + 10 * SECOND, RoundOutcome::Merged);
        exporter.send([root.spans(&Identity {
            service: Service::CloudRoot,
            instance: "root".into(),
            ..fog()
        })]);
        assert_eq!(exporter.shutdown(PATIENCE).await.dropped, 0);

        let spans = receiver.spans(&context.trace);
        assert_eq!(findings(&spans), Vec::<String>::new(), "{devices} devices");
        let rows: Vec<_> = spans
            .iter()
            .filter(|span| span.name.starts_with("device "))
            .collect();
        let rejected = rows
            .iter()
            .filter(|row| row.text("fl.outcome") == Some("rejected"))
            .count();
        let top = spans
            .iter()
            .find(|span| span.parent.is_none())
            .expect("there is a root");
        assert_eq!(top.int("fl.devices.selected"), Some(i64::from(devices)));
        assert_eq!(top.int("fl.devices.rejected"), Some(bad));
        assert_eq!(top.int("fl.devices.traced"), Some(rows.len() as i64));
        // Beyond the draw, which finds one bad device in seven, the bad ones are shown up to their share.
        assert!(
            rejected >= 40 || devices == 128,
            "{rejected} rejected devices are shown"
        );
        assert!(rows.len() <= 170, "{} devices are shown", rows.len());
    }
}
