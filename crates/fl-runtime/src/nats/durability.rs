//! Whether nats-server flushes before it acknowledges.
//!
//! A client cannot see it; the server's monitoring port shows it where that is open.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::url::{BusUrl, Scheme};

/// How long the monitoring port may take, in seconds.
const ANSWER_S: u64 = 5;

/// Most bytes of its answer that are read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

const SCHEMES: [Scheme; 1] = [Scheme {
    name: "http",
    tls: false,
    default_port: 8222,
}];

/// What a server promises about an acknowledged message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk.
    Always,
    /// It is on disk within this time; a power failure before may lose it.
    Within {
        /// The interval between flushes.
        interval: Duration,
    },
}

#[derive(Deserialize)]
struct Answer {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

/// Asks the monitoring port at `monitor_url` (`http://host:8222`).
///
/// # Errors
/// Says why it cannot be seen.
pub async fn durability(monitor_url: &str) -> Result<Durability, String> {
    let url = BusUrl::parse(monitor_url, &SCHEMES).map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(Duration::from_secs(ANSWER_S), ask(&url)).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            return Err(format!(
                "the monitoring port at {url} does not answer: {error}"
            ));
        }
        Err(_) => return Err(format!("the monitoring port at {url} does not answer")),
    };
    read(&answer).ok_or_else(|| format!("the monitoring port at {url} does not speak of JetStream"))
}

async fn ask(url: &BusUrl) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    // HTTP/1.0: the answer comes whole and unchunked, and its end is the connection's.
    let request = format!(
        "GET /jsz?config=true HTTP/1.0\r\nHost: {}\r\n\r\n",
        url.host
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Option<Durability> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let head = answer
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)?;
    let answer: Answer = serde_json::from_slice(&answer[head + HEAD_END.len()..]).ok()?;
    let config = answer.config?;
    Some(match config.sync_always {
        true => Durability::Always,
        false => Durability::Within {
            interval: Duration::from_nanos(config.sync_interval),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_answers_are_no_answers() {
        let check = |answer: &str, expected: Option<Durability>| {
            assert_eq!(read(answer.as_bytes()), expected, "{answer}");
        };
        check("", None);
        check("HTTP/1.0 404 Not Found\r\n\r\n", None);
        check("HTTP/1.0 200 OK\r\n\r\n{\"config\":7}", None);
        check(
            "HTTP/1.0 200 OK\r\n\r\n{\"config\":{\"sync_always\":true}}",
            Some(Durability::Always),
        );
    }
}
