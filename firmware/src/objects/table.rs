//! Which objects the meter has, and who may do what with them.

use protocol::codec::cosem::{AttributeAccess, MethodAccess, ObjectRef};
use protocol::codec::obis::Obis;
use protocol::cosem::class::Shape;
use protocol::cosem::{
    account, association, charge, clock, credit, data, disconnect, image_transfer, limiter, obis, profile,
    push_setup, register, sap_assignment, security_setup, token_gateway,
};
#[cfg(feature = "all-objects")]
use protocol::cosem::{
    action_schedule, activity_calendar, demand_register, extended_register, register_monitor, script_table,
    special_days,
};
use protocol::dlms::model::Caller;

/// One object: its class and name, how many attributes and methods the class has, and what may be done with it beside
/// reading.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    pub at: ObjectRef,
    pub attributes: u8,
    pub methods: u8,
    /// Methods that the meter has: bit n is method n.
    calls: u8,
    /// Vending invokes these methods too, and writes attribute 2 if anybody does.
    vending: bool,
    /// Attributes that are written: bit n is attribute n + 1.
    sets: u16,
}

const fn object(shape: &Shape, name: Obis) -> Object {
    let at = ObjectRef::new(shape.class_id, shape.version, name);
    let (attributes, methods) = (shape.attribute_count(), shape.method_count());
    Object { at, attributes, methods, calls: 0, vending: false, sets: 0 }
}

impl Object {
    /// Management writes these attributes.
    const fn sets(mut self, mut attributes: &[u8]) -> Self {
        while let [first, rest @ ..] = attributes {
            self.sets |= 1 << (*first - 1);
            attributes = rest;
        }
        self
    }

    /// Management invokes these methods.
    const fn calls(mut self, mut methods: &[u8]) -> Self {
        while let [first, rest @ ..] = methods {
            self.calls |= 1 << *first;
            methods = rest;
        }
        self
    }

    /// See [`Object::vending`].
    const fn for_vending(mut self) -> Self {
        self.vending = true;
        self
    }
}

const fn value(name: Obis) -> Object {
    object(&data::SHAPE, name)
}

/// A value that management writes.
const fn setting(name: Obis) -> Object {
    value(name).sets(&[2])
}

const fn measured(name: Obis) -> Object {
    object(&register::SHAPE, name)
}

