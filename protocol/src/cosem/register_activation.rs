//! Class 6, register activation (version 0): which registers count in which tariff.

use super::class::{Items, Octets, class, structure};
use crate::codec::obis::Obis;

structure! {
    /// A register that takes part.
    ObjectDefinition {
        /// Its class.
        class_id: u16,
        /// Its logical name.
        logical_name: Obis,
    }
}

structure! {
    /// The registers that count while the mask is active.
    RegisterActMask<'a> {
        /// Its name.
        mask_name: &'a [u8],
        /// Places in the register assignment, from 1.
        index_list: Items<'a, u8>,
    }
}

class! {
    /// Register activation.
    RegisterActivation = 6, version 0;
    attributes {
        /// The registers that take part.
        2 REGISTER_ASSIGNMENT: [ObjectDefinition], register_assignment;
        /// The masks.
        3 MASK_LIST: [RegisterActMask<'static>], mask_list;
        /// Name of the mask in force.
        4 ACTIVE_MASK: (Octets), active_mask, set_active_mask;
    }
    methods {
        /// Adds a register.
        1 ADD_REGISTER: (ObjectDefinition), add_register;
        /// Adds a mask, or replaces the one of that name.
        2 ADD_MASK: (RegisterActMask<'static>), add_mask;
        /// Removes the mask of that name.
        3 DELETE_MASK: (Octets), delete_mask;
    }
}
