//! Connections of any number of clients, of which none is waited for: each has some time for everything.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;
use tokio_rustls::TlsAcceptor;

use super::site::Site;

/// So many connections at once; more wait in the kernel's queue, which refuses some in the end.
pub const MOST: u16 = 128;
/// The time that a client has for the handshake of TLS, and then for the headers of each request.
const HEADERS: Duration = Duration::from_secs(5);
/// How long a connection is used.
const LIFETIME: Duration = Duration::from_secs(30);
/// The time that is left then for an answer that is being read.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of the headers of a request, and how many there may be.
const HEADER_BYTES: usize = 16 << 10;
const HEADER_COUNT: usize = 64;
/// After the kernel gave no connection, until it is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is listened on.
pub enum Listener {
    /// Of TCP.
    Tcp(TcpListener),
    /// Of the file system.
    Unix(UnixListener),
}

impl Listener {
    /// Of a socket that listens already. A runtime has to be there.
    pub fn new(socket: OwnedFd, is_unix: bool) -> Result<Self> {
        if is_unix {
            let listener = std::os::unix::net::UnixListener::from(socket);
            listener.set_nonblocking(true).context("not wait")?;
            return Ok(Self::Unix(UnixListener::from_std(listener)?));
        }
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true).context("not wait")?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?))
    }
}

/// Serves whoever connects, for ever.
pub async fn accept(listener: Listener, tls: Option<TlsAcceptor>, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(MOST.into()));
    // It is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (tls, site) = (tls.clone(), Arc::clone(&site));
        let accepted = match &listener {
            Listener::Tcp(listener) => {
                let accepted = listener.accept().await;
                accepted.map(|(stream, _)| begin(stream, tls, site, place))
            }
            Listener::Unix(listener) => {
                let accepted = listener.accept().await;
                accepted.map(|(stream, _)| begin(stream, tls, site, place))
            }
        };
        if accepted.is_err() {
            time::sleep(PAUSE).await;
        }
    }
}

/// Talks to a client while others connect. It has its place until then.
fn begin<S>(stream: S, tls: Option<TlsAcceptor>, site: Arc<Site>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        converse(stream, tls, site).await;
        drop(place);
    });
}

/// A client that goes away, or does not speak as it should, is not an error of ours.
async fn converse<S>(stream: S, tls: Option<TlsAcceptor>, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Some(tls) = tls else {
        return answer(stream, site).await;
    };
    if let Ok(Ok(stream)) = time::timeout(HEADERS, tls.accept(stream)).await {
        answer(stream, site).await;
    }
}

async fn answer<S>(stream: S, site: Arc<Site>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let response = site.answer(&request.map(|_| ()), Instant::now());
        async { Ok::<Response<Full<Bytes>>, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_headers(HEADER_COUNT)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    if time::timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        // What is not read by then is not read at all.
        let _ = time::timeout(GRACE, connection).await;
    }
}
