//! The process with the socket.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::set_name;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::confine::confine;
use super::connections::{self, Listener};
use super::feed::{self, Tls};
use super::site::Site;

/// What the program is called by when it is to be this process. The feed is then its standard input, and the
/// socket its standard output.
pub const NAME: &str = "verity-trace: http";

/// What is open besides connections.
const FILES: u64 = 32;

/// Serves until the process that watches is gone.
pub fn run() -> Result<()> {
    set_name(c"verity-http").context("name this process")?;
    let feed = io::stdin().as_fd().try_clone_to_owned();
    let mut feed = StdUnixStream::from(feed.context("take the feed")?);
    let socket = io::stdout().as_fd().try_clone_to_owned();
    let socket = socket.context("take the socket")?;
    let settings = feed::settings(&mut feed).context("read how to serve")?;
    let tls = settings.tls.as_ref().map(acceptor).transpose()?;
    let is_unix = settings.is_unix;
    let account = settings.account;
    let site = Arc::new(Site::new(settings, Instant::now()));
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("make a runtime")?;
    // The other process is told, and this one ends with it.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let ignored = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, ignored).context("pass over signals")?;
    }
    let within = runtime.enter();
    let listener = Listener::new(socket, is_unix).context("listen")?;
    feed.set_nonblocking(true).context("not wait")?;
    let mut feed = UnixStream::from_std(feed).context("follow the feed")?;
    drop(within);
    confine(account, FILES + u64::from(connections::MOST))?;
    runtime.block_on(async {
        tokio::spawn(connections::accept(listener, tls, Arc::clone(&site)));
        loop {
            match feed::next(&mut feed).await {
                Ok((kind, bytes)) => site.learn(kind, bytes, Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error).context("follow the feed"),
            }
        }
    })
}

/// That somebody can speak TLS with these.
pub fn check(tls: &Tls) -> Result<()> {
    acceptor(tls).map(|_| ())
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_slice_iter(tls.certificates.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.context("read the certificates")?;
    ensure!(!certificates.is_empty(), "there is no certificate");
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).context("read the key")?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("use the certificate and the key")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
