//! Where a demo's traces go, and whether a Jaeger shows them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Jaeger's OTLP gRPC port.
const OTLP_PORT: u16 = 4317;
/// Jaeger's page and query API.
const PAGE_PORT: u16 = 16686;
/// Something on loopback that has not answered by then is not there.
const ANSWER_MS: u64 = 1_000;
const ANSWER_BYTES_MAX: u64 = 4_096;

/// A collector and, if it is a Jaeger, its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Where to send spans by OTLP gRPC; none when nothing listens.
    pub otlp: Option<String>,
    /// Jaeger's page on this machine, when it answers.
    pub page: Option<String>,
}

impl Collector {
    /// The collector that was asked for, else a Jaeger on its default port if one answers.
    pub fn find(asked: Option<&str>) -> Self {
        Self::at(asked, OTLP_PORT, PAGE_PORT)
    }

    fn at(asked: Option<&str>, otlp_port: u16, page_port: u16) -> Self {
        let listening = || connect(otlp_port).is_some();
        let otlp = match asked {
            Some(url) => Some(url.to_owned()),
            None => listening().then(|| format!("http://127.0.0.1:{otlp_port}")),
        };
        let page = (otlp.is_some() && is_jaeger(page_port))
            .then(|| format!("http://127.0.0.1:{page_port}"));
        Self { otlp, page }
    }

    /// Where a browser shows the trace.
    pub fn link(&self, trace_id: &str) -> Option<String> {
        self.page
            .as_ref()
            .map(|page| format!("{page}/trace/{trace_id}"))
    }

    /// One line on where the traces are, or how to see them.
    pub fn hint(&self) -> String {
        match (&self.page, &self.otlp) {
            (Some(page), _) => format!("traces: {page}"),
            (None, Some(otlp)) => format!("traces go to {otlp}"),
            (None, None) => {
                "to watch rounds live, start a Jaeger before the demo: docker run --rm \
                             -p 4317:4317 -p 16686:16686 jaegertracing/jaeger:2.13.0; or upload \
                             traces.json on its page later"
                    .to_owned()
            }
        }
    }
}

fn connect(port: u16) -> Option<TcpStream> {
    let bound = Duration::from_millis(ANSWER_MS);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, bound).ok()?;
    stream.set_read_timeout(Some(bound)).ok()?;
    stream.set_write_timeout(Some(bound)).ok()?;
    Some(stream)
}

/// Whether Jaeger's query API answers there, rather than any other server.
fn is_jaeger(port: u16) -> bool {
    let request = format!(
        "GET /api/services HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    );
    let answer = || -> Option<String> {
        let mut stream = connect(port)?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    answer().is_some_and(|text| text.starts_with("HTTP/1.1 200") && text.contains("\"data\""))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::processes::free_port;

    /// A port where every caller is sent `answer`.
    fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 1024];
                // A caller that only connects sends nothing.
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_jaeger_is_found_and_linked() {
        let otlp = answering("");
        let page = answering("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"data\":[]}");
        let found = Collector::at(None, otlp, page);
        assert_eq!(found.otlp, Some(format!("http://127.0.0.1:{otlp}")));
        let link = format!("http://127.0.0.1:{page}/trace/abc");
        assert_eq!(found.link("abc"), Some(link));
        let asked = Collector::at(Some("http://collector:4317"), otlp, page);
        assert_eq!(asked.otlp.as_deref(), Some("http://collector:4317"));
    }

    #[test]
    fn nothing_there_is_said() {
        let nobody = free_port().unwrap();
        let none = Collector::at(None, nobody, nobody);
        assert_eq!(
            none,
            Collector {
                otlp: None,
                page: None
            }
        );
        assert!(none.hint().contains("jaegertracing/jaeger"));
        let other_server = answering("HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(Collector::at(None, other_server, other_server).page, None);
    }
}
