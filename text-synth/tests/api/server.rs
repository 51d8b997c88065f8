//! A server of raw HTTP that can do what wiremock cannot: cut connections, send half a body, answer thousands of requests a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What tokio's timer adds on average: it counts milliseconds and rounds up.
const TIMER: Duration = Duration::from_millis(1);

/// What the server does with a request.
pub(crate) enum Act {
    /// Answers after a while with a status, header lines and a body.
    Answer { after: Duration, status: u16, headers: String, body: String },
    /// Closes the connection.
    Cut,
    /// Sends half of a body and closes the connection.
    Half(String),
}

impl Act {
    pub(crate) fn reply(after: Duration, body: String) -> Self {
        Self::Answer { after, status: 200, headers: String::new(), body }
    }

    pub(crate) fn error(status: u16, headers: &str) -> Self {
        let body = r#"{"error":{"message":"injected"}}"#.to_owned();
        Self::Answer { after: Duration::ZERO, status, headers: headers.to_owned(), body }
    }
}

/// How long replies were kept back, in microseconds, and how many.
#[derive(Default)]
struct Held {
    microseconds: AtomicUsize,
    replies: AtomicUsize,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    held: Arc<Held>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Serves on a free port; `act` gets the number of the request and its body.
    pub(crate) fn start(act: impl Fn(usize, &[u8]) -> Act + Send + Sync + 'static) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let held = Arc::new(Held::default());
        let (count, kept, act) = (Arc::clone(&requests), Arc::clone(&held), Arc::new(act));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, kept, act) = (Arc::clone(&count), Arc::clone(&kept), Arc::clone(&act));
                tokio::spawn(async move {
                    // a client that goes away ends its connection, not the server
                    let _gone = serve(stream, &count, &kept, act.as_ref()).await;
                });
            }
        });
        Self { address, requests, held, _runtime: runtime }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How long a reply was kept back, on average: more on a machine that is too busy to wake in time.
    pub(crate) fn latency(&self) -> Duration {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
        Duration::from_micros(of(&self.held.microseconds) / of(&self.held.replies).max(1))
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut stream: TcpStream,
    count: &AtomicUsize,
    held: &Held,
    act: &(impl Fn(usize, &[u8]) -> Act + Send + Sync),
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            // what is no HTTP, such as a TLS handshake, gets the answer that servers give
            if bytes.first().is_some_and(|byte: &u8| !byte.is_ascii_uppercase()) {
                return stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            }
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
        let length: usize = text
            .lines()
            .find_map(|l| l.strip_prefix("content-length:"))
            .map_or(0, |n| n.trim().parse().unwrap());
        while bytes.len() < head + length {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let number = count.fetch_add(1, Ordering::Relaxed);
        let act = act(number, &bytes[head..head + length]);
        bytes.drain(..head + length);
        let (status, headers, body, whole) = match act {
            Act::Answer { after, status, headers, body } => {
                if !after.is_zero() {
                    let asleep = Instant::now();
                    tokio::time::sleep(after.saturating_sub(TIMER)).await;
                    let microseconds = asleep.elapsed().as_micros() as usize;
                    held.microseconds.fetch_add(microseconds, Ordering::Relaxed);
                    held.replies.fetch_add(1, Ordering::Relaxed);
                }
                (status, headers, body, true)
            }
            Act::Half(body) => (200, String::new(), body, false),
            Act::Cut => return Ok(()),
        };
        let sent = if whole { body.len() } else { body.len() / 2 };
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{}",
            body.len(),
            &body[..sent],
        );
        stream.write_all(answer.as_bytes()).await?;
        if !whole {
            return Ok(());
        }
    }
}
