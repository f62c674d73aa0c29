//! What a meter's credit was before a token was made.

use super::{Store, StoreError, sql};
use crate::units::WattHours;

/// What is on record about a meter's credit at the last reading before a token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreditBefore {
    /// Credit then.
    pub credit: WattHours,
    /// Energy import then.
    pub import: WattHours,
    /// Credit of other tokens that the meter took since.
    pub others: WattHours,
    /// What the token is worth.
    pub token: WattHours,
}

impl Store {
    /// The last reading before the token was made; `None` for tokens without credit and meters that were not read before.
    ///
    /// # Errors
    /// Store failures.
    pub async fn credit_before(&self, token_id: i64) -> Result<Option<CreditBefore>, StoreError> {
        let row = sql::query(
            "SELECT reading.credit_wh AS credit, reading.import_wh AS import, token.tenths_kwh * 100 AS worth,
                CAST((SELECT COALESCE(SUM(other.tenths_kwh * 100), 0) FROM token AS other
                    JOIN command ON command.token_id = other.id
                    WHERE other.serial = token.serial AND other.id <> token.id AND command.state = 'verified'
                        AND command.updated_at > reading.at) AS BIGINT) AS others
             FROM token JOIN reading ON reading.serial = token.serial AND reading.at < token.at
             WHERE token.id = ?1 AND token.tenths_kwh > 0
                AND reading.credit_wh IS NOT NULL AND reading.import_wh IS NOT NULL
             ORDER BY reading.at DESC LIMIT 1",
        )
        .bind(token_id)
        .fetch_optional(&self.readers)
        .await?;
        row.map(|row| {
            Ok(CreditBefore {
                credit: WattHours(row.try_get("credit")?),
                import: WattHours(row.try_get("import")?),
                others: WattHours(row.try_get("others")?),
                token: WattHours(row.try_get("worth")?),
            })
        })
        .transpose()
    }
}
