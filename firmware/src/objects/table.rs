//! Which objects the meter has, and who may do what with them.

use protocol::codec::cosem::{AttributeAccess, MethodAccess, ObjectRef};
use protocol::codec::obis::Obis;
use protocol::cosem::{
    account, association, charge, clock, credit, data, disconnect, image_transfer, limiter, obis, profile,
    push_setup, register, security_setup, token_gateway,
};
use protocol::dlms::model::Caller;

use super::metrology::is_metrology;

/// Class 17, SAP assignment.
pub const SAP_ASSIGNMENT_CLASS: u16 = 17;

/// One object: its class and name, and how many attributes and methods the class has.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    pub at: ObjectRef,
    pub attributes: u8,
    pub methods: u8,
}

const fn object(class_id: u16, version: u8, name: Obis, attributes: u8, methods: u8) -> Object {
    Object { at: ObjectRef::new(class_id, version, name), attributes, methods }
}

const fn value(name: Obis) -> Object {
    object(data::CLASS, 0, name, 2, 0)
}

const fn measured(name: Obis) -> Object {
    object(register::CLASS, 0, name, 3, 1)
}

/// Every object of the meter.
pub const OBJECTS: [Object; 53] = [
    value(obis::LOGICAL_DEVICE_NAME),
    object(clock::CLASS, 0, obis::CLOCK, 9, 6),
    value(obis::INVOCATION_COUNTER),
    object(association::CLASS, association::VERSION, obis::ASSOCIATION, 9, 4),
    object(SAP_ASSIGNMENT_CLASS, 0, obis::SAP_ASSIGNMENT, 2, 1),
    object(security_setup::CLASS, security_setup::VERSION, obis::SECURITY_SETUP, 6, 8),
    value(obis::SERIAL),
    value(obis::PAN),
    value(obis::FIRMWARE_VERSION),
    object(image_transfer::CLASS, 0, obis::IMAGE_TRANSFER, 7, 4),
    value(obis::CONFIGURATION_CHANGES),
    value(obis::CONFIGURATION_DIGEST),
    value(obis::METER_CONSTANT),
    value(obis::CURRENT_RATIO_NUMERATOR),
    value(obis::VOLTAGE_RATIO_NUMERATOR),
    value(obis::CURRENT_RATIO_DENOMINATOR),
    value(obis::VOLTAGE_RATIO_DENOMINATOR),
    value(obis::CALIBRATION),
    measured(obis::IMPORT_ENERGY),
    measured(obis::EXPORT_ENERGY),
    measured(obis::IMPORT_POWER),
    measured(obis::EXPORT_POWER),
    measured(obis::REACTIVE_POWER),
    measured(obis::VOLTAGE),
    measured(obis::CURRENT),
    measured(obis::NEUTRAL_CURRENT),
    measured(obis::POWER_FACTOR),
    measured(obis::FREQUENCY),
    object(profile::CLASS, 1, obis::LOAD_PROFILE, 8, 2),
    object(profile::CLASS, 1, obis::DAILY_PROFILE, 8, 2),
    object(profile::CLASS, 1, obis::MONTHLY_PROFILE, 8, 2),
    value(obis::PROFILE_STATUS),
    object(profile::CLASS, 1, obis::EVENT_LOG, 8, 2),
    value(obis::EVENT_CODE),
    value(obis::EVENT_DETAIL),
    object(push_setup::CLASS, 0, obis::PUSH_ON_ALARM, 7, 1),
    object(disconnect::CLASS, 0, obis::DISCONNECT, 4, 2),
    value(obis::RELAY_REASON),
    object(limiter::CLASS, 0, obis::LIMITER, 11, 0),
    object(account::CLASS, 0, obis::ACCOUNT, 19, 3),
    object(credit::CLASS, 0, obis::TOKEN_CREDIT, 11, 3),
    object(credit::CLASS, 0, obis::EMERGENCY_CREDIT, 11, 3),
    object(charge::CLASS, 0, obis::CONSUMPTION_CHARGE, 13, 5),
    object(charge::CLASS, 0, obis::DAILY_CHARGE, 13, 5),
    object(charge::CLASS, 0, obis::DEBT_CHARGE, 13, 5),
    object(token_gateway::CLASS, 0, obis::TOKEN_GATEWAY, 6, 1),
    value(obis::TARIFF_ACTIVE),
    value(obis::TARIFF_PASSIVE),
    value(obis::TARIFF_ACTIVATION),
    value(obis::TARIFF_RATE),
    value(obis::SUPPLY_GROUP),
    value(obis::KEY_REVISION),
    value(obis::TARIFF_INDEX),
];

/// Client addresses of the meter's associations.
pub mod client {
    /// No security: name, clock, invocation counter.
    pub const PUBLIC: u8 = 16;
    /// Password: reads everything.
    pub const READER: u8 = 17;
    /// High-level security: tokens, relay, clock.
    pub const VENDING: u8 = 18;
    /// High-level security: everything.
    pub const MANAGEMENT: u8 = 1;
}

/// The object of that name, whatever its class.
pub fn find(name: Obis) -> Option<&'static Object> {
    OBJECTS.iter().find(|o| o.at.logical_name == name)
}

