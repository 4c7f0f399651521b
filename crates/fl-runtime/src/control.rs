//! How operators' commands reach a running process: HTTP on loopback, with a token from its home.
//!
//! The process writes `control.json` (0600) into its home: whoever may read that file may command the
//! process, nobody else. The file goes when the process ends in order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::store::{Access, StoreError, write_atomic};

/// The file in a home that says where its process listens.
pub const CONTROL_FILE: &str = "control.json";

/// How long a command waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Most bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Most bytes of one line of a stream.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Why a command did not reach its process, or was refused by it.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address is not of this machine only.
    #[error("control.listen is {0}: it must be a loopback address such as 127.0.0.1:0")]
    NotLoopback(String),
    /// Somebody else listens there.
    #[error(
        "cannot listen on {address}: {source}; set control.listen to a free port, or to port 0"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No process runs on that home.
    #[error("nothing is running on {}: start it first, then give the command again", home.display())]
    NotRunning {
        /// The home.
        home: PathBuf,
    },
    /// The connection broke.
    #[error("lost the connection to the process on {}: {what}; see its log", home.display())]
    Lost {
        /// The home.
        home: PathBuf,
        /// What happened.
        what: String,
    },
    /// The process refused; in its own words.
    #[error("{0}")]
    Refused(String),
}

#[derive(Serialize, Deserialize)]
struct ControlFile {
    address: SocketAddr,
    token: String,
}

/// The endpoint of a running process.
#[derive(Debug)]
pub struct ControlServer {
    address: SocketAddr,
    file: PathBuf,
    task: JoinHandle<()>,
}

