//! Writes one kind of APDU. The codec's `Apdu` knows all of them: whoever encodes one through it carries the encoders of the
//! other thirty, which a meter's flash has no room for.

use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::xdlms::ApduTag;

/// Writes an APDU's tag and its body.
pub(super) fn put(tag: ApduTag, body: &impl Encode, w: &mut dyn Writer) -> Result<()> {
    w.write_u8(tag.as_u8())?;
    body.encode(w)
}
