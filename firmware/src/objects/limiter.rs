//! The limiter (class 71).

use hardware::board::{Board, Clock};
use protocol::codec::axdr::Data;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::class::{Access, Items};
use protocol::cosem::limiter::{Actions, EmergencyProfile, Limiter, MonitoredValue, ScriptReference};
use protocol::cosem::{FromData, obis};

use crate::meter::Meter;

/// The meter as its only object of the class.
pub(super) struct LimiterObject<'m, B: Board>(pub &'m mut Meter<B>);

fn watts(value: Data<'_>) -> Access<u32> {
    u32::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)
}

impl<B: Board> Limiter for LimiterObject<'_, B> {
    fn monitored_value(&mut self) -> Access<MonitoredValue> {
        Ok(MonitoredValue { class_id: 3, logical_name: obis::IMPORT_POWER, attribute: 2 })
    }

    fn threshold_active(&mut self) -> Access<Data<'_>> {
        let now = self.0.board.clock().utc_s();
        Ok(Data::DoubleLongUnsigned(self.0.record.limits.threshold_w(now)))
    }

    fn threshold_normal(&mut self) -> Access<Data<'_>> {
        Ok(Data::DoubleLongUnsigned(self.0.record.limits.normal_w))
    }

    fn set_threshold_normal(&mut self, value: Data<'_>) -> Access<()> {
        let normal_w = watts(value)?;
        self.0.reconfigure(&mut |next| next.limits.normal_w = normal_w)
    }

    fn threshold_emergency(&mut self) -> Access<Data<'_>> {
        Ok(Data::DoubleLongUnsigned(self.0.record.limits.emergency_w))
    }

    fn set_threshold_emergency(&mut self, value: Data<'_>) -> Access<()> {
        let emergency_w = watts(value)?;
        self.0.reconfigure(&mut |next| next.limits.emergency_w = emergency_w)
    }

    fn min_over_threshold_duration(&mut self) -> Access<u32> {
        Ok(self.0.record.limits.over_s)
    }

    fn set_min_over_threshold_duration(&mut self, seconds: u32) -> Access<()> {
        self.0.reconfigure(&mut |next| next.limits.over_s = seconds)
    }

    fn min_under_threshold_duration(&mut self) -> Access<u32> {
        Ok(self.0.record.limits.under_s)
    }

    fn set_min_under_threshold_duration(&mut self, seconds: u32) -> Access<()> {
        self.0.reconfigure(&mut |next| next.limits.under_s = seconds)
    }

    fn emergency_profile(&mut self) -> Access<EmergencyProfile> {
        let limits = &self.0.record.limits;
        Ok(EmergencyProfile {
            id: limits.emergency_id,
            activation_time: self.0.settings.zone.moment(limits.emergency_from_utc_s),
            duration_s: limits.emergency_duration_s,
        })
    }

    fn set_emergency_profile(&mut self, profile: EmergencyProfile) -> Access<()> {
        let from = self.0.moment(profile.activation_time)?;
        self.0.reconfigure(&mut |next| {
            next.limits.emergency_id = profile.id;
            next.limits.emergency_from_utc_s = from;
            next.limits.emergency_duration_s = profile.duration_s;
        })
    }

    fn emergency_profile_group_id_list(&mut self) -> Access<impl ExactSizeIterator<Item = u16>> {
        Ok(Some(self.0.record.limits.emergency_group).filter(|group| *group != 0).into_iter())
    }

    /// One group is kept; a list of more is refused rather than cut.
    fn set_emergency_profile_group_id_list(&mut self, groups: Items<'_, u16>) -> Access<()> {
        if groups.len() > 1 {
            return Err(DataAccessResult::OtherReason);
        }
        let group = groups.iter().next().unwrap_or(Ok(0)).map_err(|_| DataAccessResult::TypeUnmatched)?;
        self.0.reconfigure(&mut |next| next.limits.emergency_group = group)
    }

    fn emergency_profile_active(&mut self) -> Access<bool> {
        let now = self.0.board.clock().utc_s();
        Ok(now.is_some_and(|at| self.0.record.limits.emergency_active(at)))
    }

    fn actions(&mut self) -> Access<Actions> {
        // Script 1 opens, 2 closes.
        let script_logical_name = obis::DISCONNECT_SCRIPTS;
        let script = |script_selector| ScriptReference { script_logical_name, script_selector };
        Ok(Actions { action_over_threshold: script(1), action_under_threshold: script(2) })
    }
}
