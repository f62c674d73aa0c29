//! Class 1, data (version 0): the value is whatever the object is for.

use super::class::{Any, class};

class! {
    /// Data.
    Data = 1, version 0;
    attributes {
        /// The value.
        2 VALUE: {Any}, value, set_value;
    }
    methods {}
}
