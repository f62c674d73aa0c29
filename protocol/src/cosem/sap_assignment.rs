//! Class 17, SAP assignment (version 0): the logical devices of a physical device.

use super::class::{class, structure};

structure! {
    /// A logical device.
    AsslistElement<'a> {
        /// Its server address.
        sap: u16,
        /// Its name; empty takes the device away.
        logical_device_name: &'a [u8],
    }
}

class! {
    /// SAP assignment.
    SapAssignment = 17, version 0;
    attributes {
        /// The logical devices.
        2 SAP_ASSIGNMENT_LIST: [AsslistElement<'static>], sap_assignment_list;
    }
    methods {
        /// Connects a logical device to an address.
        1 CONNECT_LOGICAL_DEVICE: (AsslistElement<'static>), connect_logical_device;
    }
}
