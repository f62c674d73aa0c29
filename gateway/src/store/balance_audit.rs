//! Audits of balances that meters hold.

use super::sql::{self, Connection, Row};
use super::{Store, StoreError, ms, time};
use crate::session::work::Serial;
use crate::units::WattHours;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// What a meter said about its balance at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Point {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Credit it holds.
    pub credit_wh: WattHours,
    /// Everything its charges have collected so far, where it says.
    pub charged_wh: Option<WattHours>,
    /// Its energy register.
    pub import_wh: Option<WattHours>,
}

/// A point compared with the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BalanceAudit {
    /// What the meter said.
    #[serde(flatten)]
    pub point: Point,
    /// Credit of tokens that the meter was seen to accept since the audit before.
    pub accepted_wh: Option<WattHours>,
    /// What charges took since then: consumption, and others where the meter says.
    pub taken_wh: Option<WattHours>,
    /// What is left unexplained: the change of the credit, less what was accepted, plus what was taken.
    pub difference_wh: Option<WattHours>,
    /// In words.
    pub verdict: String,
}

/// What came in between two audits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Credit of paid and free tokens.
    pub wh: i64,
    /// The credit was set to zero by a token meanwhile.
    pub cleared: bool,
    /// A token is on its way: nobody knows yet whether the meter has it.
    pub under_way: bool,
}

fn audit_of(row: &Row) -> Result<BalanceAudit, StoreError> {
    let wh = |column: &str| -> Result<Option<WattHours>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(WattHours))
    };
    Ok(BalanceAudit {
        point: Point {
            at: time(row.try_get("at")?)?,
            credit_wh: WattHours(row.try_get("credit_wh")?),
            charged_wh: wh("charged_wh")?,
            import_wh: wh("import_wh")?,
        },
        accepted_wh: wh("accepted_wh")?,
        taken_wh: wh("taken_wh")?,
        difference_wh: wh("difference_wh")?,
        verdict: row.try_get("verdict")?,
    })
}

/// The last audit of a meter.
///
/// # Errors
/// Store failures.
pub async fn last(conn: &mut Connection, serial: &Serial) -> Result<Option<BalanceAudit>, StoreError> {
    let row = sql::query("SELECT * FROM balance_audit WHERE serial = ?1 ORDER BY id DESC LIMIT 1")
        .bind(&serial.0)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(audit_of).transpose()
}

/// Writes an audit, where there is room for history: without it the next one looks back further.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, serial: &Serial, audit: &BalanceAudit) -> Result<(), StoreError> {
    if !conn.stores_history() {
        return Ok(());
    }
    sql::query(
        "INSERT INTO balance_audit (serial, at, credit_wh, charged_wh, import_wh, accepted_wh, taken_wh, difference_wh, verdict)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )
    .bind(&serial.0)
    .bind(ms(audit.point.at))
    .bind(audit.point.credit_wh.0)
    .bind(audit.point.charged_wh.map(|wh| wh.0))
    .bind(audit.point.import_wh.map(|wh| wh.0))
    .bind(audit.accepted_wh.map(|wh| wh.0))
    .bind(audit.taken_wh.map(|wh| wh.0))
    .bind(audit.difference_wh.map(|wh| wh.0))
    .bind(&audit.verdict)
    .execute(conn)
    .await?;
    Ok(())
}

/// What tokens brought a meter after `from` and up to `until`, by the commands that delivered them.
///
/// # Errors
/// Store failures.
pub async fn accepted(
    conn: &mut Connection,
    serial: &Serial,
    from: Timestamp,
    until: Timestamp,
) -> Result<Accepted, StoreError> {
    let paid: i64 = sql::query_scalar(
        "SELECT CAST(COALESCE(SUM(p.energy_wh), 0) AS BIGINT) FROM command k JOIN token t ON t.id = k.token_id
         JOIN payment p ON p.id = t.payment_id
         WHERE k.serial = ?1 AND k.state = 'verified' AND k.updated_at > ?2 AND k.updated_at <= ?3",
    )
    .bind(&serial.0)
    .bind(ms(from))
    .bind(ms(until))
    .fetch_one(&mut *conn)
    .await?;
    let specials = sql::query(
        "SELECT s.kind, s.action FROM command k JOIN token t ON t.id = k.token_id JOIN special s ON s.id = t.special_id
         WHERE k.serial = ?1 AND k.state = 'verified' AND k.updated_at > ?2 AND k.updated_at <= ?3",
    )
    .bind(&serial.0)
    .bind(ms(from))
    .bind(ms(until))
    .fetch_all(&mut *conn)
    .await?;
    let mut accepted = Accepted { wh: paid, ..Accepted::default() };
    for row in specials {
        let (kind, action): (String, String) = (row.try_get("kind")?, row.try_get("action")?);
        match kind.as_str() {
            "clear_credit" => accepted.cleared = true,
            "free_issue" => {
                let action: serde_json::Value = serde_json::from_str(&action)?;
                let tenths_kwh = action["tenths_kwh"].as_i64().unwrap_or(0);
                accepted.wh = accepted.wh.saturating_add(tenths_kwh.saturating_mul(100));
            }
            _ => {}
        }
    }
    let open: i64 = sql::query_scalar(
        "SELECT COUNT(*) FROM command WHERE serial = ?1 AND kind = 'deliver_token'
         AND state NOT IN ('verified', 'rejected', 'expired', 'cancelled')",
    )
    .bind(&serial.0)
    .fetch_one(conn)
    .await?;
    accepted.under_way = open > 0;
    Ok(accepted)
}

impl Store {
    /// The newest audits of a meter's balance, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn balance_audits(&self, serial: &str, limit: u32) -> Result<Vec<BalanceAudit>, StoreError> {
        let rows = sql::query("SELECT * FROM balance_audit WHERE serial = ?1 ORDER BY id DESC LIMIT ?2")
            .bind(serial)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(audit_of).collect()
    }
}
