//! Opening the relay to protect: the limiter (class 71), over-current, and supply voltage out of limits; closing it again
//! with patience, and not at all after too many trips.

use hardware::board::Sample;
use protocol::cosem::disconnect::RelayReason;
use protocol::cosem::events::Event;
use protocol::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

/// Samples in a row above the over-current limit before the relay opens: one may be an inrush.
const OVER_CURRENT_SAMPLES: u8 = 2;
/// Trips are counted together when they follow within this time.
const TRIP_WINDOW_S: u32 = 1_800;

/// Thresholds and times; zero switches a protection off. Part of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Watts in normal times.
    pub normal_w: u32,
    /// Watts while the emergency profile is active.
    pub emergency_w: u32,
    /// Seconds above the threshold before the relay opens.
    pub over_s: u32,
    /// Seconds after any trip before the relay may close again.
    pub under_s: u32,
    /// Emergency profile: group it belongs to, when it begins (UTC) and how long it lasts.
    pub emergency_id: u16,
    /// See above.
    pub emergency_from_utc_s: u32,
    /// See above.
    pub emergency_duration_s: u32,
    /// The group whose emergency profiles this meter follows; 0 none.
    pub emergency_group: u16,
    /// Milliamperes at which the relay opens within two samples.
    pub over_current_ma: u32,
    /// Millivolts below which the supply is bad.
    pub under_voltage_mv: u32,
    /// Millivolts above which it is.
    pub over_voltage_mv: u32,
    /// Seconds of bad voltage before the relay opens.
    pub voltage_s: u32,
    /// Trips within half an hour after which only a remote command releases the relay.
    pub trips_max: u8,
}

impl Limits {
    /// Whether the emergency profile applies.
    #[must_use]
    pub const fn emergency_active(&self, utc_s: u32) -> bool {
        self.emergency_group != 0
            && self.emergency_id == self.emergency_group
            && utc_s >= self.emergency_from_utc_s
            && utc_s - self.emergency_from_utc_s < self.emergency_duration_s
    }

    /// The threshold in force in watts; 0 is none.
    #[must_use]
    pub const fn threshold_w(&self, utc_s: Option<u32>) -> u32 {
        match utc_s {
            Some(utc_s) if self.emergency_active(utc_s) => self.emergency_w,
            _ => self.normal_w,
        }
    }

    const fn bad_voltage(&self, mv: u32) -> bool {
        (self.under_voltage_mv != 0 && mv < self.under_voltage_mv)
            || (self.over_voltage_mv != 0 && mv > self.over_voltage_mv)
    }
}

/// What tripped and how often. Part of the record: a restart does not release it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tripped {
    /// What holds the relay open.
    pub reason: Option<RelayReason>,
    /// Trips within the window.
    pub count: u8,
    /// When the first of them was, UTC.
    pub first_utc_s: u32,
}

impl Tripped {
    /// Counts a trip; too many lock the relay out.
    pub fn trip(&mut self, reason: RelayReason, trips_max: u8, utc_s: u32) {
        let together = self.count > 0 && utc_s.saturating_sub(self.first_utc_s) <= TRIP_WINDOW_S;
        if together {
            self.count = self.count.saturating_add(1);
        } else {
            (self.count, self.first_utc_s) = (1, utc_s);
        }
        let locked = trips_max > 0 && self.count >= trips_max;
        self.reason = Some(if locked { RelayReason::LockedOut } else { reason });
    }
}

/// How long what has lasted. Not stored: a restart counts anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watch {
    over_since: Option<Instant>,
    over_current: u8,
    bad_voltage_since: Option<Instant>,
    good_since: Option<Instant>,
}

/// What [`Watch::look`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Open the relay, and why; the event's detail is the measured value.
    Trip(RelayReason, Event, i32),
    /// The reason has been gone for long enough.
    Release,
}

impl Watch {
    /// Looks at a sample.
    pub fn look(
        &mut self,
        now: Instant,
        utc_s: Option<u32>,
        sample: &Sample,
        limits: &Limits,
        tripped: &Tripped,
    ) -> Option<Finding> {
        let bad_voltage = limits.bad_voltage(sample.voltage_mv);
        match tripped.reason {
            None => self.watch_for_trip(now, utc_s, sample, limits, bad_voltage),
            Some(RelayReason::LockedOut) => None,
            Some(reason) => {
                let still = reason == RelayReason::Voltage && bad_voltage;
                self.good_since = if still { None } else { Some(self.good_since.unwrap_or(now)) };
                let patience = Duration::from_secs(u64::from(limits.under_s));
                let released = self.good_since.is_some_and(|since| now.since(since) >= patience);
                if released {
                    *self = Self::default();
                }
                released.then_some(Finding::Release)
            }
        }
    }

    fn watch_for_trip(
        &mut self,
        now: Instant,
        utc_s: Option<u32>,
        sample: &Sample,
        limits: &Limits,
        bad_voltage: bool,
    ) -> Option<Finding> {
        let detail = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let over_current = limits.over_current_ma != 0 && sample.current_ma > limits.over_current_ma;
        self.over_current = if over_current { self.over_current.saturating_add(1) } else { 0 };
        if self.over_current >= OVER_CURRENT_SAMPLES {
            *self = Self::default();
            let ma = detail(sample.current_ma);
            return Some(Finding::Trip(RelayReason::OverCurrent, Event::OverCurrentTrip, ma));
        }
        if lasted(&mut self.bad_voltage_since, bad_voltage, now, limits.voltage_s) {
            *self = Self::default();
            let mv = detail(sample.voltage_mv);
            return Some(Finding::Trip(RelayReason::Voltage, Event::VoltageTrip, mv));
        }
        let threshold = limits.threshold_w(utc_s);
        let watts = sample.active_power_mw.max(0).unsigned_abs() / 1000;
        let over = threshold != 0 && watts > threshold;
        if lasted(&mut self.over_since, over, now, limits.over_s) {
            *self = Self::default();
            return Some(Finding::Trip(RelayReason::Overload, Event::OverloadTrip, detail(watts)));
        }
        None
    }
}

/// Whether `condition` has held for `seconds`.
fn lasted(since: &mut Option<Instant>, condition: bool, now: Instant, seconds: u32) -> bool {
    if !condition {
        *since = None;
        return false;
    }
    let from = *since.get_or_insert(now);
    now.since(from) >= Duration::from_secs(u64::from(seconds))
}