impl ControlServer {
    /// Serves `router` to whoever has the token. `open` is served to everybody on this machine.
    ///
    /// # Errors
    /// The address is not loopback or is taken, or the home cannot be written.
    pub async fn start(
        home: &Path,
        listen: &str,
        router: Router,
        open: Router,
    ) -> Result<Self, ControlError> {
        let wanted: SocketAddr = listen
            .parse()
            .map_err(|_| ControlError::NotLoopback(listen.to_owned()))?;
        if !wanted.ip().is_loopback() {
            return Err(ControlError::NotLoopback(listen.to_owned()));
        }
        let failed = |source| ControlError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token: [u8; 32] = rand::random();
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = format!("Bearer {token}");
        let guarded = router.layer(middleware::from_fn_with_state(expected, authorize));
        let file = home.join(CONTROL_FILE);
        let content = ControlFile { address, token };
        let json = serde_json::to_vec(&content).map_err(|error| ControlError::Lost {
            home: home.to_owned(),
            what: error.to_string(),
        })?;
        write_atomic(&file, &json, Access::Owner)?;
        let task = tokio::spawn(async move {
            // The task ends with the server's drop; an accept error is retried inside.
            let _ = axum::serve(listener, guarded.merge(open)).await;
        });
        Ok(Self {
            address,
            file,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn authorize(State(expected): State<String>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let matches = given.is_some_and(|given| same(given.as_bytes(), expected.as_bytes()));
    if matches {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, "the token is not this process's").into_response()
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// A command's way to the process of a home.
#[derive(Debug)]
pub struct ControlClient {
    home: PathBuf,
    address: SocketAddr,
    token: String,
}

impl ControlClient {
    /// Finds the process of a home.
    ///
    /// # Errors
    /// [`ControlError::NotRunning`].
    pub fn open(home: &Path) -> Result<Self, ControlError> {
        let not_running = || ControlError::NotRunning {
            home: home.to_owned(),
        };
        let bytes = std::fs::read(home.join(CONTROL_FILE)).map_err(|_| not_running())?;
        let file: ControlFile = serde_json::from_slice(&bytes).map_err(|_| not_running())?;
        Ok(Self {
            home: home.to_owned(),
            address: file.address,
            token: file.token,
        })
    }

    /// Reads `path` as JSON.
    ///
    /// # Errors
    /// Every [`ControlError`] of a command.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ControlError> {
        self.json(self.send("GET", path, Bytes::new()).await?).await
    }

    /// Reads `path` as bytes.
    ///
    /// # Errors
    /// Every [`ControlError`] of a command.
    pub async fn get_bytes(&self, path: &str) -> Result<Bytes, ControlError> {
        let response = self.send("GET", path, Bytes::new()).await?;
        self.whole(response).await
    }

    /// Sends `body` as JSON to `path`.
    ///
    /// # Errors
    /// Every [`ControlError`] of a command.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ControlError> {
        let body = serde_json::to_vec(body).map_err(|error| self.lost(&error))?;
        self.json(self.send("POST", path, body.into()).await?).await
    }

    /// Follows `path`, a stream of JSON lines.
    ///
    /// # Errors
    /// Every [`ControlError`] of a command.
    pub async fn lines(&self, path: &str) -> Result<Lines, ControlError> {
        let response = self.send("GET", path, Bytes::new()).await?;
        Ok(Lines {
            home: self.home.clone(),
            body: response.into_body(),
            buffer: Vec::new(),
        })
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<hyper::Response<Incoming>, ControlError> {
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address));
        let Ok(Ok(stream)) = connect.await else {
            return Err(ControlError::NotRunning {
                home: self.home.clone(),
            });
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| self.lost(&error))?;
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.lost(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            // The file is of a process that was killed, and another one has its port.
            return Err(ControlError::NotRunning {
                home: self.home.clone(),
            });
        }
        let said = self.whole(response).await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Err(ControlError::Refused(if said.is_empty() {
            status.to_string()
        } else {
            said
        }))
    }

    async fn whole(&self, response: hyper::Response<Incoming>) -> Result<Bytes, ControlError> {
        let limited = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = limited.collect().await.map_err(|error| self.lost(&error))?;
        Ok(body.to_bytes())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        response: hyper::Response<Incoming>,
    ) -> Result<T, ControlError> {
        let body = self.whole(response).await?;
        serde_json::from_slice(&body).map_err(|error| self.lost(&error))
    }

    fn lost(&self, error: &impl ToString) -> ControlError {
        ControlError::Lost {
            home: self.home.clone(),
            what: error.to_string(),
        }
    }
}

/// A stream of JSON lines.
#[derive(Debug)]
pub struct Lines {
    home: PathBuf,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    /// The next line; none once the process has nothing more to say.
    ///
    /// # Errors
    /// [`ControlError::Lost`].
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let home = self.home.clone();
        let lost = |what: String| ControlError::Lost { home, what };
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return match serde_json::from_slice(&line) {
                    Ok(value) => Ok(Some(value)),
                    Err(error) => Err(lost(error.to_string())),
                };
            }
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(lost(format!("a line of more than {LINE_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(error.to_string())),
                Some(Ok(frame)) => {
                    self.buffer.extend(frame.into_data().unwrap_or_default());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};

    async fn server(home: &Path) -> ControlServer {
        let echo = |body: String| async move { body };
        let refuse = || async { (StatusCode::CONFLICT, "it is taken: take another") };
        let guarded = Router::new()
            .route("/echo", post(echo))
            .route("/refuse", get(refuse))
            .route("/lines", get(|| async { "1\n2\n" }));
        let open = Router::new().route("/open", get(|| async { "\"all\"" }));
        ControlServer::start(home, "127.0.0.1:0", guarded, open)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_command_reaches_its_process_and_hears_its_answer() {
        let home = tempfile::tempdir().unwrap();
        let server = server(home.path()).await;
        let client = ControlClient::open(home.path()).unwrap();
        let echoed: Vec<u32> = client.post("/echo", &[1, 2]).await.unwrap();
        assert_eq!(echoed, [1, 2]);
        let refused = client.get::<()>("/refuse").await.unwrap_err().to_string();
        assert_eq!(refused, "it is taken: take another");
        let mut lines = client.lines("/lines").await.unwrap();
        assert_eq!(lines.next::<u32>().await.unwrap(), Some(1));
        assert_eq!(lines.next::<u32>().await.unwrap(), Some(2));
        assert_eq!(lines.next::<u32>().await.unwrap(), None);

        let stranger = ControlClient {
            token: "0".repeat(64),
            ..ControlClient::open(home.path()).unwrap()
        };
        assert!(stranger.get::<()>("/refuse").await.is_err());
        assert_eq!(stranger.get::<String>("/open").await.unwrap(), "all");
        drop(server);
        let gone = ControlClient::open(home.path()).unwrap_err().to_string();
        assert!(gone.contains("start it first"), "{gone}");
    }

    #[tokio::test]
    async fn only_this_machine_is_served() {
        let home = tempfile::tempdir().unwrap();
        for listen in ["0.0.0.0:0", "8.8.8.8:1", "here"] {
            let refused =
                ControlServer::start(home.path(), listen, Router::new(), Router::new()).await;
            assert!(
                matches!(refused, Err(ControlError::NotLoopback(_))),
                "{listen}"
            );
        }
    }
}
