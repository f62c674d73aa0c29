#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#[cfg(test)]
extern crate std;

pub mod alarm;
pub mod counters;
mod custody;
pub mod display;
pub mod image;
pub mod journal;
pub mod keys;
pub mod layout;
pub mod ledger;
mod meter;
pub mod metrology;
mod modbus;
mod objects;
mod optical;
pub mod panel;
mod personalisation;
mod port;
pub mod profile;
pub mod protection;
pub mod provisioning;
pub mod record;
mod relay;
mod ring;
mod self_test;
pub mod settings;
#[cfg(test)]
mod stories;
#[cfg(feature = "ecdsa")]
pub mod suite1;
mod tamper;
pub mod tariff;
pub mod terms;
#[cfg(test)]
mod test_board;
#[cfg(test)]
mod test_flash;
mod tokens;
pub mod zone;

pub use layout::Layout;
pub use meter::{Meter, NotOffered, StartError, Status};
pub use modbus::{FRAME_MAX as MODBUS_FRAME_MAX, RtuServer};
pub use objects::client;
pub use optical::OpticalPort;
pub use personalisation::{AccountSetup, Keys, Money, Options, PASSWORD_MAX, Personalisation};
pub use port::{APDU_MAX, Port};
pub use relay::Refused;
pub use self_test::SelfTest;
pub use tokens::digits_of;
