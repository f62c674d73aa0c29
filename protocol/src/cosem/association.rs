//! Class 15, association LN (version 1): the parts of it that describe a server's objects.

use super::values::{put_array, put_obis, put_structure};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::cosem::{AttributeAccess, MethodAccess, ObjectRef};

/// Interface class.
pub const CLASS: u16 = 15;
/// Version of the class whose access rights are enumerations.
pub const VERSION: u8 = 1;
/// Array of object list elements.
pub const OBJECT_LIST: i8 = 2;
/// Structure {client SAP integer, server SAP long-unsigned}.
pub const ASSOCIATED_PARTNERS_ID: i8 = 3;
/// Octet string or structure of the application context.
pub const APPLICATION_CONTEXT_NAME: i8 = 4;
/// xDLMS context.
pub const XDLMS_CONTEXT_INFO: i8 = 5;
/// Octet string of the mechanism's object identifier.
pub const AUTHENTICATION_MECHANISM_NAME: i8 = 6;
/// Enum: 2 associated.
pub const ASSOCIATION_STATUS: i8 = 8;
/// Logical name of the security setup.
pub const SECURITY_SETUP_REFERENCE: i8 = 9;
/// Answers the HLS challenge.
pub const REPLY_TO_HLS_AUTHENTICATION: super::Meth = super::Meth::new(CLASS, 1);

/// The enumeration of versions 0 to 2 of the class: 0 none, 1 read, 2 write, 3 both.
#[must_use]
pub const fn attribute_mode(access: AttributeAccess) -> u8 {
    match (access.can_read(), access.can_write()) {
        (false, false) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (true, true) => 3,
    }
}

/// Writes one element of the object list.
///
/// `attributes` gives the rights of attributes 1 to n in order, `methods` of methods 1 to n.
///
/// # Errors
/// The buffer is full.
pub fn put_object(
    w: &mut dyn Writer,
    object: ObjectRef,
    attributes: impl ExactSizeIterator<Item = AttributeAccess>,
    methods: impl ExactSizeIterator<Item = MethodAccess>,
) -> Result<()> {
    put_structure(w, 4)?;
    Data::LongUnsigned(object.class_id).encode(w)?;
    Data::Unsigned(object.version).encode(w)?;
    put_obis(w, object.logical_name)?;
    put_structure(w, 2)?;
    put_array(w, attributes.len())?;
    for (index, access) in (1_u8..).zip(attributes) {
        // {attribute integer, access enum, selectors null}
        w.write_bytes(&[2, 3, 15, index, 22, attribute_mode(access), 0])?;
    }
    put_array(w, methods.len())?;
    for (index, access) in (1_u8..).zip(methods) {
        w.write_bytes(&[2, 2, 15, index, 22, u8::from(access.can_invoke())])?;
    }
    Ok(())
}
