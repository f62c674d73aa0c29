//! Class 21, register monitor (version 0): scripts that run when a value crosses a threshold.

use super::class::{Any, class, structure};
pub use super::limiter::MonitoredValue;
pub use super::script_table::ScriptReference;

structure! {
    /// What runs when a threshold is crossed.
    ActionSet {
        /// Upwards.
        action_up: ScriptReference,
        /// Downwards.
        action_down: ScriptReference,
    }
}

class! {
    /// Register monitor.
    RegisterMonitor = 21, version 0;
    attributes {
        /// The thresholds, of the type of the monitored value.
        2 THRESHOLDS: [Any], thresholds, set_thresholds;
        /// What is watched.
        3 MONITORED_VALUE: (MonitoredValue), monitored_value, set_monitored_value;
        /// One action set a threshold.
        4 ACTIONS: [ActionSet], actions, set_actions;
    }
    methods {}
}