/// Whether the caller is who its address says: the two powerful ones only after high-level security.
fn is_genuine(caller: Caller) -> bool {
    match caller.client_sap {
        client::PUBLIC | client::READER => true,
        client::VENDING | client::MANAGEMENT => caller.authenticated,
        _ => false,
    }
}

impl Object {
    /// Whether the caller sees the object at all.
    pub fn visible_to(&self, caller: Caller) -> bool {
        let name = self.at.logical_name;
        is_genuine(caller)
            && (caller.client_sap != client::PUBLIC
                || self.at.class_id == association::CLASS
                || name == obis::LOGICAL_DEVICE_NAME
                || name == obis::CLOCK
                || name == obis::INVOCATION_COUNTER)
    }

    /// Rights on attribute `index`.
    pub fn attribute_access(&self, caller: Caller, index: i8) -> AttributeAccess {
        let exists = u8::try_from(index).is_ok_and(|i| i >= 1 && i <= self.attributes);
        if !exists || !self.visible_to(caller) {
            return AttributeAccess::empty();
        }
        // The secret of an association is never read.
        if self.at.class_id == association::CLASS && index == 7 {
            return AttributeAccess::empty();
        }
        let name = self.at.logical_name;
        let management = caller.client_sap == client::MANAGEMENT;
        let writes = match (self.at.class_id, index) {
            (clock::CLASS, 2) => management || caller.client_sap == client::VENDING,
            (clock::CLASS, 3 | 5..=8) => management,
            (disconnect::CLASS, 4) | (account::CLASS, 2 | 16) => management,
            (data::CLASS, 2) => {
                management
                    && (name == obis::TARIFF_PASSIVE || name == obis::TARIFF_ACTIVATION || is_metrology(name))
            }
            (limiter::CLASS, 4..=9) | (push_setup::CLASS, 3 | 6 | 7) => management,
            (credit::CLASS, 5) => management && name == obis::TOKEN_CREDIT,
            (credit::CLASS, 9 | 10) => management && name == obis::EMERGENCY_CREDIT,
            (charge::CLASS, 7) => management && name != obis::CONSUMPTION_CHARGE,
            (charge::CLASS, 13) => management && name == obis::DEBT_CHARGE,
            _ => false,
        };
        if writes { AttributeAccess::READ | AttributeAccess::WRITE } else { AttributeAccess::READ }
    }

    /// Rights on method `index`. Methods that the meter does not have are never granted.
    pub fn method_access(&self, caller: Caller, index: i8) -> MethodAccess {
        if !self.visible_to(caller) {
            return MethodAccess::empty();
        }
        let name = self.at.logical_name;
        let management = caller.client_sap == client::MANAGEMENT;
        let vending = management || caller.client_sap == client::VENDING;
        let granted = match (self.at.class_id, index) {
            (disconnect::CLASS, 1 | 2) | (token_gateway::CLASS, 1) | (clock::CLASS, 1..=6) => vending,
            (account::CLASS, 1 | 2) | (image_transfer::CLASS, 1..=4) | (push_setup::CLASS, 1) => management,
            (credit::CLASS, 1 | 2) => management && name == obis::TOKEN_CREDIT,
            (credit::CLASS, 3) => vending && name == obis::EMERGENCY_CREDIT,
            (charge::CLASS, 1 | 2) => management && name != obis::CONSUMPTION_CHARGE,
            (charge::CLASS, 4 | 5) => management && name == obis::DEBT_CHARGE,
            (security_setup::CLASS, 1 | 2) => management,
            (profile::CLASS, 1 | 2) => management && name == obis::LOAD_PROFILE,
            // The engine answers the HLS reply itself.
            (association::CLASS, 1) => vending,
            _ => false,
        };
        if granted { MethodAccess::ACCESS } else { MethodAccess::empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        for (i, a) in OBJECTS.iter().enumerate() {
            assert!(OBJECTS[i + 1..].iter().all(|b| a.at.logical_name != b.at.logical_name), "{:?}", a.at);
        }
    }

    #[test]
    fn only_authenticated_vending_and_management_switch_the_relay_and_enter_tokens() {
        for sap in 0..=255 {
            for authenticated in [false, true] {
                let caller = Caller { client_sap: sap, authenticated };
                let may = authenticated && (sap == client::VENDING || sap == client::MANAGEMENT);
                for (name, method) in [(obis::DISCONNECT, 1), (obis::DISCONNECT, 2), (obis::TOKEN_GATEWAY, 1)]
                {
                    let granted = find(name).unwrap().method_access(caller, method).can_invoke();
                    assert_eq!(granted, may, "client {sap}, {name}");
                }
            }
        }
    }

    #[test]
    fn the_public_client_sees_name_clock_and_counter_alone() {
        let caller = Caller { client_sap: client::PUBLIC, authenticated: false };
        let seen = OBJECTS.iter().filter(|o| o.visible_to(caller)).count();
        assert_eq!(seen, 4, "these three and its own association");
        assert!(!find(obis::IMPORT_ENERGY).unwrap().attribute_access(caller, 2).can_read());
        assert!(!find(obis::CLOCK).unwrap().attribute_access(caller, 2).can_write());
    }
}
