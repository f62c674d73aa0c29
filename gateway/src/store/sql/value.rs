//! Values bound to a statement.

use std::borrow::Cow;

/// A value of one of the three types there are. NULL has a type too: PostgreSQL wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, a time in milliseconds, or a truth value.
    Integer(Option<i64>),
    /// Text.
    Text(Option<Cow<'static, str>>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

/// What can be bound.
pub trait IntoValue {
    /// As a value.
    fn into_value(self) -> Value;
}

macro_rules! values {
    ($($type:ty => $variant:ident $make:expr;)+) => {
        $(
            impl IntoValue for $type {
                fn into_value(self) -> Value {
                    Value::$variant(Some($make(self)))
                }
            }

            impl IntoValue for Option<$type> {
                fn into_value(self) -> Value {
                    Value::$variant(self.map($make))
                }
            }
        )+
    };
}

values! {
    i64 => Integer |value| value;
    u32 => Integer i64::from;
    u16 => Integer i64::from;
    u8 => Integer i64::from;
    bool => Integer i64::from;
    String => Text Cow::Owned;
    &str => Text |value: &str| Cow::Owned(value.to_owned());
    &String => Text |value: &String| Cow::Owned(value.clone());
    Vec<u8> => Bytes |value| value;
    &[u8] => Bytes <[u8]>::to_vec;
    &Vec<u8> => Bytes Vec::clone;
}

impl IntoValue for &Option<String> {
    fn into_value(self) -> Value {
        Value::Text(self.clone().map(Cow::Owned))
    }
}
