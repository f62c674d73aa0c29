//! How a subcommand fails: a message for a person and an exit code for a script.

use std::process::ExitCode;

/// A failure and its exit code. Codes above 63 are those of BSD `sysexits.h`; wrong usage of the command line is clap's 2.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was tried and did not succeed: a meter refused, a step was not verified. Exit code 1.
    #[error("{0}")]
    Refused(String),
    /// What was given is wrong: a bad amount, an unknown meter, a malformed file. Exit code 65.
    #[error("{0}")]
    Data(String),
    /// The gateway or a meter could not be reached, or gave no answer in time. Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// Something here broke. Exit code 70.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
    /// Not allowed: no token, or not one with this scope. Exit code 77.
    #[error("{0}")]
    Permission(String),
    /// The configuration is wrong. Exit code 78.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    /// A meter model is wrong. Exit code 78.
    #[error("{0}")]
    Model(#[from] crate::session::model::ModelError),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) => 1,
            Self::Data(_) => 65,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
            Self::Permission(_) => 77,
            Self::Config(_) | Self::Model(_) => 78,
        })
    }
}

#[cfg(feature = "demo")]
impl From<crate::demo::DemoError> for Failure {
    fn from(error: crate::demo::DemoError) -> Self {
        match error {
            crate::demo::DemoError::Start(error) => Self::Unavailable(format!("{error:#}")),
            error => Self::Refused(error.to_string()),
        }
    }
}
