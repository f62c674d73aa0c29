//! COSEM interface classes of a prepaid meter, declared once for both ends of the wire (Blue Book, IEC 62056-6-2).
//!
//! An attribute is an [`Attr`]: its class, its index and the type of its value. The client asks `attr.of(logical_name)` and
//! gives the answer to `attr.decode(..)`; the server encodes a value of the same type. How a class is declared is in
//! [`class`]; logical names of the reference meter are in [`obis`].

use core::marker::PhantomData;

use self::class::{Nothing, ToData, Value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Error, ErrorKind, Result, Writer};
use crate::codec::obis::Obis;
use crate::dlms::model::{Attribute, Method};

pub mod account;
pub mod action_schedule;
pub mod activity_calendar;
pub mod association;
pub mod charge;
pub mod class;
pub mod clock;
pub mod compact_data;
pub mod credit;
pub mod data;
pub mod demand_register;
pub mod disconnect;
pub mod events;
pub mod extended_register;
pub mod hdlc_setup;
pub mod image_transfer;
pub mod ipv4_setup;
pub mod limiter;
pub mod obis;
pub mod profile;
pub mod push_setup;
pub mod register;
pub mod register_activation;
pub mod register_monitor;
pub mod sap_assignment;
pub mod script_table;
pub mod security_setup;
pub mod special_days;
pub mod tariff;
pub mod tcp_udp_setup;
pub mod token_gateway;
pub mod values;

/// What each class has; class 64 is not among them.
pub const SHAPES: [&class::Shape; 27] = [
    &data::SHAPE,
    &register::SHAPE,
    &extended_register::SHAPE,
    &demand_register::SHAPE,
    &register_activation::SHAPE,
    &profile::SHAPE,
    &clock::SHAPE,
    &script_table::SHAPE,
    &special_days::SHAPE,
    &association::SHAPE,
    &sap_assignment::SHAPE,
    &image_transfer::SHAPE,
    &activity_calendar::SHAPE,
    &register_monitor::SHAPE,
    &action_schedule::SHAPE,
    &hdlc_setup::SHAPE,
    &push_setup::SHAPE,
    &tcp_udp_setup::SHAPE,
    &ipv4_setup::SHAPE,
    &compact_data::SHAPE,
    &security_setup::SHAPE,
    &disconnect::SHAPE,
    &limiter::SHAPE,
    &account::SHAPE,
    &credit::SHAPE,
    &charge::SHAPE,
    &token_gateway::SHAPE,
];

/// A value that can be taken out of A-XDR data. The opposite of [`crate::codec::codec::Encode`].
pub trait FromData<'a>: Sized {
    /// Takes the value.
    ///
    /// # Errors
    /// The data has another type or shape, or a code outside the class's set.
    fn from_data(d: Data<'a>) -> Result<Self>;
}

/// Data that decoded but is not what this position needs.
#[must_use]
pub const fn bad_value() -> Error {
    Error::new(ErrorKind::TypeMismatch, 0)
}

/// An attribute of a class: where it is and what type its value has.
pub struct Attr<T> {
    /// Interface class.
    pub class_id: u16,
    /// Attribute index; 1 is the logical name.
    pub index: i8,
    value: PhantomData<fn() -> T>,
}

impl<T> Attr<T> {
    /// Attribute `index` of `class_id`.
    #[must_use]
    pub const fn new(class_id: u16, index: i8) -> Self {
        Self { class_id, index, value: PhantomData }
    }

    /// The attribute of one object.
    #[must_use]
    pub const fn of(&self, logical_name: Obis) -> Attribute {
        Attribute { class_id: self.class_id, logical_name, index: self.index }
    }
}

impl<T: Value> Attr<T> {
    /// Decodes an answer to a GET of this attribute.
    ///
    /// # Errors
    /// See [`FromData::from_data`].
    pub fn decode<'a>(&self, d: Data<'a>) -> Result<T::Of<'a>> {
        T::Of::from_data(d)
    }

    /// Writes a value of this attribute.
    ///
    /// # Errors
    /// The buffer is full.
    pub fn put(&self, value: &T::Of<'_>, w: &mut dyn Writer) -> Result<()> {
        value.put(w)
    }

    /// Decodes an answer to a GET of this attribute from its A-XDR bytes.
    ///
    /// # Errors
    /// The bytes are no A-XDR value, or see [`FromData::from_data`].
    pub fn decode_bytes<'a>(&self, bytes: &'a [u8]) -> Result<T::Of<'a>> {
        T::Of::from_data(Data::from_bytes_in(bytes)?)
    }
}

impl<T> Clone for Attr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Attr<T> {}
impl<T> core::fmt::Debug for Attr<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "class {} attribute {}", self.class_id, self.index)
    }
}

/// A method of a class: where it is and what type its parameter has.
pub struct Meth<T = Nothing> {
    /// Interface class.
    pub class_id: u16,
    /// Method index from 1.
    pub index: i8,
    parameter: PhantomData<fn() -> T>,
}

impl<T> Meth<T> {
    /// Method `index` of `class_id`.
    #[must_use]
    pub const fn new(class_id: u16, index: i8) -> Self {
        Self { class_id, index, parameter: PhantomData }
    }

    /// The method of one object.
    #[must_use]
    pub const fn of(&self, logical_name: Obis) -> Method {
        Method { class_id: self.class_id, logical_name, index: self.index }
    }
}

impl<T: Value> Meth<T> {
    /// Writes a parameter of this method.
    ///
    /// # Errors
    /// The buffer is full.
    pub fn put(&self, parameter: &T::Of<'_>, w: &mut dyn Writer) -> Result<()> {
        parameter.put(w)
    }
}

impl<T> Clone for Meth<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Meth<T> {}
impl<T> PartialEq for Meth<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.class_id, self.index) == (other.class_id, other.index)
    }
}
impl<T> Eq for Meth<T> {}
impl<T> core::fmt::Debug for Meth<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "class {} method {}", self.class_id, self.index)
    }
}
