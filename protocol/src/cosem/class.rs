//! How an interface class is declared: once, for both ends of the wire.
//!
//! [`class!`] makes of one declaration the attribute and method constants a client asks with, the [`Shape`] that object
//! lists and explanations read, a trait that a meter implements for an object of the class, and the dispatch from an index
//! on the wire to that trait. [`structure!`] makes a structure with its codec. The values are described by [`Value`].
//!
//! A client: `client.get(now, clock::TIME.of(name), None)`, and `clock::TIME.decode_bytes(answer)`;
//! `client.set_value(now, ATTRIBUTE, name, &value)`.
//! A meter: `impl ImageTransfer for MyImage`, and `image_transfer::get(&mut my_image, index, piece, out)`.

use core::fmt;
use core::marker::PhantomData;

use super::values::put_array;
use super::{FromData, bad_value};
use crate::codec::axdr::{BitStr, Data, DateTime, Seq, SeqIter};
use crate::codec::codec::{Encode, Result, Writer};
use crate::codec::obis::Obis;
use crate::codec::xdlms::DataAccessResult;
use crate::dlms::model::Piece;

/// A value that can be written as A-XDR data, tag included. The opposite of [`FromData`].
pub trait ToData {
    /// Writes the value.
    ///
    /// # Errors
    /// The buffer is full.
    fn put(&self, w: &mut dyn Writer) -> Result<()>;
}

/// A type of an attribute, a field or a parameter: what its values are on both ends. Values borrow what came over the wire.
pub trait Value: 'static {
    /// A value.
    type Of<'a>: FromData<'a> + ToData + Copy + PartialEq + fmt::Debug + 'a;

    /// Whether data is such a value, with each item of an array.
    #[must_use]
    fn conforms(d: Data<'_>) -> bool {
        Self::Of::from_data(d).is_ok()
    }
}

/// Declares types whose values borrow nothing.
macro_rules! owned {
    ($($type:ty),* $(,)?) => {$( impl $crate::cosem::class::Value for $type { type Of<'a> = $type; } )*};
}
pub(crate) use owned;

/// Declares types that have a codec of their own ([`Encode`], tag included) and borrow nothing.
macro_rules! encoded {
    ($($type:ty),* $(,)?) => {$(
        $crate::cosem::class::owned!($type);
        impl $crate::cosem::class::ToData for $type {
            fn put(&self, w: &mut dyn $crate::codec::codec::Writer) -> $crate::codec::codec::Result<()> {
                $crate::codec::codec::Encode::encode(self, w)
            }
        }
    )*};
}
pub(crate) use encoded;

macro_rules! simple {
    ($($type:ty => $variant:ident),* $(,)?) => {
        owned!($($type),*);
        $(impl ToData for $type {
            fn put(&self, w: &mut dyn Writer) -> Result<()> {
                Data::$variant(*self).encode(w)
            }
        })*
    };
}
simple! {
    u8 => Unsigned, u16 => LongUnsigned, u32 => DoubleLongUnsigned, u64 => Long64Unsigned,
    i8 => Integer, i16 => Long, i32 => DoubleLong, i64 => Long64, bool => Boolean,
}

owned!(Obis, DateTime);

impl ToData for Obis {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        super::values::put_obis(w, *self)
    }
}

impl ToData for DateTime {
    /// The octet string of 12 bytes that attributes use.
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        super::values::put_date_time(w, *self)
    }
}

/// Data of any type, as a CHOICE or as the object decides.
#[derive(Debug, Clone, Copy)]
pub struct Any;
impl Value for Any {
    type Of<'a> = Data<'a>;
}
impl<'a> FromData<'a> for Data<'a> {
    fn from_data(d: Data<'a>) -> Result<Self> {
        Ok(d)
    }
}
impl ToData for Data<'_> {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        self.encode(w)
    }
}

