//! What all token schemes have in common: a vendor turns a request into digits, a meter judges digits without changing,
//! and the effect is applied once it is stored.

/// A scheme of prepayment tokens.
pub trait TokenScheme {
    /// Its name, for people.
    const NAME: &'static str;
    /// What the vendor needs to make tokens for one meter.
    type Vendor;
    /// What a token shall do.
    type Request;
    /// Why no token is made.
    type VendorError;
    /// The token as ASCII digits.
    type Digits: AsRef<[u8]>;
    /// What the meter remembers.
    type Meter;
    /// What an accepted token does; stored together with the credit it gives.
    type Effect;
    /// Why a token is refused.
    type Refusal: core::fmt::Display;

    /// Makes a token. What changed in `vendor` has to be stored before the digits are handed out.
    ///
    /// # Errors
    /// When the scheme cannot carry the request.
    fn issue(vendor: &mut Self::Vendor, request: &Self::Request) -> Result<Self::Digits, Self::VendorError>;

    /// Judges digits at a time in milliseconds of the meter's own clock; changes nothing.
    ///
    /// # Errors
    /// Why they are refused.
    fn judge(meter: &Self::Meter, digits: &[u8], now_ms: u64) -> Result<Self::Effect, Self::Refusal>;

    /// Makes the change of an accepted token, after it was stored.
    fn apply(meter: &mut Self::Meter, effect: &Self::Effect);
}
