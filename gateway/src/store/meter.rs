//! Meters and the latest of what is known about each.

use super::sql::{self, Connection, Row};
use super::text::words;
use super::{PART, Store, StoreError, ms, time, time_opt};
use crate::session::directory::{Endpoint, Framing};
use crate::session::work::{RelayState, Serial};
use crate::units::WattHours;
use crate::vault::StsIdentity;
use jiff::Timestamp;

words! {
    /// Who holds the balance.
    BalanceHolder {
        /// The meter: tokens in, consumption out.
        Meter = "meter",
        /// The gateway: readings are rated, supply is switched.
        Gateway = "gateway",
        /// Nobody: the meter is only read.
        None = "none",
    }
}

words! {
    /// What a meter measures.
    Role {
        /// One customer.
        Customer = "customer",
        /// A whole area, at its transformer or feeder.
        Feeder = "feeder",
    }
}

/// What is known about a customer's load, for a shortage. What was not entered is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct LoadRecord {
    /// Load class: 1 is the most important.
    #[serde(rename = "load_class")]
    pub class: Option<u8>,
    /// What the connection is made for, in watts.
    pub rated_w: Option<u32>,
    /// What a large user goes down to in a shortage, by its own plan, in watts.
    pub plan_w: Option<u32>,
}

/// A meter as it was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its serial number.
    pub serial: Serial,
    /// The configured line it is on.
    pub line: String,
    /// Its address there.
    pub address: String,
    /// Framing on a tcp line.
    pub framing: Framing,
    /// Its model file.
    pub model: String,
    /// Who holds its balance.
    pub balance: BalanceHolder,
    /// What it measures.
    pub role: Role,
    /// Its transformer area.
    pub area: String,
    /// What tokens for it need.
    pub sts: Option<StsIdentity>,
    /// What is known about the load.
    pub load: LoadRecord,
    /// When it was entered.
    pub added_at: Timestamp,
}

impl Meter {
    /// What a line needs to reach it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            serial: self.serial.clone(),
            line: self.line.clone(),
            address: self.address.clone(),
            framing: self.framing,
            model: self.model.clone(),
        }
    }
}

/// The latest of what is known about a meter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeterState {
    /// When commissioning was verified.
    pub commissioned_at: Option<Timestamp>,
    /// Prepayment mode, as read.
    pub prepaid: Option<bool>,
    /// When registers were last read.
    pub read_at: Option<Timestamp>,
    /// Energy import.
    pub import_wh: Option<WattHours>,
    /// Active power in watts.
    pub power_w: Option<i64>,
    /// Credit the meter holds.
    pub credit_wh: Option<WattHours>,
    /// When that was read.
    pub credit_at: Option<Timestamp>,
    /// The relay.
    pub relay: Option<RelayState>,
    /// Why it is open.
    pub relay_reason: Option<String>,
    /// When it was sensed.
    pub relay_at: Option<Timestamp>,
    /// Meter clock minus gateway clock.
    pub clock_offset_s: Option<i64>,
    /// When somebody last tried to reach the meter.
    pub tried_at: Option<Timestamp>,
    /// Why that failed, if it did.
    pub problem: Option<String>,
    /// Gateway-held balances: the register up to which consumption has been charged.
    pub rated_wh: Option<WattHours>,
}

