//! What a failed connection means to the person who has to mend it.

use std::io;

use rumqttc::{
    ConnectReturnCode, ConnectionError, DisconnectReasonCode, Error as MqttError, StateError,
    TlsError,
};
use rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// What is known about a connection that failed.
pub(super) struct Attempt<'a> {
    /// Whether it was to be encrypted.
    pub(super) tls: bool,
    /// Whether the broker had let us in.
    pub(super) accepted: bool,
    /// The id we came with.
    pub(super) client_id: &'a str,
}

/// Says what went wrong and what to check; the caller names the address.
pub(super) fn explain(error: &ConnectionError, attempt: &Attempt<'_>) -> String {
    let client_id = attempt.client_id;
    match error {
        ConnectionError::Timeout(_) => {
            "no answer: check the host, the port and any firewall between".into()
        }
        ConnectionError::Io(error) => of_io(error, attempt),
        ConnectionError::Tls(TlsError::Io(error)) => of_io(error, attempt),
        ConnectionError::Tls(TlsError::TLS(error)) => of_tls(error),
        ConnectionError::ConnectionRefused(code) => of_refusal(*code, client_id),
        ConnectionError::MqttState(error) => of_state(error, attempt),
        other => format!("{other}"),
    }
}

fn of_refusal(code: ConnectReturnCode, client_id: &str) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            "the broker does not let this user in: check broker.user and broker.password, or the client certificate".into()
        }
        ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
            format!("the broker does not take the client id {client_id}: it must be this user's own")
        }
        other => format!("the broker refused the connection ({other:?}): see its log"),
    }
}

fn of_io(error: &io::Error, attempt: &Attempt<'_>) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<RustlsError>());
    if let Some(inner) = inner {
        return of_tls(inner);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: check the port and that the broker runs".into()
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => closed(attempt),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "the host cannot be reached: check the network".into()
        }
        _ if error.to_string().contains("lookup") => {
            format!("the host's name cannot be resolved ({error}): check broker.url")
        }
        _ => error.to_string(),
    }
}

fn closed(attempt: &Attempt<'_>) -> String {
    match (attempt.accepted, attempt.tls) {
        (true, _) => format!(
            "the broker closed the connection: it ended, or {}",
            second_client(attempt.client_id)
        ),
        (false, true) => "the broker closed the connection: see its log; it may want a client certificate (broker.cert_file)".into(),
        (false, false) => "the broker closed the connection: see its log; it may want mqtts://".into(),
    }
}

fn second_client(client_id: &str) -> String {
    format!(
        "another client came with the id {client_id}: make sure that no second process runs under this name"
    )
}

fn of_tls(error: &RustlsError) -> String {
    match error {
        RustlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "the broker's certificate is not signed by an authority in broker.ca_file".into(),
        RustlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another name than the host in broker.url".into(),
        RustlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => format!(
            "the broker's certificate is not valid now ({error}): check it and this machine's clock"
        ),
        RustlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker wants a client certificate: set broker.cert_file and broker.key_file".into()
        }
        RustlsError::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError,
        ) => "the broker does not accept the client certificate: check broker.cert_file".into(),
        RustlsError::InvalidMessage(_) => {
            "the broker does not speak TLS on this port: write mqtt://, or use its TLS port".into()
        }
        other => format!("tls failed: {other}"),
    }
}

fn of_state(error: &StateError, attempt: &Attempt<'_>) -> String {
    match error {
        StateError::Io(error) | StateError::Deserialization(MqttError::Io(error)) => {
            of_io(error, attempt)
        }
        StateError::Deserialization(_) if !attempt.accepted => {
            "what answers there does not speak MQTT: check the port; it may want mqtts://".into()
        }
        StateError::ConnectionAborted => closed(attempt),
        StateError::AwaitPingResp => "the broker stopped answering".into(),
        StateError::ServerDisconnect { reason_code, .. } => match reason_code {
            DisconnectReasonCode::SessionTakenOver => second_client(attempt.client_id),
            DisconnectReasonCode::ServerShuttingDown => "the broker is shutting down".into(),
            other => format!("the broker ended the connection ({other:?})"),
        },
        other => format!("{other}"),
    }
}
