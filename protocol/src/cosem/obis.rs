//! Logical names of the reference meter. Standard names come from the Blue Book's object list (IEC 62056-6-1); names with a
//! value group E from 128 up are the manufacturer's own.

use crate::codec::obis::Obis;

/// Defines the names and the table of what they mean.
macro_rules! names {
    ($($name:ident = $a:literal . $b:literal . $c:literal . $d:literal . $e:literal . $f:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: Obis = Obis::new($a, $b, $c, $d, $e, $f);)*
        /// What a logical name of the reference meter means, for people.
        #[must_use]
        pub fn text(name: Obis) -> Option<&'static str> {
            [$(($name, $text),)*].iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
        }
    };
}

names! {
    LOGICAL_DEVICE_NAME = 0 . 0 . 42 . 0 . 0 . 255, "Logical device name (class 1)";
    CLOCK = 0 . 0 . 1 . 0 . 0 . 255, "Clock (class 8)";
    ASSOCIATION = 0 . 0 . 40 . 0 . 0 . 255, "Current association (class 15)";
    SAP_ASSIGNMENT = 0 . 0 . 41 . 0 . 0 . 255, "SAP assignment (class 17)";
    SECURITY_SETUP = 0 . 0 . 43 . 0 . 0 . 255, "Security setup (class 64)";
    SECURITY_SETUP_SUITE_1 = 0 . 0 . 43 . 0 . 1 . 255, "Security setup of the client that signs (class 64)";
    INVOCATION_COUNTER = 0 . 0 . 43 . 1 . 0 . 255, "Highest invocation counter received (class 1)";
    SERIAL = 0 . 0 . 96 . 1 . 0 . 255, "Meter serial number: the DRN (class 1)";
    PAN = 0 . 0 . 96 . 1 . 1 . 255, "Meter primary account number of STS (class 1)";
    SUPPLY_GROUP = 0 . 0 . 96 . 1 . 128 . 255, "STS supply group code, null-data when unknown (class 1)";
    KEY_REVISION = 0 . 0 . 96 . 1 . 129 . 255, "STS key revision number (class 1)";
    TARIFF_INDEX = 0 . 0 . 96 . 1 . 130 . 255, "STS tariff index (class 1)";
    IMAGE_TRANSFER = 0 . 0 . 44 . 0 . 0 . 255, "Image transfer (class 18)";
    FIRMWARE_VERSION = 1 . 0 . 0 . 2 . 0 . 255, "Firmware version (class 1)";
    CONFIGURATION_DIGEST = 1 . 0 . 0 . 2 . 8 . 255, "Configuration digest (class 1)";
    CONFIGURATION_CHANGES = 0 . 0 . 96 . 2 . 0 . 255, "Number of configuration changes (class 1)";
    METER_CONSTANT = 1 . 0 . 0 . 3 . 0 . 255, "Pulses per kilowatt-hour of active energy (class 1)";
    CURRENT_RATIO_NUMERATOR = 1 . 0 . 0 . 4 . 2 . 255, "Current transformer ratio, numerator (class 1)";
    VOLTAGE_RATIO_NUMERATOR = 1 . 0 . 0 . 4 . 3 . 255, "Voltage transformer ratio, numerator (class 1)";
    CURRENT_RATIO_DENOMINATOR = 1 . 0 . 0 . 4 . 5 . 255, "Current transformer ratio, denominator (class 1)";
    VOLTAGE_RATIO_DENOMINATOR = 1 . 0 . 0 . 4 . 6 . 255, "Voltage transformer ratio, denominator (class 1)";
    CALIBRATION = 0 . 0 . 96 . 5 . 128 . 255, "Calibration of the front end: twelve numbers (class 1)";
    IMPORT_ENERGY = 1 . 0 . 1 . 8 . 0 . 255, "Active energy import (class 3)";
    EXPORT_ENERGY = 1 . 0 . 2 . 8 . 0 . 255, "Active energy export (class 3)";
    IMPORT_POWER = 1 . 0 . 1 . 7 . 0 . 255, "Active power import (class 3)";
    EXPORT_POWER = 1 . 0 . 2 . 7 . 0 . 255, "Active power export (class 3)";
    REACTIVE_POWER = 1 . 0 . 3 . 7 . 0 . 255, "Reactive power import (class 3)";
    VOLTAGE = 1 . 0 . 32 . 7 . 0 . 255, "Voltage L1 (class 3)";
    CURRENT = 1 . 0 . 31 . 7 . 0 . 255, "Current L1 (class 3)";
    NEUTRAL_CURRENT = 1 . 0 . 91 . 7 . 0 . 255, "Neutral current (class 3)";
    POWER_FACTOR = 1 . 0 . 13 . 7 . 0 . 255, "Power factor (class 3)";
    FREQUENCY = 1 . 0 . 14 . 7 . 0 . 255, "Frequency (class 3)";
    LOAD_PROFILE = 1 . 0 . 99 . 1 . 0 . 255, "Load profile 1 (class 7)";
    LOAD_PROFILE_2 = 1 . 0 . 99 . 2 . 0 . 255, "Load profile 2 (class 7)";
    DAILY_PROFILE = 1 . 0 . 98 . 2 . 0 . 255, "Daily billing profile (class 7)";
    MONTHLY_PROFILE = 0 . 0 . 98 . 1 . 0 . 255, "Monthly billing profile (class 7)";
    PROFILE_STATUS = 0 . 0 . 96 . 10 . 1 . 255, "Status of a load profile row (class 1)";
    PUSH_ON_ALARM = 0 . 4 . 25 . 9 . 0 . 255, "Push setup for alarms (class 40)";
    EVENT_LOG = 0 . 0 . 99 . 98 . 0 . 255, "Event log (class 7)";
    EVENT_CODE = 0 . 0 . 96 . 11 . 0 . 255, "Last event code (class 1)";
    EVENT_DETAIL = 0 . 0 . 96 . 11 . 128 . 255, "Detail of the last event (class 1)";
    DISCONNECT = 0 . 0 . 96 . 3 . 10 . 255, "Disconnect control (class 70)";
    RELAY_REASON = 0 . 0 . 96 . 3 . 128 . 255, "Why the relay is open (class 1)";
    LIMITER = 0 . 0 . 17 . 0 . 0 . 255, "Limiter (class 71)";
    ACCOUNT = 0 . 0 . 19 . 0 . 0 . 255, "Account (class 111)";
    TOKEN_CREDIT = 0 . 0 . 19 . 10 . 0 . 255, "Token credit (class 112)";
    EMERGENCY_CREDIT = 0 . 0 . 19 . 10 . 1 . 255, "Emergency credit (class 112)";
    CONSUMPTION_CHARGE = 0 . 0 . 19 . 20 . 0 . 255, "Consumption charge (class 113)";
    DAILY_CHARGE = 0 . 0 . 19 . 20 . 1 . 255, "Fixed daily charge (class 113)";
    DEBT_CHARGE = 0 . 0 . 19 . 20 . 2 . 255, "Debt recovery (class 113)";
    ACTIVITY_CALENDAR = 0 . 0 . 13 . 0 . 0 . 255, "Activity calendar (class 20)";
    SPECIAL_DAYS = 0 . 0 . 11 . 0 . 0 . 255, "Special days of the tariff in force (class 11)";
    SPECIAL_DAYS_PASSIVE = 0 . 0 . 11 . 0 . 128 . 255, "Special days of the tariff to come (class 11)";
    TARIFF_SCRIPTS = 0 . 0 . 10 . 0 . 100 . 255, "Scripts that bring a rate into force (class 9)";
    DISCONNECT_SCRIPTS = 0 . 0 . 10 . 0 . 106 . 255, "Scripts of the relay (class 9)";
    BILLING_SCRIPTS = 0 . 0 . 10 . 0 . 1 . 255, "Scripts of billing snapshots (class 9)";
    MONTHLY_SCHEDULE = 0 . 0 . 15 . 0 . 0 . 255, "When monthly snapshots are taken (class 22)";
    DAILY_SCHEDULE = 0 . 0 . 15 . 0 . 128 . 255, "When daily snapshots are taken (class 22)";
    VOLTAGE_MONITOR = 0 . 0 . 16 . 1 . 0 . 255, "Voltages at which the relay opens (class 21)";
    CURRENT_MONITOR = 0 . 0 . 16 . 1 . 1 . 255, "Current at which the relay opens (class 21)";
    DEMAND = 1 . 0 . 1 . 4 . 0 . 255, "Average active power import (class 5)";
    PEAK_DEMAND = 1 . 0 . 1 . 6 . 0 . 255, "Largest average active power import of the month (class 4)";
    TARIFF_ACTIVE = 0 . 0 . 13 . 0 . 128 . 255, "Consumption tariff in force (class 1)";
    TARIFF_PASSIVE = 0 . 0 . 13 . 0 . 129 . 255, "Consumption tariff to come (class 1)";
    TARIFF_ACTIVATION = 0 . 0 . 13 . 0 . 130 . 255, "When the tariff to come takes effect (class 1)";
    TARIFF_RATE = 0 . 0 . 96 . 14 . 0 . 255, "Number of the rate in force, from 1 (class 1)";
    TOKEN_GATEWAY = 0 . 0 . 19 . 40 . 0 . 255, "Token gateway (class 115)";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_ones_published_for_the_reference_meter() {
        for (name, text) in [
            (IMPORT_ENERGY, "1.0.1.8.0.255"),
            (LOAD_PROFILE, "1.0.99.1.0.255"),
            (LOAD_PROFILE_2, "1.0.99.2.0.255"),
            (DISCONNECT, "0.0.96.3.10.255"),
            (ACCOUNT, "0.0.19.0.0.255"),
            (TOKEN_GATEWAY, "0.0.19.40.0.255"),
            (INVOCATION_COUNTER, "0.0.43.1.0.255"),
        ] {
            assert_eq!(std::format!("{name}").replace([':', '-', '*'], "."), text);
        }
        assert_eq!(text(ACCOUNT), Some("Account (class 111)"));
    }
}
