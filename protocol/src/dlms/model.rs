//! What a server serves: the seam between the association engine and a meter's objects.

use crate::codec::axdr::Data;
use crate::codec::codec::Writer;
use crate::codec::cosem::{AttributeAccess, MethodAccess};
use crate::codec::obis::Obis;
use crate::codec::xdlms::{ActionResult, DataAccessResult, SelectiveAccess};

/// Who is asking: decided by the association, never by the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Client address (SAP): 16 public, 17 reader, 18 vending, 1 management on the reference meter.
    pub client_sap: u8,
    /// The association is established with high-level security.
    pub authenticated: bool,
}

/// One attribute of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// Interface class.
    pub class_id: u16,
    /// Logical name.
    pub logical_name: Obis,
    /// Attribute index, 1 is the logical name.
    pub index: i8,
}

/// One method of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method {
    /// Interface class.
    pub class_id: u16,
    /// Logical name.
    pub logical_name: Obis,
    /// Method index from 1.
    pub index: i8,
}

/// Whether an attribute's value continues after the piece just written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The value is complete.
    Last,
    /// Call again with the next piece number.
    More,
}

/// The largest piece an [`ObjectModel`] may write in one call, in bytes. One row of a load profile fits; a whole profile
/// never needs to.
pub const PIECE_MAX: usize = 256;

/// A meter's objects, as the server engine sees them.
///
/// Large values are written in pieces: the engine calls [`ObjectModel::get`] with piece 0, 1, 2 … and cuts what it is given
/// into blocks, so a year of profile rows goes from storage to the wire without ever being whole in memory. Piece 0 of a
/// profile buffer is the array tag and the row count; piece n is row n-1.
pub trait ObjectModel {
    /// Writes piece `piece` of the attribute's value as A-XDR into `out`, at most [`PIECE_MAX`] bytes. Pieces of one value
    /// are asked for in order; the model may be asked for the same piece again (a block is repeated) and must give the same
    /// bytes as long as `selection` is the same.
    ///
    /// # Errors
    /// The data-access-result that goes to the peer; only piece 0 may fail.
    fn get(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        piece: u32,
        out: &mut dyn Writer,
    ) -> Result<Piece, DataAccessResult>;

    /// Sets an attribute.
    ///
    /// # Errors
    /// The data-access-result that goes to the peer.
    fn set(
        &mut self,
        caller: Caller,
        at: Attribute,
        selection: Option<SelectiveAccess<'_>>,
        value: Data<'_>,
    ) -> Result<(), DataAccessResult>;

    /// Invokes a method; a return value, if any, is written into `out` (`Ok(true)` when something was written).
    ///
    /// # Errors
    /// The action-result that goes to the peer.
    fn action(
        &mut self,
        caller: Caller,
        at: Method,
        parameter: Option<Data<'_>>,
        out: &mut dyn Writer,
    ) -> Result<bool, ActionResult>;

    /// What this caller may do with the attribute. Empty for unknown objects.
    fn attribute_access(&self, caller: Caller, at: Attribute) -> AttributeAccess;

    /// What this caller may do with the method. Empty for unknown objects.
    fn method_access(&self, caller: Caller, at: Method) -> MethodAccess;
}