/// An octet string.
#[derive(Debug, Clone, Copy)]
pub struct Octets;
impl Value for Octets {
    type Of<'a> = &'a [u8];
}
impl ToData for &[u8] {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        Data::OctetString(self).encode(w)
    }
}

/// A bit string, first bit first.
#[derive(Debug, Clone, Copy)]
pub struct Bits;
impl Value for Bits {
    type Of<'a> = BitStr<'a>;
}
impl<'a> FromData<'a> for BitStr<'a> {
    fn from_data(d: Data<'a>) -> Result<Self> {
        match d {
            Data::BitString(bits) => Ok(bits),
            _ => Err(bad_value()),
        }
    }
}
impl ToData for BitStr<'_> {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        Data::BitString(*self).encode(w)
    }
}

/// An enumeration whose codes stand in the attribute's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumeration(pub u8);
owned!(Enumeration);
impl FromData<'_> for Enumeration {
    fn from_data(d: Data<'_>) -> Result<Self> {
        match d {
            Data::Enum(code) => Ok(Self(code)),
            _ => Err(bad_value()),
        }
    }
}
impl ToData for Enumeration {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        Data::Enum(self.0).encode(w)
    }
}

/// The parameter of a method that has none: integer 0 (Blue Book, `data ::= integer (0)`). Peers send other integers and
/// nothing at all; both are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nothing;
owned!(Nothing);
impl FromData<'_> for Nothing {
    fn from_data(d: Data<'_>) -> Result<Self> {
        if d == Data::Null || d.as_i64().is_some() || d.as_u64().is_some() {
            Ok(Self)
        } else {
            Err(bad_value())
        }
    }
}
impl ToData for Nothing {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        Data::Integer(0).encode(w)
    }
}

/// An array of `T`.
#[derive(Debug)]
pub struct Array<T>(PhantomData<fn() -> T>);
impl<T: Value> Value for Array<T> {
    type Of<'a> = Items<'a, T::Of<'a>>;

    fn conforms(d: Data<'_>) -> bool {
        d.as_array().is_some_and(|items| items.iter().all(|item| item.is_ok_and(T::conforms)))
    }
}

/// The items of an array: as they came, or as a meter holds them.
#[derive(Clone, Copy)]
pub enum Items<'a, V> {
    /// Encoded; an item is decoded when it is reached.
    Encoded(Seq<'a>),
    /// To be encoded.
    Held(&'a [V]),
}

impl<'a, V: FromData<'a> + Copy> Items<'a, V> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Encoded(seq) => seq.len(),
            Self::Held(held) => held.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each item, or the error where it is not one.
    #[must_use]
    pub fn iter(&self) -> ItemsIter<'a, V> {
        match *self {
            Self::Encoded(seq) => ItemsIter::Encoded(seq.iter()),
            Self::Held(held) => ItemsIter::Held(held.iter()),
        }
    }
}

/// See [`Items::iter`].
#[derive(Debug, Clone)]
pub enum ItemsIter<'a, V> {
    /// As they came.
    Encoded(SeqIter<'a>),
    /// As a meter holds them.
    Held(core::slice::Iter<'a, V>),
}

impl<'a, V: FromData<'a> + Copy> Iterator for ItemsIter<'a, V> {
    type Item = Result<V>;
    fn next(&mut self) -> Option<Result<V>> {
        match self {
            Self::Encoded(items) => Some(items.next()?.and_then(V::from_data)),
            Self::Held(items) => items.next().map(|item| Ok(*item)),
        }
    }
}

impl<'a, V: FromData<'a> + Copy + PartialEq> PartialEq for Items<'a, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| matches!((a, b), (Ok(a), Ok(b)) if a == b))
    }
}

impl<'a, V: FromData<'a> + Copy + fmt::Debug> fmt::Debug for Items<'a, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, V> FromData<'a> for Items<'a, V> {
    fn from_data(d: Data<'a>) -> Result<Self> {
        d.as_array().map(Self::Encoded).ok_or_else(bad_value)
    }
}

