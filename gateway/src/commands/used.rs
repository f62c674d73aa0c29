//! A meter that says "used" has seen the token's number, the token id: in this very token, which a customer may have typed at the
//! keypad first, or in another one that a second vending system made for the same minute under the same key. Then the credit
//! was never added. The registers tell the two apart, as far as they were read before the token was made.

use crate::session::work::Facts;
use crate::store::credit_before::CreditBefore;

/// What the registers say about a token's credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It was added.
    Added,
    /// It was not, and by how much the credit falls short of it.
    NotAdded,
    /// They were not read, or charges were taken meanwhile that nobody can tell from it.
    Unclear,
}

/// Of the token's worth: within so much of nothing it is not added, within so much of the whole it is. Charges and the meter's
/// rounding stand between.
const TOLERANCE_PART: i64 = 4;

/// Compares the credit that is left with what it was, less what was used since.
#[must_use]
pub fn shown(before: Option<&CreditBefore>, after: &Facts) -> Shown {
    let (Some(before), Some(credit), Some(import)) = (before, after.credit_wh, after.import_wh) else {
        return Shown::Unclear;
    };
    let used = import - before.import.0;
    let added = credit - before.credit.0 + used - before.others.0;
    let tolerance = before.token.0 / TOLERANCE_PART;
    if added >= before.token.0 - tolerance {
        Shown::Added
    } else if added <= tolerance {
        Shown::NotAdded
    } else {
        Shown::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::WattHours;

    const BEFORE: CreditBefore = CreditBefore {
        credit: WattHours(5_000),
        import: WattHours(100_000),
        others: WattHours(2_000),
        token: WattHours(10_000),
    };

    fn now(credit_wh: i64, import_wh: i64) -> Facts {
        Facts { credit_wh: Some(credit_wh), import_wh: Some(import_wh), ..Facts::default() }
    }

    #[test]
    fn a_token_typed_at_the_keypad_is_in_the_credit() {
        // 5,000 and 2,000 and 10,000, less 3,000 used.
        assert_eq!(shown(Some(&BEFORE), &now(14_000, 103_000)), Shown::Added);
        assert_eq!(shown(Some(&BEFORE), &now(13_500, 103_000)), Shown::Added, "a standing charge was taken");
    }

    #[test]
    fn a_token_whose_number_another_one_used_is_not() {
        assert_eq!(shown(Some(&BEFORE), &now(4_000, 103_000)), Shown::NotAdded);
        assert_eq!(
            shown(Some(&BEFORE), &now(2_500, 103_000)),
            Shown::NotAdded,
            "a standing charge was taken"
        );
    }

    #[test]
    fn half_of_it_or_no_reading_before_says_nothing() {
        assert_eq!(shown(Some(&BEFORE), &now(9_000, 103_000)), Shown::Unclear, "debt took half of it");
        assert_eq!(shown(None, &now(14_000, 103_000)), Shown::Unclear);
        assert_eq!(
            shown(Some(&BEFORE), &Facts { credit_wh: Some(14_000), ..Facts::default() }),
            Shown::Unclear
        );
    }
}
