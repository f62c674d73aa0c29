//! OpenPAYGO Token, standard mode (EnAccess, MIT specification): a hash chain per device, time as credit.
//!
//! A token is a number of nine digits. Its last three carry a value, masked by the device's starting code; the six above
//! them prove a place in the device's SipHash chain. Even places add time, odd ones set it, disable the limit or
//! synchronise the counter. There is no extended mode.

mod chain;
mod device;
mod digits;
mod siphash;
mod vendor;

pub use chain::PaygoKey;
pub use device::{Accepted, COUNT_MAX, Device, LOOK_AHEAD, LOOK_AHEAD_SYNC, OLDER_MAX, PaygoRefusal};
pub use digits::{DigitSet, PaygoDigits};
pub use vendor::{Request, Vendor, VendorError};

/// Largest amount of a token.
pub const VALUE_MAX: u16 = 995;
/// Value of a token that takes the limit off: the device is paid for.
const DISABLE: u16 = 998;
/// Value of a token that synchronises the counter.
const SYNCHRONISE: u16 = 999;

/// OpenPAYGO Token as a [`crate::scheme::TokenScheme`].
#[derive(Debug, Clone, Copy)]
pub struct OpenPaygo;

impl crate::scheme::TokenScheme for OpenPaygo {
    const NAME: &'static str = "OpenPAYGO Token";
    type Vendor = Vendor;
    type Request = Request;
    type VendorError = VendorError;
    type Digits = PaygoDigits;
    type Meter = Device;
    type Effect = Accepted;
    type Refusal = PaygoRefusal;

    fn issue(vendor: &mut Vendor, request: &Request) -> Result<PaygoDigits, VendorError> {
        vendor.issue(*request)
    }

    fn judge(device: &Device, digits: &[u8], _: u64) -> Result<Accepted, PaygoRefusal> {
        device.judge(digits)
    }

    fn apply(device: &mut Device, effect: &Accepted) {
        device.apply(*effect);
    }
}

#[cfg(test)]
mod tests;
