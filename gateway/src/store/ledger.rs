//! The ledger: append-only postings whose entries sum to zero, in money and in energy.
//!
//! Money enters at a channel (its account goes negative by what it paid in) and rests in exactly one of change, on the way,
//! accepted, refused. Energy of gateway-held balances leaves `sold` (negative), is held for a meter, and ends in `consumed`.

use super::sql::{self, Connection, Numbered};
use super::text::words;
use super::{Store, StoreError, ms};
use crate::units::{MinorUnits, WattHours};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

words! {
    /// A kind of account; with its owner (a channel id or a meter's serial) it is one account.
    Account {
        /// What a channel paid in, negative.
        Channel = "channel",
        /// Money of a customer too small for the next tenth of a kilowatt-hour; spent first by the next payment.
        Change = "change",
        /// Billed for a token the meter has not been seen to accept yet.
        OnTheWay = "on_the_way",
        /// Billed for credit the meter (or the gateway-held balance) accepted.
        Accepted = "accepted",
        /// Billed for a token the meter refused for good: owed back.
        Refused = "refused",
        /// Energy sold into gateway-held balances, negative.
        Sold = "sold",
        /// A gateway-held balance.
        Held = "held",
        /// Energy taken from gateway-held balances.
        Consumed = "consumed",
    }
}

/// One entry of a posting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which account.
    pub account: Account,
    /// Whose.
    pub owner: String,
    /// Money in or, negative, out.
    pub minor: MinorUnits,
    /// Energy in or, negative, out.
    pub wh: WattHours,
}

impl Entry {
    /// An entry of money.
    #[must_use]
    pub fn money(account: Account, owner: &str, minor: MinorUnits) -> Self {
        Self { account, owner: owner.to_owned(), minor, wh: WattHours(0) }
    }

    /// An entry of energy.
    #[must_use]
    pub fn energy(account: Account, owner: &str, wh: WattHours) -> Self {
        Self { account, owner: owner.to_owned(), minor: MinorUnits(0), wh }
    }
}

/// Writes a posting. Entries of zero are left out.
///
/// # Errors
/// [`StoreError::Unbalanced`] when the entries do not sum to zero.
pub async fn post(
    conn: &mut Connection,
    kind: &str,
    payment_id: Option<i64>,
    at: Timestamp,
    entries: &[Entry],
) -> Result<(), StoreError> {
    let money: Option<i64> = entries.iter().try_fold(0i64, |sum, entry| sum.checked_add(entry.minor.0));
    let energy: Option<i64> = entries.iter().try_fold(0i64, |sum, entry| sum.checked_add(entry.wh.0));
    if money != Some(0) || energy != Some(0) {
        return Err(StoreError::Unbalanced(kind.to_owned()));
    }
    let posting_id = conn.next_number(Numbered::Posting).await?;
    sql::query("INSERT INTO posting (kind, payment_id, at, id) VALUES (?1, ?2, ?3, ?4)")
        .bind(kind)
        .bind(payment_id)
        .bind(ms(at))
        .bind(posting_id)
        .later(conn);
    for entry in entries.iter().filter(|entry| entry.minor.0 != 0 || entry.wh.0 != 0) {
        sql::query(
            "INSERT INTO ledger_entry (posting_id, account, owner, minor, wh) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(posting_id)
        .bind(entry.account.as_str())
        .bind(&entry.owner)
        .bind(entry.minor.0)
        .bind(entry.wh.0)
        .later(conn);
    }
    Ok(())
}

/// The balance of one account.
///
/// # Errors
/// Store failures.
pub async fn balance(
    conn: &mut Connection,
    account: Account,
    owner: &str,
) -> Result<(MinorUnits, WattHours), StoreError> {
    let row = sql::query("SELECT minor, wh FROM account_balance WHERE account = ?1 AND owner = ?2")
        .bind(account.as_str())
        .bind(owner)
        .fetch_optional(conn)
        .await?;
    Ok(match row {
        Some(row) => (MinorUnits(row.try_get(0)?), WattHours(row.try_get(1)?)),
        None => (MinorUnits(0), WattHours(0)),
    })
}

/// Where all the money is. `received = accepted + on_the_way + change_held + refused`, to the last unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
pub struct MoneyBalance {
    /// Paid in over all channels.
    pub received: MinorUnits,
    /// Billed for credit that meters and gateway-held balances accepted.
    pub accepted: MinorUnits,
    /// Billed for tokens not yet seen accepted.
    pub on_the_way: MinorUnits,
    /// Held for customers, smaller than what the next tenth of a kilowatt-hour costs.
    pub change_held: MinorUnits,
    /// Billed for tokens refused for good: owed back.
    pub refused: MinorUnits,
    /// Whether the identity holds, computed from the entries themselves and not from the running sums.
    pub balanced: bool,
}

impl Store {
    /// Where all the money is, summed from the entries.
    ///
    /// # Errors
    /// Store failures.
    pub async fn money_balance(&self) -> Result<MoneyBalance, StoreError> {
        let rows =
            sql::query("SELECT account, CAST(SUM(minor) AS BIGINT) FROM ledger_entry GROUP BY account")
                .fetch_all(&self.readers)
                .await?;
        let mut sums = std::collections::HashMap::new();
        for row in rows {
            let account = Account::from_store(row.try_get(0)?)?;
            sums.insert(account, row.try_get::<i64, _>(1)?);
        }
        let of = |account| MinorUnits(sums.get(&account).copied().unwrap_or(0));
        let (received, accepted, on_the_way) =
            (-of(Account::Channel), of(Account::Accepted), of(Account::OnTheWay));
        let (change_held, refused) = (of(Account::Change), of(Account::Refused));
        let balanced = received == accepted + on_the_way + change_held + refused;
        Ok(MoneyBalance { received, accepted, on_the_way, change_held, refused, balanced })
    }

    /// The balance of one account.
    ///
    /// # Errors
    /// Store failures.
    pub async fn account(
        &self,
        account: Account,
        owner: &str,
    ) -> Result<(MinorUnits, WattHours), StoreError> {
        let mut conn = self.readers.acquire().await?;
        balance(&mut conn, account, owner).await
    }
}
