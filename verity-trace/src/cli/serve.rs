//! `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::interval;
use super::{Source, Subjects};
use crate::archive::Given;
use crate::error::Error;
use crate::selection::Selection;
use crate::serve::Listen;

/// What `serve` takes.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Where to listen: ADDRESS:PORT or unix:PATH, a socket for its owner alone; an address that others reach needs
    /// --token-file, --tls-certificate and --tls-key
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9466", value_parser = Listen::parse)]
    pub listen: Listen,
    /// File with the token that is needed for /records and for who submitted I/Os, and off this machine for all but
    /// the empty page: one line, and for its owner alone
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Speak TLS with this certificate, and those that it depends on, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// And with this key, in PEM, in a file for its owner alone
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// A name by which this machine may be called, besides localhost and any address; may be given more than once
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Time between two snapshots, such as 500ms, 1s or 2m [default: 1s; of a recording, as it was made]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Of a recording: at its end begin anew [default: go on with its last snapshot]
    #[arg(long)]
    pub repeat: bool,
    /// How to watch.
    #[command(flatten)]
    pub source: Source,
    /// What is served.
    #[command(flatten)]
    pub of: Subjects,
}

impl Serve {
    /// The recording, where there is one, and the devices.
    pub fn subjects(&self) -> Result<(Option<Given<'_>>, Selection), Error> {
        let watches = self.interval.is_some() || self.source != Source::default();
        match self.of.not_watched(watches)? {
            (None, _) if self.repeat => Err(Error::Usage(
                "--repeat is for a recording, and no argument is a file".to_owned(),
            )),
            given => Ok(given),
        }
    }

    /// That whoever comes from elsewhere is told nothing in plain text, and nothing without a token.
    pub fn check(&self) -> Result<(), Error> {
        let is_safe = self.token_file.is_some() && self.tls_key.is_some();
        if self.listen.is_local() || is_safe {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "others reach {}: this needs --token-file, --tls-certificate and --tls-key; or listen on 127.0.0.1",
            self.listen
        )))
    }
}
