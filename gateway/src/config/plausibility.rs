//! `[plausibility]` and `[clock_check]`: what the operator holds for possible, of readings and of clocks.

use crate::reading::plausibility::Thresholds;
use crate::session::clock_check::ClockTerms;
use jiff::SignedDuration;
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPlausibility {
    customer_power_max_kw: Option<u32>,
    feeder_power_max_kw: Option<u32>,
    stuck_power_w: Option<u32>,
    stuck_hours: Option<u32>,
    no_use_days: Option<u32>,
}

impl RawPlausibility {
    /// What is not given is as it is by default.
    pub(super) fn thresholds(&self) -> Thresholds {
        let default = Thresholds::default();
        let watts = |kilowatts: Option<u32>, default| kilowatts.map_or(default, |kw| i64::from(kw) * 1_000);
        let hours = |hours: u32| SignedDuration::from_hours(i64::from(hours));
        Thresholds {
            customer_power_max_w: watts(self.customer_power_max_kw, default.customer_power_max_w),
            feeder_power_max_w: watts(self.feeder_power_max_kw, default.feeder_power_max_w),
            stuck_power_w: self.stuck_power_w.map_or(default.stuck_power_w, i64::from),
            stuck_after: self.stuck_hours.map_or(default.stuck_after, hours),
            no_use_after: self
                .no_use_days
                .map_or(default.no_use_after, |days| hours(days.saturating_mul(24))),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClockCheck {
    tolerance_s: Option<u32>,
    shift_max_s: Option<u32>,
    set_max_s: Option<u32>,
}

impl RawClockCheck {
    /// What is not given is as it is by default.
    pub(super) fn terms(&self) -> ClockTerms {
        let default = ClockTerms::default();
        let seconds = |given: Option<u32>, default| given.map_or(default, i64::from);
        ClockTerms {
            tolerance_s: seconds(self.tolerance_s, default.tolerance_s),
            shift_max_s: seconds(self.shift_max_s, default.shift_max_s).min(default.shift_max_s),
            set_max_s: seconds(self.set_max_s, default.set_max_s),
        }
    }
}
