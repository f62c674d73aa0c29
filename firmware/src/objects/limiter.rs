//! The limiter (class 71).

use hardware::board::{Board, Clock};
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::limiter::{EmergencyProfile, MonitoredValue};
use protocol::cosem::values::{put_array, put_obis, put_structure};
use protocol::cosem::{FromData, obis};

use super::full;
use crate::meter::Meter;

/// The disconnector's script table, and its scripts: open and close.
const SCRIPTS: (Obis, u16, u16) = (Obis::new(0, 0, 10, 0, 106, 255), 1, 2);

impl<B: Board> Meter<B> {
    pub(super) fn get_limiter(&mut self, index: i8, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let now = self.board.clock().utc_s();
        let limits = &self.record.limits;
        let watts = |w: u32, out: &mut dyn Writer| Data::DoubleLongUnsigned(w).encode(out);
        match index {
            2 => MonitoredValue { class_id: 3, logical_name: obis::IMPORT_POWER, attribute: 2 }.encode(out),
            3 => watts(limits.threshold_w(now), out),
            4 => watts(limits.normal_w, out),
            5 => watts(limits.emergency_w, out),
            6 => Data::DoubleLongUnsigned(limits.over_s).encode(out),
            7 => Data::DoubleLongUnsigned(limits.under_s).encode(out),
            8 => {
                let from = limits.emergency_from_utc_s;
                EmergencyProfile {
                    id: limits.emergency_id,
                    activation_time: self.settings.zone.moment(from),
                    duration_s: limits.emergency_duration_s,
                }
                .encode(out)
            }
            9 => {
                let groups = usize::from(limits.emergency_group != 0);
                put_array(out, groups).and_then(|()| match groups {
                    0 => Ok(()),
                    _ => Data::LongUnsigned(limits.emergency_group).encode(out),
                })
            }
            10 => Data::Boolean(now.is_some_and(|at| limits.emergency_active(at))).encode(out),
            11 => {
                let (name, open, close) = SCRIPTS;
                put_structure(out, 2).and_then(|()| {
                    [open, close].iter().try_for_each(|script| {
                        put_structure(out, 2)?;
                        put_obis(out, name)?;
                        Data::LongUnsigned(*script).encode(out)
                    })
                })
            }
            _ => return Err(DataAccessResult::ObjectUnavailable),
        }
        .map_err(full)
    }

    pub(super) fn set_limiter(&mut self, index: i8, value: Data<'_>) -> Result<(), DataAccessResult> {
        let number = || u32::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched);
        let mut next = self.record.clone();
        let limits = &mut next.limits;
        match index {
            4 => limits.normal_w = number()?,
            5 => limits.emergency_w = number()?,
            6 => limits.over_s = number()?,
            7 => limits.under_s = number()?,
            8 => {
                let profile =
                    EmergencyProfile::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
                let from = self.moment(profile.activation_time)?;
                limits.emergency_id = profile.id;
                limits.emergency_from_utc_s = from;
                limits.emergency_duration_s = profile.duration_s;
            }
            9 => {
                let groups = value.as_array().ok_or(DataAccessResult::TypeUnmatched)?;
                // One group is kept; a list of more is refused rather than cut.
                limits.emergency_group = match groups.len() {
                    0 => 0,
                    1 => {
                        groups.get(0).and_then(u16::from_data).map_err(|_| DataAccessResult::TypeUnmatched)?
                    }
                    _ => return Err(DataAccessResult::OtherReason),
                };
            }
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        self.configure(next)
    }
}
