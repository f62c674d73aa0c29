//! What the factory gives a meter and power cuts never change: identity, keys, and how the account works.

use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::ControlMode;
use protocol::cosem::security_setup::Policy;
use protocol::sts::meter::MeterTokenState;

use crate::image::Trust;
use crate::protection::Limits;
use crate::terms::Terms;

/// Length of a low-level-security password, at most: a bound of ours.
pub const PASSWORD_MAX: usize = 16;

/// The keys of a meter's associations. Neither `Debug` nor any error shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Global unicast encryption key (EK), AES-128.
    pub encryption: [u8; 16],
    /// Authentication key (AK), AES-128.
    pub authentication: [u8; 16],
    /// Master key (KEK), AES-128: other keys travel under it.
    pub master: [u8; 16],
    /// Password of the reader's association (low-level security).
    pub reader_password: heapless::Vec<u8, PASSWORD_MAX>,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// What the factory gives a meter. The board's image or the simulator builds it; the meter keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personalisation {
    /// Meter primary account number (and in it the serial number, DRN), decoder key, and no used tokens yet.
    pub tokens: MeterTokenState,
    /// System title: three letters of the manufacturer and five bytes of its own.
    pub system_title: [u8; 8],
    /// Logical device name, at most 16 octets, unique in the world (Blue Book).
    pub logical_device_name: heapless::String<16>,
    /// Association keys.
    pub keys: Keys,
    /// How the meter starts life as an account.
    pub account: AccountSetup,
    /// Which relay transitions are allowed.
    pub control_mode: ControlMode,
    /// After a top-up the meter closes its relay by itself, where `control_mode` allows it (transition h). Without this a
    /// person has to press the button.
    pub return_automatically: bool,
    /// Minutes that local time is ahead of UTC. No daylight saving.
    pub utc_offset_minutes: i16,
    /// Seconds between rows of the load profile; the rows end at multiples of it. 900 is usual; 0 keeps no profile.
    pub profile_period_s: u32,
    /// Milliseconds between samples of the metering front end. 1,000 is usual; energy between samples is never lost.
    pub sample_period_ms: u32,
    /// What not every meter has.
    pub options: Options,
}

/// What not every meter has. The default has none of it, and full protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Modbus masters may switch the relay. Modbus knows no keys: only for lines that nobody else reaches.
    pub modbus_switches: bool,
    /// The number of its Modbus station on the board's RS-485 line, 1 to 247; `None`: that line speaks DLMS.
    pub modbus_station: Option<u8>,
    /// Emergency credit, friendly hours, daily charge and debt the account begins with.
    pub terms: Terms,
    /// Limiter, over-current and voltage protection it begins with.
    pub limits: Limits,
    /// The customer only consumes: energy that flows out is a sign of tampering.
    pub imports_only: bool,
    /// Account units per kilowatt-hour; `None` is one unit per watt-hour, which an energy account has. Management may set a
    /// tariff with steps or times of use later.
    pub price_per_kwh: Option<u32>,
    /// What ciphered associations must be protected with; management may strengthen it later. The default is everything.
    pub policy: Policy,
    /// The account counts money; `None`: it counts watt-hours.
    pub money: Option<Money>,
    /// Whose firmware images it takes; `None` takes none.
    pub images: Option<Trust>,
    /// The client that signs; `None` has no such association.
    #[cfg(feature = "ecdsa")]
    pub suite1: Option<crate::suite1::Suite1>,
}

/// What an account unit is when it is money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    /// Currency code of ISO 4217, three letters.
    pub code: [u8; 3],
    /// A unit is `10^scale` of the currency: -2 is a cent. From -5 to 0; -3 holds two million.
    pub scale: i8,
}

impl Money {
    /// How many of a currency token's 0.00001 are one unit.
    #[must_use]
    pub fn per_unit(self) -> i128 {
        // Between 10^0 and 10^5.
        10_i128.pow(5 - self.scale.clamp(-5, 0).unsigned_abs() as u32)
    }
}

/// The account a meter leaves the factory with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountSetup {
    /// Prepayment or credit.
    pub payment_mode: PaymentMode,
    /// Credit in watt-hours before the first token.
    pub initial_credit_wh: i64,
    /// Warn below this credit, in watt-hours.
    pub low_credit_wh: i64,
}
