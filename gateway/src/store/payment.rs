//! Payments, reserved token ids, and tokens.

use super::meter::{Meter, meter_of};
use super::special::{self, KeyChange};
use super::sql::{self, Connection, Numbered, Row};
use super::text::words;
use super::{Store, StoreError, ms, time};
use crate::session::work::Serial;
use crate::units::{MinorUnits, WattHours};
use jiff::Timestamp;

words! {
    /// How far a payment's credit has got.
    PaymentState {
        /// Money booked and token id reserved; the token is being made.
        Recorded = "recorded",
        /// The token exists and is on its way to the meter.
        OnTheWay = "on_the_way",
        /// The meter, or the gateway-held balance, has the credit.
        Accepted = "accepted",
        /// The meter refused the token for good; the money is owed back.
        Refused = "refused",
    }
}

/// A payment to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// Who took the money.
    pub channel: String,
    /// The channel's own key for this payment.
    pub idempotency_key: String,
    /// SHA-256 of the request body.
    pub request_digest: Vec<u8>,
    /// For which meter.
    pub serial: Serial,
    /// What was paid.
    pub amount: MinorUnits,
    /// From the API call down to the frame.
    pub correlation: String,
}

/// A payment as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id here.
    pub id: i64,
    /// As requested.
    pub request: NewPayment,
    /// What the credit costs; may exceed the amount by change held before.
    pub billed: MinorUnits,
    /// Change held for the customer after this payment.
    pub change: MinorUnits,
    /// The credit.
    pub energy: WattHours,
    /// How far it has got.
    pub state: PaymentState,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A token as stored: its digits only the vault can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its id here.
    pub id: i64,
    /// The payment it was made for.
    pub payment_id: i64,
    /// The meter it is for.
    pub serial: Serial,
    /// Token id: minutes since the base date.
    pub tid: u32,
    /// Tenths of a kilowatt-hour.
    pub tenths_kwh: u32,
    /// The digits, closed by the vault.
    pub sealed: Vec<u8>,
}

/// What a payment meets when it comes.
#[derive(Debug)]
pub struct Prepared {
    /// The payment that its channel's key stands for already.
    pub before: Option<Payment>,
    /// Its meter.
    pub meter: Option<Meter>,
    /// Change held for the customer.
    pub held: MinorUnits,
    /// A part that may bring the meter a new key is on the way: nobody knows which key it has ([`super::special::KeyChange`]).
    pub key_change_ending: bool,
}

/// Looks up what a payment meets, in one question where nothing is out of the ordinary.
///
/// # Errors
/// Store failures.
pub async fn prepare(conn: &mut Connection, request: &NewPayment) -> Result<Prepared, StoreError> {
    let row = sql::query(
        "SELECT m.*, b.minor AS held,
             (SELECT COUNT(*) FROM payment WHERE channel = ?2 AND idempotency_key = ?3) AS known,
             (SELECT COUNT(*) FROM special WHERE serial = m.serial AND state = 'on_the_way') AS changing
         FROM meter m LEFT JOIN account_balance b ON b.account = 'change' AND b.owner = m.serial WHERE m.serial = ?1",
    )
    .bind(&request.serial.0)
    .bind(&request.channel)
    .bind(&request.idempotency_key)
    .fetch_optional(&mut *conn)
    .await?;
    let known = row.as_ref().map(|row| row.try_get::<i64, _>("known")).transpose()?;
    let before = match known {
        Some(0) => None,
        _ => find_by_key(conn, &request.channel, &request.idempotency_key).await?,
    };
    let Some(row) = row else {
        return Ok(Prepared { before, meter: None, held: MinorUnits(0), key_change_ending: false });
    };
    let changing: i64 = row.try_get("changing")?;
    Ok(Prepared {
        before,
        meter: Some(meter_of(&row)?),
        held: MinorUnits(row.try_get::<Option<i64>, _>("held")?.unwrap_or(0)),
        key_change_ending: changing > 0
            && special::key_change(conn, &request.serial).await? == KeyChange::Ending,
    })
}