impl<'a, V: FromData<'a> + ToData + Copy> ToData for Items<'a, V> {
    fn put(&self, w: &mut dyn Writer) -> Result<()> {
        put_array(w, self.len())?;
        self.iter().try_for_each(|item| item?.put(w))
    }
}

/// Declares a structure with its codec: fields in the order of the wire.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }
        impl $crate::cosem::class::Value for $name { type Of<'a> = $name; }
        $crate::cosem::class::structure!(@codec $name, $name, { $($field),* });
    };
    ($(#[$meta:meta])* $name:ident<$life:lifetime> { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name<$life> { $($(#[$fmeta])* pub $field: $type,)* }
        impl $crate::cosem::class::Value for $name<'static> { type Of<'a> = $name<'a>; }
        $crate::cosem::class::structure!(@codec $name, $name<'a>, { $($field),* });
    };
    (@codec $name:ident, $type:ty, { $($field:ident),* }) => {
        impl<'a> $crate::cosem::FromData<'a> for $type {
            fn from_data(d: $crate::codec::axdr::Data<'a>) -> $crate::codec::codec::Result<Self> {
                let [$($field),*] = $crate::cosem::values::fields(d)?;
                Ok($name { $($field: $crate::cosem::FromData::from_data($field)?,)* })
            }
        }
        impl<'a> $crate::cosem::class::ToData for $type {
            fn put(&self, w: &mut dyn $crate::codec::codec::Writer) -> $crate::codec::codec::Result<()> {
                $crate::cosem::values::put_structure(w, [$(stringify!($field)),*].len())?;
                $($crate::cosem::class::ToData::put(&self.$field, w)?;)*
                Ok(())
            }
        }
    };
}
pub(crate) use structure;

/// What a class has: its number, its version, and the names of its attributes and methods by index.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Interface class.
    pub class_id: u16,
    /// Version of the class.
    pub version: u8,
    /// Attributes from 2 on: index and the Blue Book's name.
    pub attributes: &'static [(i8, &'static str)],
    /// Methods: index and the Blue Book's name.
    pub methods: &'static [(i8, &'static str)],
    /// Whether data is a value of the attribute of that index; false where the class has no such attribute. Attribute 1 is the
    /// logical name in every class.
    pub conforms: fn(i8, Data<'_>) -> bool,
}

impl Shape {
    /// The highest attribute index.
    #[must_use]
    pub const fn attribute_count(&self) -> u8 {
        highest(self.attributes, 1)
    }

    /// The highest method index.
    #[must_use]
    pub const fn method_count(&self) -> u8 {
        highest(self.methods, 0)
    }
}

const fn highest(members: &[(i8, &str)], least: u8) -> u8 {
    let (mut i, mut most) = (0, least);
    while i < members.len() {
        let index = members[i].0.unsigned_abs();
        if index > most {
            most = index;
        }
        i += 1;
    }
    most
}

/// An encoder's error while an attribute is read: the value did not fit, which the piece bound rules out.
pub(crate) fn full(_: crate::codec::codec::Error) -> DataAccessResult {
    DataAccessResult::OtherReason
}

/// What writing a value in one piece ends with.
pub(crate) fn whole(written: Result<()>) -> Access<Piece> {
    match written {
        Ok(()) => Ok(Piece::Last),
        Err(error) => Err(full(error)),
    }
}

/// Writes one piece of an array: the number of its items, then each item.
pub(crate) fn put_item<T: ToData>(
    mut items: impl ExactSizeIterator<Item = T>,
    piece: u32,
    out: &mut dyn Writer,
) -> Access<Piece> {
    let (count, piece) = (items.len(), piece as usize);
    let written = match piece.checked_sub(1) {
        None => put_array(out, count),
        Some(skip) => items.nth(skip).ok_or(DataAccessResult::DataBlockUnavailable)?.put(out),
    };
    written.map_err(full)?;
    Ok(if piece == count { Piece::Last } else { Piece::More })
}

