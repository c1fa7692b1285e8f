//! What can go wrong, in the classes that the exit codes tell apart.

use thiserror::Error;

/// A failure, with one line that names the thing, what went wrong and the next step.
#[derive(Debug, Error)]
pub enum Error {
    /// The command cannot be run like this.
    #[error("{0}")]
    Usage(String),
    /// The user may not do this.
    #[error("{0}")]
    NotPermitted(String),
    /// The kernel cannot do this, or the programs were not built.
    #[error("{0}")]
    Kernel(String),
    /// There is no such device.
    #[error("{0}")]
    NoDevice(String),
    /// A file that was to be read is not what it should be.
    #[error("{0}")]
    Input(String),
    /// Anything else.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The exit code that stands for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Internal(_) => 1,
            Self::Usage(_) => 2,
            Self::NotPermitted(_) => 3,
            Self::Kernel(_) => 4,
            Self::NoDevice(_) => 5,
            Self::Input(_) => 6,
        }
    }
}