/// Why a meter was not entered.
#[derive(Debug, thiserror::Error)]
pub enum InsertMeterError {
    /// The serial is taken.
    #[error("a meter with serial {0} exists already")]
    SerialTaken(String),
    /// The place is taken.
    #[error("address {address} on line {line} belongs to meter {serial} already")]
    AddressTaken {
        /// The line.
        line: String,
        /// The address.
        address: String,
        /// Whose it is.
        serial: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enters a meter.
///
/// # Errors
/// When its serial or its address is taken.
pub async fn insert(conn: &mut Connection, meter: &Meter) -> Result<(), InsertMeterError> {
    let taken = sql::query("SELECT serial FROM meter WHERE serial = ?1 OR (line = ?2 AND address = ?3)")
        .bind(&meter.serial.0)
        .bind(&meter.line)
        .bind(&meter.address)
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(row) = taken {
        let serial: String = row.try_get(0)?;
        return Err(if serial == meter.serial.0 {
            InsertMeterError::SerialTaken(serial)
        } else {
            InsertMeterError::AddressTaken {
                line: meter.line.clone(),
                address: meter.address.clone(),
                serial,
            }
        });
    }
    let sts = meter.sts.as_ref().map(serde_json::to_string).transpose().map_err(StoreError::from)?;
    sql::query(
        "INSERT INTO meter (serial, line, address, framing, model, balance, role, area, sts, added_at,
                            load_class, rated_w, plan_w)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(&meter.serial.0)
    .bind(&meter.line)
    .bind(&meter.address)
    .bind(framing_word(meter.framing))
    .bind(&meter.model)
    .bind(meter.balance.as_str())
    .bind(meter.role.as_str())
    .bind(&meter.area)
    .bind(sts)
    .bind(ms(meter.added_at))
    .bind(meter.load.class)
    .bind(meter.load.rated_w)
    .bind(meter.load.plan_w)
    .execute(&mut *conn)
    .await?;
    sql::query("INSERT INTO meter_state (serial) VALUES (?1)")
        .bind(&meter.serial.0)
        .execute(&mut *conn)
        .await?;
    Ok(())
}

fn framing_word(framing: Framing) -> &'static str {
    match framing {
        Framing::Wrapper => "wrapper",
        Framing::Hdlc => "hdlc",
    }
}

/// One meter.
///
/// # Errors
/// Store failures.
pub async fn find(conn: &mut Connection, serial: &str) -> Result<Option<Meter>, StoreError> {
    let row = sql::query("SELECT * FROM meter WHERE serial = ?1").bind(serial).fetch_optional(conn).await?;
    row.as_ref().map(meter_of).transpose()
}

/// Writes under which key a meter is from now on.
///
/// # Errors
/// Store failures.
pub async fn set_sts(conn: &mut Connection, serial: &Serial, sts: &StsIdentity) -> Result<(), StoreError> {
    sql::query("UPDATE meter SET sts = ?2 WHERE serial = ?1")
        .bind(&serial.0)
        .bind(serde_json::to_string(sts)?)
        .later(conn);
    Ok(())
}

/// What is known about one meter.
///
/// # Errors
/// Store failures; also when there is no such meter.
pub async fn state(conn: &mut Connection, serial: &str) -> Result<MeterState, StoreError> {
    let row = sql::query("SELECT * FROM meter_state WHERE serial = ?1").bind(serial).fetch_one(conn).await?;
    state_of(&row)
}

pub(super) fn meter_of(row: &Row) -> Result<Meter, StoreError> {
    let sts: Option<String> = row.try_get("sts")?;
    Ok(Meter {
        serial: Serial(row.try_get("serial")?),
        line: row.try_get("line")?,
        address: row.try_get("address")?,
        framing: match row.try_get::<&str, _>("framing")? {
            "wrapper" => Framing::Wrapper,
            "hdlc" => Framing::Hdlc,
            other => return Err(StoreError::Corrupt(format!("framing {other:?}"))),
        },
        model: row.try_get("model")?,
        balance: BalanceHolder::from_store(row.try_get("balance")?)?,
        role: Role::from_store(row.try_get("role")?)?,
        area: row.try_get("area")?,
        load: load_of(row)?,
        sts: sts.map(|json| serde_json::from_str(&json)).transpose()?,
        added_at: time(row.try_get("added_at")?)?,
    })
}

fn load_of(row: &Row) -> Result<LoadRecord, StoreError> {
    let number = |column: &str| -> Result<Option<u32>, StoreError> {
        let value: Option<i64> = row.try_get(column)?;
        let bad = |_| StoreError::Corrupt(format!("{column} {value:?}"));
        value.map(|value| u32::try_from(value).map_err(bad)).transpose()
    };
    let class = number("load_class")?.map(|class| u8::try_from(class).unwrap_or(u8::MAX));
    Ok(LoadRecord { class, rated_w: number("rated_w")?, plan_w: number("plan_w")? })
}

fn state_of(row: &Row) -> Result<MeterState, StoreError> {
    let closed: Option<i64> = row.try_get("relay_closed")?;
    let control: Option<i64> = row.try_get("relay_control")?;
    Ok(MeterState {
        commissioned_at: time_opt(row.try_get("commissioned_at")?)?,
        prepaid: row.try_get::<Option<i64>, _>("prepaid")?.map(|prepaid| prepaid != 0),
        read_at: time_opt(row.try_get("read_at")?)?,
        import_wh: row.try_get::<Option<i64>, _>("import_wh")?.map(WattHours),
        power_w: row.try_get("power_w")?,
        credit_wh: row.try_get::<Option<i64>, _>("credit_wh")?.map(WattHours),
        credit_at: time_opt(row.try_get("credit_at")?)?,
        relay: closed.map(|closed| RelayState {
            output_closed: closed != 0,
            control_state: control.and_then(|control| u8::try_from(control).ok()),
        }),
        relay_reason: row.try_get("relay_reason")?,
        relay_at: time_opt(row.try_get("relay_at")?)?,
        clock_offset_s: row.try_get("clock_offset_s")?,
        tried_at: time_opt(row.try_get("tried_at")?)?,
        problem: row.try_get("problem")?,
        rated_wh: row.try_get::<Option<i64>, _>("rated_wh")?.map(WattHours),
    })
}

impl Store {
    /// One meter and what is known about it.
    ///
    /// # Errors
    /// Store failures.
    pub async fn meter(&self, serial: &str) -> Result<Option<(Meter, MeterState)>, StoreError> {
        let mut conn = self.readers.acquire().await?;
        match find(&mut conn, serial).await? {
            Some(meter) => {
                let state = state(&mut conn, serial).await?;
                Ok(Some((meter, state)))
            }
            None => Ok(None),
        }
    }

    /// Meters in the order of their serials, after the given one, at most `limit`.
    ///
    /// # Errors
    /// Store failures.
    pub async fn meters_after(
        &self,
        serial: &str,
        limit: u32,
    ) -> Result<Vec<(Meter, MeterState)>, StoreError> {
        let rows = sql::query(
            "SELECT m.*, s.* FROM meter m JOIN meter_state s ON s.serial = m.serial
             WHERE m.serial > ?1 ORDER BY m.serial LIMIT ?2",
        )
        .bind(serial)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok((meter_of(row)?, state_of(row)?))).collect()
    }

    /// Every meter. For start-up and the page of one substation.
    ///
    /// # Errors
    /// Store failures.
    pub async fn all_meters(&self) -> Result<Vec<(Meter, MeterState)>, StoreError> {
        let mut all: Vec<(Meter, MeterState)> = Vec::new();
        loop {
            let last = all.last().map_or("", |(meter, _)| &meter.serial.0);
            let part = self.meters_after(last, PART).await?;
            let is_last = part.len() < PART as usize;
            all.extend(part);
            if is_last {
                return Ok(all);
            }
        }
    }
}
