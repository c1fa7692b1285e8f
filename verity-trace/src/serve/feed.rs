//! What the process that watches tells the one that serves, and nothing is told back.

use std::io::{self, Read, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::export::Document;
use crate::snapshot::Snapshot;

/// Bytes of one piece at most: a snapshot of 1024 busy devices has a tenth of it.
const MOST: u32 = 256 << 20;

/// How to serve, told once at the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Settings {
    /// Who to become; absent where this process cannot become anybody.
    pub account: Option<Account>,
    /// Whether the socket is one of the file system.
    pub is_unix: bool,
    /// What whoever is to see everything has to know; absent where nobody is.
    pub token: Option<String>,
    /// Whether without the token nothing is to be seen at all.
    pub is_closed: bool,
    /// With which certificate and key TLS is spoken; absent where it is not.
    pub tls: Option<Tls>,
    /// By which names this machine may be called, besides its addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Whether it is a recording, which holds for advice.
    pub is_recorded: bool,
    /// After so long without a word the other process is taken to hang.
    pub patience: Duration,
}

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// That of its group.
    pub gid: u32,
}

/// What TLS needs, in PEM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tls {
    /// The certificate, and those that it depends on.
    pub certificates: String,
    /// The key.
    pub key: String,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A snapshot, as the JSON document of it.
    Snapshot = 1,
    /// The slow I/Os, as they are to be served.
    Records = 2,
    /// Nothing new.
    Alive = 3,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::Snapshot, Self::Records, Self::Alive];
        all.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// The end that the watching process has.
#[derive(Debug)]
pub struct Feed<W>(W);

impl<W: Write> Feed<W> {
    /// Tells how to serve.
    pub fn start(mut out: W, settings: &Settings) -> io::Result<Self> {
        let text = serde_json::to_vec(settings)?;
        out.write_all(&length(&text)?.to_le_bytes())?;
        out.write_all(&text)?;
        Ok(Self(out))
    }

    /// Tells what is known now.
    pub fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let document = serde_json::to_vec(&Document::new(snapshot, None))?;
        self.piece(Kind::Snapshot, &document)
    }

    /// Tells which I/Os were slow.
    pub fn records(&mut self, records: &[u8]) -> io::Result<()> {
        self.piece(Kind::Records, records)
    }

    /// Tells that it is at work.
    pub fn alive(&mut self) -> io::Result<()> {
        self.piece(Kind::Alive, &[])
    }

    fn piece(&mut self, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(&[kind as u8])?;
        self.0.write_all(&length(bytes)?.to_le_bytes())?;
        self.0.write_all(bytes)
    }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    let length = u32::try_from(bytes.len()).ok();
    let length = length.filter(|&length| length <= MOST);
    length.ok_or_else(|| io::Error::other("a snapshot is too large to be served"))
}

/// Reads how to serve.
pub fn settings(mut from: impl Read) -> io::Result<Settings> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length).min(MOST);
    let mut text = Vec::new();
    from.take(length.into()).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Reads the next piece.
pub async fn next(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Kind, Vec<u8>)> {
    let malformed = || io::Error::other("this is no feed");
    let kind = Kind::of(from.read_u8().await?).ok_or_else(malformed)?;
    let length = from.read_u32_le().await?;
    if length > MOST {
        return Err(malformed());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).await?;
    Ok((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives_and_what_is_no_feed_is_an_error() {
        let told = Settings {
            token: Some("0123456789abcdef".to_owned()),
            patience: Duration::from_millis(1_500),
            ..Settings::default()
        };
        let mut bytes = Vec::new();
        let mut feed = Feed::start(&mut bytes, &told).expect("told");
        feed.records(b"[]").expect("told");
        feed.alive().expect("told");
        let mut rest = &bytes[..];
        let read = settings(&mut rest).expect("settings");
        assert_eq!((read.token, read.patience), (told.token, told.patience));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let records = next(&mut rest).await.expect("a piece");
            assert_eq!(records, (Kind::Records, b"[]".to_vec()));
            assert_eq!(
                next(&mut rest).await.expect("a piece"),
                (Kind::Alive, Vec::new())
            );
            let end = next(&mut rest).await.expect_err("the end");
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
            assert!(next(&mut &[9, 0, 0, 0, 0][..]).await.is_err());
            assert!(next(&mut &[1, 255, 255, 255, 255][..]).await.is_err());
        });
    }
}
