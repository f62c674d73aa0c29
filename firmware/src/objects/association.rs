//! The association's object list and the SAP assignment.

use hardware::board::Board;
use protocol::codec::codec::Writer;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::association::{AssociationLn, put_object};
use protocol::cosem::class::Access;
use protocol::cosem::sap_assignment::{AsslistElement, SapAssignment};
use protocol::cosem::values::put_array;
use protocol::dlms::model::{Caller, Piece};

use super::full;
use super::table::{OBJECTS, Object};
use crate::meter::Meter;

/// Server address of the only logical device.
const MANAGEMENT_LOGICAL_DEVICE: u16 = 1;

/// The caller's association: its object list. The other attributes are the engine's.
pub(super) struct AssociationObject<'m, B: Board> {
    pub meter: &'m Meter<B>,
    pub caller: Caller,
}

impl<B: Board> AssociationLn for AssociationObject<'_, B> {
    /// As the caller sees it, one object a piece.
    fn object_list(&mut self, piece: u32, out: &mut dyn Writer) -> Access<Piece> {
        let Self { meter, caller } = *self;
        let visible = || OBJECTS.iter().filter(|o| o.visible_to(caller) && meter.has(o.at.logical_name));
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
}

/// The meter as a device with one logical device.
pub(super) struct SapObject<'m, B: Board>(pub &'m mut Meter<B>);

impl<B: Board> SapAssignment for SapObject<'_, B> {
    fn sap_assignment_list(&mut self) -> Access<impl ExactSizeIterator<Item = AsslistElement<'_>>> {
        Ok(core::iter::once(AsslistElement {
            sap: MANAGEMENT_LOGICAL_DEVICE,
            logical_device_name: self.0.who.logical_device_name.as_bytes(),
        }))
    }
}

fn put_listed(caller: Caller, object: &Object, out: &mut dyn Writer) -> protocol::codec::codec::Result<()> {
    // Indices are below 128 in every class.
    let attributes = (0..object.attributes).map(|i| object.attribute_access(caller, i as i8 + 1));
    let methods = (0..object.methods).map(|i| object.method_access(caller, i as i8 + 1));
    put_object(out, object.at, attributes, methods)
}
