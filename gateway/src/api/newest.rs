//! Lists of what was asked for, newest first, of one meter or of all.

use serde::Deserialize;
use utoipa::IntoParams;

/// Which ones.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// Only of this meter.
    #[serde(default)]
    serial: Option<String>,
    /// At most this many, newest first, up to 1000.
    #[serde(default = "hundred")]
    limit: u32,
}

fn hundred() -> u32 {
    100
}

impl Newest {
    /// The meter, if only one is wanted.
    pub(super) fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// How many at most.
    pub(super) fn limit(&self) -> u32 {
        self.limit.min(super::meters::PAGE_MAX)
    }
}