/// Every object of the meter.
pub static OBJECTS: &[Object] = &[
    value(obis::LOGICAL_DEVICE_NAME),
    object(&clock::SHAPE, obis::CLOCK).sets(&[2, 3, 5, 6, 7, 8]).calls(&[1, 2, 3, 4, 5, 6]).for_vending(),
    value(obis::INVOCATION_COUNTER),
    // The engine answers the HLS reply itself.
    object(&association::SHAPE, obis::ASSOCIATION).calls(&[1]).for_vending(),
    object(&sap_assignment::SHAPE, obis::SAP_ASSIGNMENT),
    object(&security_setup::SHAPE, obis::SECURITY_SETUP).calls(&[1, 2]),
    #[cfg(feature = "ecdsa")]
    object(&security_setup::SHAPE, obis::SECURITY_SETUP_SUITE_1).calls(&[1, 2, 3, 4, 5]),
    value(obis::SERIAL),
    value(obis::PAN),
    value(obis::FIRMWARE_VERSION),
    object(&image_transfer::SHAPE, obis::IMAGE_TRANSFER).calls(&[1, 2, 3, 4]),
    value(obis::CONFIGURATION_CHANGES),
    value(obis::CONFIGURATION_DIGEST),
    setting(obis::METER_CONSTANT),
    setting(obis::CURRENT_RATIO_NUMERATOR),
    setting(obis::VOLTAGE_RATIO_NUMERATOR),
    setting(obis::CURRENT_RATIO_DENOMINATOR),
    setting(obis::VOLTAGE_RATIO_DENOMINATOR),
    setting(obis::CALIBRATION),
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
    object(&profile::SHAPE, obis::LOAD_PROFILE).sets(&[3, 4]).calls(&[1, 2]),
    object(&profile::SHAPE, obis::LOAD_PROFILE_2).sets(&[3, 4]).calls(&[1, 2]),
    object(&profile::SHAPE, obis::DAILY_PROFILE),
    object(&profile::SHAPE, obis::MONTHLY_PROFILE),
    value(obis::PROFILE_STATUS),
    // An event log is evidence: nobody clears it.
    object(&profile::SHAPE, obis::EVENT_LOG),
    value(obis::EVENT_CODE),
    value(obis::EVENT_DETAIL),
    object(&push_setup::SHAPE, obis::PUSH_ON_ALARM).sets(&[3, 6, 7]).calls(&[1]),
    object(&disconnect::SHAPE, obis::DISCONNECT).sets(&[4]).calls(&[1, 2]).for_vending(),
    value(obis::RELAY_REASON),
    object(&limiter::SHAPE, obis::LIMITER).sets(&[4, 5, 6, 7, 8, 9]),
    object(&account::SHAPE, obis::ACCOUNT).sets(&[2, 16]).calls(&[1, 2]),
    object(&credit::SHAPE, obis::TOKEN_CREDIT).sets(&[5]).calls(&[1, 2]),
    object(&credit::SHAPE, obis::EMERGENCY_CREDIT).sets(&[9, 10]).calls(&[3]).for_vending(),
    object(&charge::SHAPE, obis::CONSUMPTION_CHARGE),
    object(&charge::SHAPE, obis::DAILY_CHARGE).sets(&[7]).calls(&[1, 2]),
    object(&charge::SHAPE, obis::DEBT_CHARGE).sets(&[7, 13]).calls(&[1, 2, 4, 5]),
    object(&token_gateway::SHAPE, obis::TOKEN_GATEWAY).calls(&[1]).for_vending(),
    value(obis::TARIFF_ACTIVE),
    setting(obis::TARIFF_PASSIVE),
    setting(obis::TARIFF_ACTIVATION),
    value(obis::TARIFF_RATE),
    value(obis::SUPPLY_GROUP),
    value(obis::KEY_REVISION),
    value(obis::TARIFF_INDEX),
    #[cfg(feature = "all-objects")]
    object(&activity_calendar::SHAPE, obis::ACTIVITY_CALENDAR).sets(&[7, 8, 9, 10]).calls(&[1]),
    #[cfg(feature = "all-objects")]
    object(&special_days::SHAPE, obis::SPECIAL_DAYS),
    #[cfg(feature = "all-objects")]
    object(&special_days::SHAPE, obis::SPECIAL_DAYS_PASSIVE).sets(&[2]).calls(&[1, 2]),
    #[cfg(feature = "all-objects")]
    object(&script_table::SHAPE, obis::TARIFF_SCRIPTS),
    #[cfg(feature = "all-objects")]
    object(&script_table::SHAPE, obis::DISCONNECT_SCRIPTS).calls(&[1]).for_vending(),
    #[cfg(feature = "all-objects")]
    object(&script_table::SHAPE, obis::BILLING_SCRIPTS),
    #[cfg(feature = "all-objects")]
    object(&action_schedule::SHAPE, obis::MONTHLY_SCHEDULE),
    #[cfg(feature = "all-objects")]
    object(&action_schedule::SHAPE, obis::DAILY_SCHEDULE),
    #[cfg(feature = "all-objects")]
    object(&register_monitor::SHAPE, obis::VOLTAGE_MONITOR),
    #[cfg(feature = "all-objects")]
    object(&register_monitor::SHAPE, obis::CURRENT_MONITOR),
    #[cfg(feature = "all-objects")]
    object(&demand_register::SHAPE, obis::DEMAND),
    #[cfg(feature = "all-objects")]
    object(&extended_register::SHAPE, obis::PEAK_DEMAND).calls(&[1]),
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
    /// High-level security with signatures, in a meter that has suite 1: what vending may, and the keys it uses itself.
    pub const ECDSA: u8 = 19;
}

/// The object of that name, whatever its class.
pub fn find(name: Obis) -> Option<&'static Object> {
    OBJECTS.iter().find(|o| o.at.logical_name == name)
}

/// Whether the caller is who its address says: the two powerful ones only after high-level security.
fn is_genuine(caller: Caller) -> bool {
    match caller.client_sap {
        client::PUBLIC | client::READER => true,
        client::VENDING | client::MANAGEMENT | client::ECDSA => caller.authenticated,
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
        let writes = match caller.client_sap {
            client::MANAGEMENT => true,
            client::VENDING | client::ECDSA => self.vending && index == 2,
            _ => false,
        };
        let writes = writes && u32::from(self.sets) >> (index - 1) & 1 != 0;
        if writes { AttributeAccess::READ | AttributeAccess::WRITE } else { AttributeAccess::READ }
    }

    /// Rights on method `index`. Methods that the meter does not have are never granted.
    pub fn method_access(&self, caller: Caller, index: i8) -> MethodAccess {
        let calls = match caller.client_sap {
            client::MANAGEMENT => true,
            client::VENDING => self.vending,
            client::ECDSA => self.vending || self.at.logical_name == obis::SECURITY_SETUP_SUITE_1,
            _ => false,
        };
        let exists = (1..8).contains(&index) && self.calls >> index & 1 != 0;
        if calls && exists && self.visible_to(caller) { MethodAccess::ACCESS } else { MethodAccess::empty() }
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
    fn only_authenticated_vending_management_and_signing_clients_switch_the_relay_and_enter_tokens() {
        for sap in 0..=255 {
            for authenticated in [false, true] {
                let caller = Caller { client_sap: sap, authenticated };
                let may =
                    authenticated && matches!(sap, client::VENDING | client::MANAGEMENT | client::ECDSA);
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
