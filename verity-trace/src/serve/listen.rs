//! Where to listen, and the socket there.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::Mode;

use crate::error::{Error, Result};

/// An address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Of TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A socket that is listened on. One in the file system is removed in the end.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the port that the kernel chose where it was to choose one.
    pub address: Listen,
    socket: Option<OwnedFd>,
}

impl Listen {
    /// As `127.0.0.1:9466`, `[::1]:9466` or `unix:/run/verity-trace.sock`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.parse().map(Self::Tcp);
        address.map_err(|_| {
            "neither ADDRESS:PORT, such as 127.0.0.1:9466 or [::1]:9466, nor unix:PATH".to_owned()
        })
    }

    /// Whether nobody but users of this machine gets there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Begins to listen.
    pub fn bind(&self) -> Result<Bound> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(|error| self.refused(error))?;
                let address = listener.local_addr().context("ask for the port")?;
                Ok(Bound {
                    address: Self::Tcp(address),
                    socket: Some(listener.into()),
                })
            }
            Self::Unix(path) => {
                remove_stale(path)?;
                // For its owner alone. No other thread makes a file yet.
                let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
                let listener = UnixListener::bind(path);
                rustix::process::umask(before);
                Ok(Bound {
                    socket: Some(listener.map_err(|error| self.refused(error))?.into()),
                    address: self.clone(),
                })
            }
        }
    }

    fn refused(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NotPermitted(format!(
                "listen on {self}: not permitted; another address, or root"
            )),
            io::ErrorKind::AddrInUse => Error::Usage(format!(
                "listen on {self}: it is taken already; another address, or end what listens there"
            )),
            io::ErrorKind::AddrNotAvailable => Error::Usage(format!(
                "listen on {self}: this machine has no such address"
            )),
            _ => anyhow::Error::new(error)
                .context(format!("listen on {self}"))
                .into(),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Takes away the socket of a process that was killed: nobody listens on it.
fn remove_stale(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Bound {
    /// The socket, for the process that is to have it: this one has it no more.
    pub fn hand_over(&mut self) -> Option<OwnedFd> {
        self.socket.take()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.address {
            // One that somebody else removed is gone.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_address_is_local_or_not() {
        for (text, is_local) in [
            ("127.0.0.1:9466", true),
            ("127.9.9.9:0", true),
            ("[::1]:9466", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/run/x", true),
            ("0.0.0.0:9466", false),
            ("[::]:9466", false),
            ("192.0.2.1:9466", false),
        ] {
            let listen = Listen::parse(text).expect("an address");
            assert_eq!(listen.is_local(), is_local, "{text}");
            assert_eq!(listen.to_string(), text);
        }
        for text in [
            "",
            "9466",
            "localhost",
            "unix:",
            "127.0.0.1",
            "127.0.0.1:65536",
        ] {
            assert!(Listen::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_for_its_owner_replaces_none_that_is_in_use_and_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listen = Listen::Unix(path.clone());
        let bound = listen.bind().expect("bound");
        let mode = fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = listen.bind().expect_err("it is in use");
        assert_eq!(refused.exit_code(), 2);
        drop(bound);
        assert!(!path.exists());
        // As a process leaves it that was killed.
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        drop(listen.bind().expect("nobody listens on it"));
        fs::write(&path, "kept").expect("written");
        assert!(listen.bind().is_err());
        assert_eq!(fs::read(&path).expect("a file"), b"kept");
    }
}
