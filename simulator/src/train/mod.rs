//! Training cases: streets on which something happens that staff have to recognise, step by step, with the expected outcome
//! read from the meters. The cases are in `simulator/training/`, under the ids of the needs they are about.

mod case;
mod check;
mod player;
mod reading;

pub use case::Case;
pub use check::Found;
pub use player::{Outcome, play};

/// Every case: its id and its text.
pub const CASES: [(&str, &str); 12] = [
    ("N01", include_str!("../../training/N01.toml")),
    ("N02", include_str!("../../training/N02.toml")),
    ("N03", include_str!("../../training/N03.toml")),
    ("N04", include_str!("../../training/N04.toml")),
    ("N05", include_str!("../../training/N05.toml")),
    ("N06", include_str!("../../training/N06.toml")),
    ("N07", include_str!("../../training/N07.toml")),
    ("N31", include_str!("../../training/N31.toml")),
    ("N32", include_str!("../../training/N32.toml")),
    ("N33", include_str!("../../training/N33.toml")),
    ("N34", include_str!("../../training/N34.toml")),
    ("N35", include_str!("../../training/N35.toml")),
];

/// The text of a case, by its id in any case of letters.
#[must_use]
pub fn text_of(id: &str) -> Option<&'static str> {
    CASES.iter().find(|(name, _)| name.eq_ignore_ascii_case(id)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests;
