//! Class 4, extended register (version 0): a value with a status and the time it was captured.

use super::class::{Any, Nothing, class};
pub use super::register::ScalerUnit;
use crate::codec::axdr::DateTime;

class! {
    /// Extended register.
    ExtendedRegister = 4, version 0;
    attributes {
        /// The value.
        2 VALUE: (Any), value;
        /// What one count of it means.
        3 SCALER_UNIT: (ScalerUnit), scaler_unit;
        /// The manufacturer's status of the value.
        4 STATUS: (Any), status;
        /// When it was captured.
        5 CAPTURE_TIME: (DateTime), capture_time;
    }
    methods {
        /// Sets the value back to its default.
        1 RESET: (Nothing), reset;
    }
}
