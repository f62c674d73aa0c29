//! Class 15, association LN (version 1): the parts of it that describe a server's objects.

use super::class::{Array, Enumeration, Items, Octets, ToData, class, structure};
use super::values::{put_array, put_obis, put_structure};
use crate::codec::axdr::{BitStr, Data};
use crate::codec::codec::{Result, Writer};
use crate::codec::cosem::{AttributeAccess, MethodAccess, ObjectRef};
use crate::codec::obis::Obis;

structure! {
    /// The rights on one attribute.
    AttributeAccessItem<'a> {
        /// Its index.
        attribute_id: i8,
        /// 0 none, 1 read, 2 write, 3 both; 4 to 6 the same after authentication.
        access_mode: Enumeration,
        /// Selectors there are: an array of integers, or null-data.
        access_selectors: Data<'a>,
    }
}

structure! {
    /// The rights on one method.
    MethodAccessItem {
        /// Its index.
        method_id: i8,
        /// 0 none, 1 may be invoked, 2 after authentication.
        access_mode: Enumeration,
    }
}

structure! {
    /// The rights on one object.
    AccessRight<'a> {
        /// On its attributes.
        attribute_access: Items<'a, AttributeAccessItem<'a>>,
        /// On its methods.
        method_access: Items<'a, MethodAccessItem>,
    }
}

structure! {
    /// One object of the list.
    ObjectListElement<'a> {
        /// Its class.
        class_id: u16,
        /// The version of its class.
        version: u8,
        /// Its logical name.
        logical_name: Obis,
        /// What the association may do with it.
        access_rights: AccessRight<'a>,
    }
}

structure! {
    /// Who is associated.
    AssociatedPartners {
        /// The client's address.
        client_sap: i8,
        /// The server's address.
        server_sap: u16,
    }
}

structure! {
    /// What was agreed about services and sizes.
    XdlmsContextInfo<'a> {
        /// The services, a bit string.
        conformance: BitStr<'a>,
        /// Largest PDU that the server takes.
        max_receive_pdu_size: u16,
        /// Largest PDU that it sends.
        max_send_pdu_size: u16,
        /// 6.
        dlms_version_number: u8,
        /// -1 to 127; -1 is none.
        quality_of_service: i8,
        /// Used with dedicated keys; empty is none.
        cyphering_info: &'a [u8],
    }
}

class! {
    /// Association LN.
    AssociationLn = 15, version 1;
    attributes {
        /// The objects that the association sees.
        2 OBJECT_LIST: {Array<ObjectListElement<'static>>}, object_list;
        /// Who is associated.
        3 ASSOCIATED_PARTNERS_ID: (AssociatedPartners), associated_partners_id;
        /// The application context's object identifier.
        4 APPLICATION_CONTEXT_NAME: (Octets), application_context_name;
        /// What was agreed about services and sizes.
        5 XDLMS_CONTEXT_INFO: (XdlmsContextInfo<'static>), xdlms_context_info;
        /// The mechanism's object identifier.
        6 AUTHENTICATION_MECHANISM_NAME: (Octets), authentication_mechanism_name;
        /// Never readable on the reference meter.
        7 SECRET: (Octets), secret;
        /// 0 not associated, 1 pending, 2 associated.
        8 ASSOCIATION_STATUS: (Enumeration), association_status;
        /// Logical name of the security setup.
        9 SECURITY_SETUP_REFERENCE: (Obis), security_setup_reference;
    }
    methods {
        /// Answers the HLS challenge.
        1 REPLY_TO_HLS_AUTHENTICATION: (Octets), reply_to_hls_authentication;
        /// Changes the HLS secret.
        2 CHANGE_HLS_SECRET: (Octets), change_hls_secret;
        /// Adds an object to the list.
        3 ADD_OBJECT: (ObjectListElement<'static>), add_object;
        /// Takes one out of it.
        4 REMOVE_OBJECT: (ObjectListElement<'static>), remove_object;
    }
}

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
    object.class_id.put(w)?;
    object.version.put(w)?;
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
