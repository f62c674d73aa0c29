// Who this meter is; shared with build.rs, which derives its decoder key from it.

/// Manufacturer code in the serial number.
pub const MANUFACTURER: u16 = 1;
/// Serial number without manufacturer and check digit: far above those of simulated streets.
pub const SERIAL: u32 = 90_000_001;
/// Supply group code.
pub const SUPPLY_GROUP: u32 = 123_457;
/// Tariff index.
pub const TARIFF_INDEX: u32 = 1;
/// Key revision number.
pub const KEY_REVISION: u32 = 1;
/// The number of the private key that test images are signed with: published, so that it protects nothing.
#[allow(dead_code, reason = "build.rs alone uses it")]
pub const SIGNING_NUMBER: [u8; 32] = [0x11; 32];
