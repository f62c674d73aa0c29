//! The association's object list and the SAP assignment.

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::association::{OBJECT_LIST, put_object};
use protocol::cosem::values::{put_array, put_structure};
use protocol::dlms::model::{Attribute, Caller, Piece};

use super::full;
use super::table::{OBJECTS, Object};
use crate::meter::Meter;

/// Server address of the only logical device.
const MANAGEMENT_LOGICAL_DEVICE: u16 = 1;

impl<B: Board> Meter<B> {
    /// The object list as the caller sees it, one object a piece. The other attributes are the engine's.
    pub(super) fn get_association(
        &mut self,
        caller: Caller,
        at: Attribute,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult> {
        if at.index != OBJECT_LIST {
            return Err(DataAccessResult::ObjectUnavailable);
        }
        let visible = || OBJECTS.iter().filter(move |o| o.visible_to(caller));
        let count = visible().count();
        let Some(index) = piece.checked_sub(1) else {
            put_array(out, count).map_err(full)?;
            return Ok(if count == 0 { Piece::Last } else { Piece::More });
        };
        let index = index as usize;
        let object = visible().nth(index).ok_or(DataAccessResult::OtherReason)?;
        put_listed(caller, object, out).map_err(full)?;
        Ok(if index + 1 >= count { Piece::Last } else { Piece::More })
    }

    pub(super) fn get_sap_assignment(&mut self, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let write = |out: &mut dyn Writer| {
            put_array(out, 1)?;
            put_structure(out, 2)?;
            Data::LongUnsigned(MANAGEMENT_LOGICAL_DEVICE).encode(out)?;
            Data::OctetString(self.who.logical_device_name.as_bytes()).encode(out)
        };
        write(out).map_err(full)
    }
}

fn put_listed(caller: Caller, object: &Object, out: &mut dyn Writer) -> protocol::codec::codec::Result<()> {
    // Indices are below 128 in every class.
    let attributes = (0..object.attributes).map(|i| object.attribute_access(caller, i as i8 + 1));
    let methods = (0..object.methods).map(|i| object.method_access(caller, i as i8 + 1));
    put_object(out, object.at, attributes, methods)
}
