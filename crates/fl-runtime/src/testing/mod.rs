//! What the tests of several crates stand on: a real nats-server, our own programs as processes,
//! certificates, free ports. What fails here fails its test.

mod certificates;
#[cfg(feature = "nats")]
mod nats_process;
mod process;
mod samples;

use std::fmt::Debug;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use certificates::Authority;
#[cfg(feature = "nats")]
pub use nats_process::{JETSTREAM, NatsProcess};
pub use process::{Process, assert_refused, output_to_nobody};
pub use samples::{assert_names_every_key, uncommented};

/// How long anything may take before a test gives up; only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks at what a test waits for.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `ask` gives something.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let waited = async {
        loop {
            if let Some(got) = ask().await {
                return got;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(LIMIT, waited).await {
        Ok(got) => got,
        Err(_) => panic!("{what} did not happen within {LIMIT:?}"),
    }
}

/// A loopback port that nobody has now and no other call of this program gives out. It lies below those that the kernel
/// gives to outgoing connections, or one of them could take it while its server is down.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u32 = 20_000;
    /// Apart from those of a test program that runs at the same time.
    const APART: u32 = 97;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(APART);
    let mut ports = (0..COUNT).map(|_| {
        let next = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        FIRST + (next % COUNT) as u16
    });
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    must("a free port", free.ok_or("none is"))
}

/// The value, or the end of the test.
fn must<T, E: Debug>(what: &str, result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}
