//! Class 1, data: the value is whatever the object is for.

/// Interface class.
pub const CLASS: u16 = 1;
/// Attribute index of the value.
pub const VALUE: i8 = 2;
