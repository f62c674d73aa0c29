//! Enumerations that are the same word in store, API and log.

/// Declares such an enumeration: the word is the variant in snake case.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The value of a word the store gave back.
            #[allow(dead_code, reason = "not every word is stored")]
            pub(crate) fn from_store(word: &str) -> Result<Self, $crate::store::StoreError> {
                Self::parse(word).ok_or_else(|| {
                    $crate::store::StoreError::Corrupt(format!("{} {word:?}", stringify!($name)))
                })
            }
        }

        impl $crate::store::IntoValue for $name {
            fn into_value(self) -> $crate::store::Value {
                $crate::store::Value::Text(Some(std::borrow::Cow::Borrowed(self.as_str())))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