/// What reading and writing attributes ends with.
pub type Access<T> = core::result::Result<T, DataAccessResult>;

/// What invoking a method ends with.
pub type Invoked = core::result::Result<(), crate::codec::xdlms::ActionResult>;

/// Declares a class. Attributes: `index CONSTANT: shape, getter[, setter];` where the shape is `(T)` for a value, `[T]` for
/// an array that goes out item by item, `{T}` for a value that a meter writes in pieces by itself. Methods:
/// `index CONSTANT: (T), method;` with the type of the parameter.
macro_rules! class {
    (@type ($type:ty)) => { $type };
    (@type [$type:ty]) => { $crate::cosem::class::Array<$type> };
    (@type {$type:ty}) => { $type };
    (@getter $(#[$meta:meta])* $getter:ident ($type:ty)) => {
        $(#[$meta])*
        ///
        /// # Errors
        /// What goes to the peer; an attribute that the object does not have by default.
        fn $getter(&mut self) -> $crate::cosem::class::Access<<$type as $crate::cosem::class::Value>::Of<'_>> {
            Err($crate::codec::xdlms::DataAccessResult::ObjectUnavailable)
        }
    };
    (@getter $(#[$meta:meta])* $getter:ident [$type:ty]) => {
        $(#[$meta])*
        ///
        /// # Errors
        /// What goes to the peer; an attribute that the object does not have by default.
        fn $getter(
            &mut self,
        ) -> $crate::cosem::class::Access<impl ExactSizeIterator<Item = <$type as $crate::cosem::class::Value>::Of<'_>>> {
            Err::<core::iter::Empty<_>, _>($crate::codec::xdlms::DataAccessResult::ObjectUnavailable)
        }
    };
    (@getter $(#[$meta:meta])* $getter:ident {$type:ty}) => {
        $(#[$meta])*
        ///
        /// Writes one piece of it, as [`crate::dlms::model::ObjectModel::get`] does.
        ///
        /// # Errors
        /// What goes to the peer; an attribute that the object does not have by default.
        fn $getter(
            &mut self,
            _piece: u32,
            _out: &mut dyn $crate::codec::codec::Writer,
        ) -> $crate::cosem::class::Access<$crate::dlms::model::Piece> {
            Err($crate::codec::xdlms::DataAccessResult::ObjectUnavailable)
        }
    };
    (@get $object:ident $getter:ident ($type:ty) $piece:ident $out:ident) => {
        $crate::cosem::class::whole($crate::cosem::class::ToData::put(&$object.$getter()?, $out))
    };
    (@get $object:ident $getter:ident [$type:ty] $piece:ident $out:ident) => {
        $crate::cosem::class::put_item($object.$getter()?, $piece, $out)
    };
    (@get $object:ident $getter:ident {$type:ty} $piece:ident $out:ident) => {
        $object.$getter($piece, $out)
    };
    (
        $(#[$meta:meta])*
        $trait:ident = $id:literal, version $version:literal;
        attributes { $($(#[$ameta:meta])* $aindex:literal $attribute:ident: $shape:tt, $getter:ident $(, $setter:ident)?;)* }
        methods { $($(#[$mmeta:meta])* $mindex:literal $method_const:ident: ($mtype:ty), $method:ident;)* }
    ) => {
        /// Interface class.
        pub const CLASS: u16 = $id;
        /// What the class has.
        pub const SHAPE: $crate::cosem::class::Shape = $crate::cosem::class::Shape {
            class_id: $id,
            version: $version,
            attributes: &[$(($aindex, stringify!($getter)),)*],
            methods: &[$(($mindex, stringify!($method)),)*],
            conforms: |index, d| match index {
                1 => <$crate::codec::obis::Obis as $crate::cosem::class::Value>::conforms(d),
                $($aindex => <$crate::cosem::class::class!(@type $shape) as $crate::cosem::class::Value>::conforms(d),)*
                _ => false,
            },
        };
        $(
            $(#[$ameta])*
            pub const $attribute: $crate::cosem::Attr<$crate::cosem::class::class!(@type $shape)> =
                $crate::cosem::Attr::new($id, $aindex);
        )*
        $(
            $(#[$mmeta])*
            pub const $method_const: $crate::cosem::Meth<$mtype> = $crate::cosem::Meth::new($id, $mindex);
        )*

        $(#[$meta])*
        ///
        /// The meter's side of one object: what it does not have it leaves to the defaults, which refuse.
        pub trait $trait {
            $(
                $crate::cosem::class::class!(@getter $(#[$ameta])* $getter $shape);
                $(
                    #[doc = concat!("Sets attribute ", $aindex, ".")]
                    ///
                    /// # Errors
                    /// What goes to the peer; not writable by default.
                    fn $setter(
                        &mut self,
                        _value: <$crate::cosem::class::class!(@type $shape) as $crate::cosem::class::Value>::Of<'_>,
                    ) -> $crate::cosem::class::Access<()> {
                        Err($crate::codec::xdlms::DataAccessResult::ReadWriteDenied)
                    }
                )?
            )*
            $(
                $(#[$mmeta])*
                ///
                /// # Errors
                /// What goes to the peer; a method that the object does not have by default.
                fn $method(
                    &mut self,
                    _parameter: <$mtype as $crate::cosem::class::Value>::Of<'_>,
                ) -> $crate::cosem::class::Invoked {
                    Err($crate::codec::xdlms::ActionResult::ObjectUnavailable)
                }
            )*
        }

        /// Writes piece `piece` of attribute `index` of `object`; the logical name is the caller's. A value that is no array is
        /// one piece, whatever its number.
        ///
        /// # Errors
        /// What goes to the peer.
        pub fn get<O: $trait>(
            object: &mut O,
            index: i8,
            piece: u32,
            out: &mut dyn $crate::codec::codec::Writer,
        ) -> $crate::cosem::class::Access<$crate::dlms::model::Piece> {
            let _ = piece;
            match index {
                $($aindex => $crate::cosem::class::class!(@get object $getter $shape piece out),)*
                _ => Err($crate::codec::xdlms::DataAccessResult::ObjectUnavailable),
            }
        }

        /// Sets attribute `index` of `object`.
        ///
        /// # Errors
        /// What goes to the peer; a value of another type is `TypeUnmatched`.
        pub fn set<O: $trait>(
            object: &mut O,
            index: i8,
            value: $crate::codec::axdr::Data<'_>,
        ) -> $crate::cosem::class::Access<()> {
            let _ = (&object, &value);
            match index {
                $($(
                    $aindex => object.$setter(
                        $crate::cosem::FromData::from_data(value)
                            .map_err(|_| $crate::codec::xdlms::DataAccessResult::TypeUnmatched)?,
                    ),
                )?)*
                _ => Err($crate::codec::xdlms::DataAccessResult::ReadWriteDenied),
            }
        }

        /// Invokes method `index` of `object`.
        ///
        /// # Errors
        /// What goes to the peer; a parameter of another type is `TypeUnmatched`.
        pub fn invoke<O: $trait>(
            object: &mut O,
            index: i8,
            parameter: $crate::codec::axdr::Data<'_>,
        ) -> $crate::cosem::class::Invoked {
            let _ = (&object, &parameter);
            match index {
                $(
                    $mindex => object.$method(
                        $crate::cosem::FromData::from_data(parameter)
                            .map_err(|_| $crate::codec::xdlms::ActionResult::TypeUnmatched)?,
                    ),
                )*
                _ => Err($crate::codec::xdlms::ActionResult::ObjectUnavailable),
            }
        }
    };
}
pub(crate) use class;
