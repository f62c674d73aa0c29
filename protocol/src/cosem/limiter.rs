//! Class 71, limiter (version 0).

use super::Attr;
use super::values::{fields, put_obis, put_structure};
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;

/// Interface class.
pub const CLASS: u16 = 71;
/// What is watched.
pub const MONITORED_VALUE: Attr<MonitoredValue> = Attr::new(CLASS, 2);
/// The threshold in force.
pub const THRESHOLD_ACTIVE: Attr<i64> = Attr::new(CLASS, 3);
/// The threshold in normal times.
pub const THRESHOLD_NORMAL: Attr<i64> = Attr::new(CLASS, 4);
/// The threshold of the emergency profile.
pub const THRESHOLD_EMERGENCY: Attr<i64> = Attr::new(CLASS, 5);
/// Seconds above before the over-threshold action.
pub const MIN_OVER_THRESHOLD_DURATION: Attr<u32> = Attr::new(CLASS, 6);
/// Seconds below before the under-threshold action.
pub const MIN_UNDER_THRESHOLD_DURATION: Attr<u32> = Attr::new(CLASS, 7);
/// When the emergency threshold applies.
pub const EMERGENCY_PROFILE: Attr<EmergencyProfile> = Attr::new(CLASS, 8);
/// Array of group ids.
pub const EMERGENCY_PROFILE_GROUP_ID_LIST: i8 = 9;
/// Whether it does now.
pub const EMERGENCY_PROFILE_ACTIVE: Attr<bool> = Attr::new(CLASS, 10);
/// Scripts run over and under the threshold.
pub const ACTIONS: i8 = 11;

/// Attribute 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitoredValue {
    /// Class of the object.
    pub class_id: u16,
    /// Its logical name.
    pub logical_name: Obis,
    /// Its attribute.
    pub attribute: i8,
}

impl Encode for MonitoredValue {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 3)?;
        Data::LongUnsigned(self.class_id).encode(w)?;
        put_obis(w, self.logical_name)?;
        Data::Integer(self.attribute).encode(w)
    }
}

impl FromData<'_> for MonitoredValue {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [class, name, attribute] = fields(d)?;
        Ok(Self {
            class_id: u16::from_data(class)?,
            logical_name: Obis::from_data(name)?,
            attribute: i8::from_data(attribute)?,
        })
    }
}

/// Attribute 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmergencyProfile {
    /// Group id.
    pub id: u16,
    /// When it begins.
    pub activation_time: DateTime,
    /// Seconds.
    pub duration_s: u32,
}

impl Encode for EmergencyProfile {
    fn encode(&self, w: &mut dyn Writer) -> Result<()> {
        put_structure(w, 3)?;
        Data::LongUnsigned(self.id).encode(w)?;
        super::values::put_date_time(w, self.activation_time)?;
        Data::DoubleLongUnsigned(self.duration_s).encode(w)
    }
}

impl FromData<'_> for EmergencyProfile {
    fn from_data(d: Data<'_>) -> Result<Self> {
        let [id, time, duration] = fields(d)?;
        if duration.as_u64().is_none() {
            return Err(bad_value());
        }
        Ok(Self {
            id: u16::from_data(id)?,
            activation_time: DateTime::from_data(time)?,
            duration_s: u32::from_data(duration)?,
        })
    }
}

super::class::encoded!(MonitoredValue, EmergencyProfile);
