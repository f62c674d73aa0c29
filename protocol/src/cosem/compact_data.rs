//! Class 62, compact data (version 0): several attributes in one octet string, without their types.

use super::class::{Nothing, Octets, class};
use super::credit::wire_enum;
pub use super::profile::CaptureObject;
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};

wire_enum! {
    /// Attribute 6.
    CaptureMethod {
        /// By method 2, or with a schedule.
        Invoked = 0,
        /// Whenever the buffer is read.
        Implicit = 1,
    }
}

class! {
    /// Compact data. The buffer begins with the template id; then each captured value without its tag, in order. The
    /// template description is the values' types as a compact array's type description has them.
    CompactData = 62, version 0;
    attributes {
        /// The captured values.
        2 COMPACT_BUFFER: (Octets), compact_buffer;
        /// What is captured.
        3 CAPTURE_OBJECTS: [CaptureObject], capture_objects, set_capture_objects;
        /// Which template the buffer follows.
        4 TEMPLATE_ID: (u8), template_id, set_template_id;
        /// The types of the values.
        5 TEMPLATE_DESCRIPTION: (Octets), template_description;
        /// When it is captured.
        6 CAPTURE_METHOD: (CaptureMethod), capture_method, set_capture_method;
    }
    methods {
        /// Empties the buffer.
        1 RESET: (Nothing), reset;
        /// Captures now.
        2 CAPTURE: (Nothing), capture;
    }
}