/// The payment a channel's key stands for.
async fn find_by_key(conn: &mut Connection, channel: &str, key: &str) -> Result<Option<Payment>, StoreError> {
    let row = sql::query("SELECT * FROM payment WHERE channel = ?1 AND idempotency_key = ?2")
        .bind(channel)
        .bind(key)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(payment_of).transpose()
}

/// One payment.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut Connection, id: i64) -> Result<Option<Payment>, StoreError> {
    let row = sql::query("SELECT * FROM payment WHERE id = ?1").bind(id).fetch_optional(conn).await?;
    row.as_ref().map(payment_of).transpose()
}

/// Writes a payment; its ledger entries are written beside it in the same transaction.
///
/// # Errors
/// Store failures.
pub async fn insert(conn: &mut Connection, payment: &Payment) -> Result<i64, StoreError> {
    let request = &payment.request;
    let id = conn.next_number(Numbered::Payment).await?;
    sql::query("INSERT INTO payment (channel, idempotency_key, request_digest, serial, amount_minor, billed_minor, change_minor,
                              energy_wh, state, correlation, at, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")
    .bind(&request.channel)
    .bind(&request.idempotency_key)
    .bind(&request.request_digest)
    .bind(&request.serial.0)
    .bind(request.amount.0)
    .bind(payment.billed.0)
    .bind(payment.change.0)
    .bind(payment.energy.0)
    .bind(payment.state.as_str())
    .bind(&request.correlation)
    .bind(ms(payment.at)).bind(id).later(conn);
    Ok(id)
}

/// Moves a payment on.
///
/// # Errors
/// Store failures.
pub async fn set_state(conn: &mut Connection, id: i64, state: PaymentState) -> Result<(), StoreError> {
    sql::query("UPDATE payment SET state = ?2 WHERE id = ?1").bind(id).bind(state.as_str()).later(conn);
    Ok(())
}

/// The highest token id ever reserved for a meter.
///
/// # Errors
/// Store failures.
pub async fn last_tid(
    conn: &mut Connection,
    serial: &Serial,
    base_year: u16,
) -> Result<Option<u32>, StoreError> {
    let last: Option<i64> =
        sql::query_scalar("SELECT MAX(tid) FROM tid_reservation WHERE serial = ?1 AND base_year = ?2")
            .bind(&serial.0)
            .bind(base_year)
            .fetch_one(conn)
            .await?;
    last.map(to_u32).transpose()
}

/// Reserves a token id for a payment. The primary key refuses one that was ever reserved before.
///
/// # Errors
/// Store failures.
pub async fn reserve_tid(
    conn: &mut Connection,
    serial: &Serial,
    (base_year, tid): (u16, u32),
    payment_id: i64,
    at: Timestamp,
) -> Result<(), StoreError> {
    sql::query(
        "INSERT INTO tid_reservation (serial, base_year, tid, payment_id, at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(&serial.0)
    .bind(base_year)
    .bind(tid)
    .bind(payment_id)
    .bind(ms(at))
    .later(conn);
    Ok(())
}

/// The token id reserved for a payment.
///
/// # Errors
/// Store failures.
pub async fn reserved_tid(conn: &mut Connection, payment_id: i64) -> Result<Option<u32>, StoreError> {
    let tid: Option<i64> = sql::query_scalar("SELECT tid FROM tid_reservation WHERE payment_id = ?1")
        .bind(payment_id)
        .fetch_optional(conn)
        .await?;
    tid.map(to_u32).transpose()
}

/// Writes a token, once per payment.
///
/// # Errors
/// Store failures.
pub async fn insert_token(
    conn: &mut Connection,
    token: &StoredToken,
    at: Timestamp,
) -> Result<i64, StoreError> {
    let id = conn.next_number(Numbered::Token).await?;
    sql::query("INSERT INTO token (payment_id, serial, tid, tenths_kwh, sealed, at, id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
    .bind(token.payment_id)
    .bind(&token.serial.0)
    .bind(token.tid)
    .bind(token.tenths_kwh)
    .bind(&token.sealed)
    .bind(ms(at)).bind(id).later(conn);
    Ok(id)
}

/// A payment's token.
///
/// # Errors
/// Store failures.
pub async fn token_of_payment(
    conn: &mut Connection,
    payment_id: i64,
) -> Result<Option<StoredToken>, StoreError> {
    let row =
        sql::query("SELECT * FROM token WHERE payment_id = ?1").bind(payment_id).fetch_optional(conn).await?;
    row.as_ref().map(token_of).transpose()
}

/// One token that was paid for.
///
/// # Errors
/// Store failures.
pub async fn token(conn: &mut Connection, id: i64) -> Result<Option<StoredToken>, StoreError> {
    let row = sql::query("SELECT * FROM token WHERE id = ?1 AND payment_id IS NOT NULL")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(token_of).transpose()
}

fn to_u32(value: i64) -> Result<u32, StoreError> {
    u32::try_from(value).map_err(|_| StoreError::Corrupt(format!("number {value}")))
}

pub(super) fn payment_of(row: &Row) -> Result<Payment, StoreError> {
    Ok(Payment {
        id: row.try_get("id")?,
        request: NewPayment {
            channel: row.try_get("channel")?,
            idempotency_key: row.try_get("idempotency_key")?,
            request_digest: row.try_get("request_digest")?,
            serial: Serial(row.try_get("serial")?),
            amount: MinorUnits(row.try_get("amount_minor")?),
            correlation: row.try_get("correlation")?,
        },
        billed: MinorUnits(row.try_get("billed_minor")?),
        change: MinorUnits(row.try_get("change_minor")?),
        energy: WattHours(row.try_get("energy_wh")?),
        state: PaymentState::from_store(row.try_get("state")?)?,
        at: time(row.try_get("at")?)?,
    })
}

fn token_of(row: &Row) -> Result<StoredToken, StoreError> {
    Ok(StoredToken {
        id: row.try_get("id")?,
        payment_id: row.try_get("payment_id")?,
        serial: Serial(row.try_get("serial")?),
        tid: to_u32(row.try_get("tid")?)?,
        tenths_kwh: to_u32(row.try_get("tenths_kwh")?)?,
        sealed: row.try_get("sealed")?,
    })
}

impl Store {
    /// One payment and its token.
    ///
    /// # Errors
    /// Store failures.
    pub async fn payment(&self, id: i64) -> Result<Option<(Payment, Option<StoredToken>)>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        match find(&mut conn, id).await? {
            Some(payment) => {
                let token = token_of_payment(&mut conn, id).await?;
                Ok(Some((payment, token)))
            }
            None => Ok(None),
        }
    }

    /// The newest payments, at most `limit`, of one meter or of all.
    ///
    /// # Errors
    /// Store failures.
    pub async fn payments(&self, serial: Option<&str>, limit: u32) -> Result<Vec<Payment>, StoreError> {
        let rows =
            sql::query("SELECT * FROM payment WHERE ?1 IS NULL OR serial = ?1 ORDER BY id DESC LIMIT ?2")
                .bind(serial)
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(payment_of).collect()
    }

    /// Payments whose token was not made before the gateway stopped.
    ///
    /// # Errors
    /// Store failures.
    pub async fn payments_without_token(&self) -> Result<Vec<Payment>, StoreError> {
        let rows = sql::query("SELECT * FROM payment WHERE state = 'recorded' ORDER BY id")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(payment_of).collect()
    }

    /// One token.
    ///
    /// # Errors
    /// Store failures.
    pub async fn stored_token(&self, id: i64) -> Result<Option<StoredToken>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        token(&mut conn, id).await
    }
}
