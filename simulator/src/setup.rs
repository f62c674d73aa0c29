//! What the meters of a street are set up with besides their identity.

use firmware::Personalisation;
use serde::Deserialize;

/// How a relay closes after a top-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closes {
    /// By itself.
    #[default]
    Automatically,
    /// A person presses the button.
    ByButton,
}

/// Settings of all DLMS meters of a street. The defaults protect nothing and close automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Setup {
    /// After a top-up.
    pub closes: Closes,
    /// Limiter in watts; 0 is none.
    pub limit_w: u32,
    /// Seconds above the limit before the relay opens.
    pub limit_s: u32,
    /// Seconds after a trip before the relay may close again.
    pub release_s: u32,
    /// Amperes at which it opens at once; 0 is none.
    pub over_current_a: u32,
    /// Trips in half an hour after which only a remote command closes it; 0 is none.
    pub trips_max: u8,
    /// The customers only consume: energy that flows out is a sign of tampering.
    pub imports_only: bool,
}

impl Setup {
    /// Gives these settings to a meter that leaves the factory.
    pub fn apply(&self, who: &mut Personalisation) {
        who.return_automatically = self.closes == Closes::Automatically;
        who.options.imports_only = self.imports_only;
        let limits = &mut who.options.limits;
        limits.normal_w = self.limit_w;
        limits.over_s = self.limit_s;
        limits.under_s = self.release_s;
        limits.over_current_ma = self.over_current_a.saturating_mul(1000);
        limits.trips_max = self.trips_max;
    }
}
