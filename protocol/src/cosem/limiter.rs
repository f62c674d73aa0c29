//! Class 71, limiter (version 0).

use super::class::{Any, class, structure};
pub use super::script_table::ScriptReference;
use crate::codec::axdr::DateTime;
use crate::codec::obis::Obis;

structure! {
    /// What is watched.
    MonitoredValue {
        /// Class of the object.
        class_id: u16,
        /// Its logical name.
        logical_name: Obis,
        /// Its attribute.
        attribute: i8,
    }
}

structure! {
    /// When the emergency threshold applies.
    EmergencyProfile {
        /// Group id.
        id: u16,
        /// When it begins.
        activation_time: DateTime,
        /// Seconds.
        duration_s: u32,
    }
}

structure! {
    /// What runs when the threshold is crossed.
    Actions {
        /// Upwards, after the time of attribute 6.
        action_over_threshold: ScriptReference,
        /// Downwards, after the time of attribute 7.
        action_under_threshold: ScriptReference,
    }
}

class! {
    /// Limiter.
    Limiter = 71, version 0;
    attributes {
        /// What is watched.
        2 MONITORED_VALUE: (MonitoredValue), monitored_value;
        /// The threshold in force, of the type of the monitored value.
        3 THRESHOLD_ACTIVE: (Any), threshold_active;
        /// The threshold in normal times.
        4 THRESHOLD_NORMAL: (Any), threshold_normal, set_threshold_normal;
        /// The threshold of the emergency profile.
        5 THRESHOLD_EMERGENCY: (Any), threshold_emergency, set_threshold_emergency;
        /// Seconds above before the over-threshold action.
        6 MIN_OVER_THRESHOLD_DURATION: (u32), min_over_threshold_duration, set_min_over_threshold_duration;
        /// Seconds below before the under-threshold action.
        7 MIN_UNDER_THRESHOLD_DURATION: (u32), min_under_threshold_duration, set_min_under_threshold_duration;
        /// When the emergency threshold applies.
        8 EMERGENCY_PROFILE: (EmergencyProfile), emergency_profile, set_emergency_profile;
        /// The groups that an emergency profile is for.
        9 EMERGENCY_PROFILE_GROUP_ID_LIST: [u16], emergency_profile_group_id_list, set_emergency_profile_group_id_list;
        /// Whether it applies now.
        10 EMERGENCY_PROFILE_ACTIVE: (bool), emergency_profile_active;
        /// Scripts run over and under the threshold.
        11 ACTIONS: (Actions), actions;
    }
    methods {}
}
