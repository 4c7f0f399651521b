//! Who gets in at a real nats-server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fl_runtime::nats::{Nats, NatsError};
use fl_runtime::settings::Secret;
use fl_runtime::testing::NatsProcess;
use nkeys::KeyPair;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_is_no_reason_to_wait() {
    let server = NatsProcess::running("authorization { user: root, password: right }");
    let mut settings = server.settings();
    settings.user = Some("root".into());
    settings.password = Some(Secret::new("right"));
    Nats::connect(&server.server(&settings), "test")
        .await
        .unwrap();
    settings.password = Some(Secret::new("wrong"));
    let error = Nats::connect(&server.server(&settings), "test")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("nats.password"), "{error}");
    let error = Nats::connect(&server.server(&server.settings()), "test")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");

    let server = NatsProcess::running("authorization { token: secret }");
    let mut settings = server.settings();
    settings.token = Some(Secret::new("secret"));
    Nats::connect(&server.server(&settings), "test")
        .await
        .unwrap();
}

/// A claim of `subject`, vouched for by `issuer`, as NATS writes them.
fn claim(issuer: &KeyPair, subject: &KeyPair, claims: serde_json::Value) -> String {
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = serde_json::json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let body = serde_json::json!({
        "jti": "test", "iat": 1, "name": "test",
        "iss": issuer.public_key(), "sub": subject.public_key(), "nats": claims,
    });
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = issuer.sign(signed.as_bytes()).expect("a private key");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file_lets_its_user_in() {
    let (operator, account, user) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_user(),
    );
    let operator_claim = claim(
        &operator,
        &operator,
        serde_json::json!({"type": "operator", "version": 2}),
    );
    let account_claim = claim(
        &operator,
        &account,
        serde_json::json!({"type": "account", "version": 2, "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1,
        }}),
    );
    let user_claim = claim(
        &account,
        &user,
        serde_json::json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}),
    );
    let server = NatsProcess::running(&format!(
        "operator: {operator_claim}\nresolver: MEMORY\nresolver_preload: {{ {}: {account_claim} }}",
        account.public_key()
    ));
    let write = |name: &str, seed: &KeyPair| {
        let seed = seed.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{user_claim}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(server.folder().join(name), text).unwrap();
    };
    write("user.creds", &user);
    write("stranger.creds", &KeyPair::new_user());
    let mut settings = server.settings();
    settings.creds_file = Some("user.creds".into());
    let nats = Nats::connect(&server.server(&settings), "test")
        .await
        .unwrap();
    nats.publish("fl.beat.north".into(), Bytes::from_static(b"here"))
        .await
        .unwrap();
    settings.creds_file = Some("stranger.creds".into());
    let error = Nats::connect(&server.server(&settings), "test")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");
}
