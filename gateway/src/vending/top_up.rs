//! A payment becomes credit: money and token id first, then the token, then its delivery.

use super::amount::{self, AmountError, Quote};
use super::held;
use super::tid::{self, TidError};
use crate::clock::Clock;
use crate::config::{Live, Price};
use crate::session::work::TokenDigits;
use crate::store::command::{CommandKind, NewCommand};
use crate::store::ledger::{Account, Entry};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::payment::{NewPayment, Payment, PaymentState, StoredToken};
use crate::store::special::{self, KeyChange};
use crate::store::{Connection, Store, StoreError, command, event, ledger, meter, payment};
use crate::units::MinorUnits;
use crate::vault::{CreditRequest, StsIdentity, Vault, VaultError};
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use std::sync::Arc;

/// Why a payment is refused. Nothing was changed, except for [`TopUpError::Later`].
#[derive(Debug, thiserror::Error)]
pub enum TopUpError {
    /// No such meter.
    #[error("there is no meter {0}")]
    UnknownMeter(String),
    /// Its balance is held by nobody.
    #[error("meter {0} is not a prepaid meter")]
    NotPrepaid(String),
    /// It counts credit that is sold elsewhere.
    #[error(
        "meter {0} counts its own credit and takes no tokens: what is sold for it is told to the meter by others, and read here"
    )]
    TakesNoTokens(String),
    /// The key was used for another request.
    #[error("this Idempotency-Key was used for a different request; use a new key for a new payment")]
    KeyReused,
    /// It buys nothing, or too much for one token.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// There is no token id for it.
    #[error(transparent)]
    Tid(#[from] TidError),
    /// The vault will not make tokens for this meter.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The money is booked, but the vault cannot make the token now. Sending the same payment again tries again.
    #[error("the payment is recorded, but its token cannot be made now; send the same request again: {0}")]
    Later(VaultError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a payment led to.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The payment as it stands now.
    pub payment: Payment,
    /// Its token, for meters that hold their balance; `None` also while the last part of a key change is on the way.
    pub token: Option<(StoredToken, TokenDigits)>,
    /// The same request had come before; nothing was changed.
    pub replayed: bool,
}

type WithToken = (Payment, Option<(StoredToken, TokenDigits)>);

/// For whom a token is made, and its reserved id.
type Reserved = (StsIdentity, u32);

/// What booking a payment came to.
enum Booked {
    /// It is new, and a token id is reserved for it.
    Reserved(Reserved),
    /// It is new, and nothing more is to be done now.
    Complete,
    /// The same request had come before.
    Before,
}

/// Vending: needs the store, the vault, the time and the price, and nothing else.
#[derive(Debug, Clone)]
pub struct Vending {
    pub(super) store: Store,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) clock: Clock,
    price: Live<Price>,
    /// Payments booked.
    vends: Counter,
}

impl Vending {
    /// Over these.
    #[must_use]
    pub fn new(store: Store, vault: Arc<dyn Vault>, clock: Clock, price: Price) -> Self {
        Self { store, vault, clock, price: Live::new(price), vends: Counter::default() }
    }

    /// From now on energy costs this.
    pub fn set_price(&self, price: Price) {
        self.price.set(price);
    }

    /// Counts payments that were booked.
    #[must_use]
    pub fn vends(&self) -> Counter {
        self.vends.clone()
    }

    /// Takes a payment. The same key with the same request gives the same receipt, whenever it comes and how often.
    ///
    /// # Errors
    /// See [`TopUpError`].
    pub async fn top_up(&self, request: NewPayment) -> Result<Receipt, TopUpError> {
        let (now, price, vault) = (self.clock.now(), self.price.now(), self.vault.clone());
        let (payment, booked) = self
            .store
            .write(move |conn| {
                Box::pin(async move { book(conn, &request, now, &price, vault.as_ref()).await })
            })
            .await?;
        let replayed = matches!(booked, Booked::Before);
        if !replayed {
            self.vends.inc();
        }
        let (payment, token) = match booked {
            Booked::Reserved(meter) => self.mint(payment, meter).await?,
            Booked::Complete => (payment, None),
            Booked::Before => self.finish(payment).await?,
        };
        Ok(Receipt { payment, token, replayed })
    }

    /// Makes the tokens of payments that a stop of the gateway left without one.
    ///
    /// # Errors
    /// Store failures. A token the vault cannot make is logged and left for the next time.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        let mut made = 0;
        for payment in self.store.payments_without_token().await? {
            match self.finish(payment.clone()).await {
                Ok((_, token)) => made += usize::from(token.is_some()),
                Err(TopUpError::Store(error)) => return Err(error),
                Err(error) => tracing::error!(payment = payment.id, %error, "a paid token cannot be made"),
            }
        }
        Ok(made)
    }

    /// A stored token's digits.
    ///
    /// # Errors
    /// When the vault cannot open it.
    pub fn digits(&self, token: &StoredToken) -> Result<TokenDigits, VaultError> {
        open(self.vault.as_ref(), token)
    }

    /// The payment with its token, which is made now if it was not yet: its id is already reserved.
    pub(super) async fn finish(&self, payment: Payment) -> Result<WithToken, TopUpError> {
        let payment = match self.store.payment(payment.id).await? {
            Some((payment, Some(token))) => {
                let digits = self.digits(&token)?;
                return Ok((payment, Some((token, digits))));
            }
            Some((payment, None)) => payment,
            None => payment,
        };
        if payment.state != PaymentState::Recorded {
            return Ok((payment, None));
        }
        let (booked, now, vault) = (payment.clone(), self.clock.now(), self.vault.clone());
        let reserved = self
            .store
            .write(move |conn| Box::pin(async move { reserve(conn, &booked, now, vault.as_ref()).await }))
            .await;
        match reserved {
            Ok(Some(meter)) => self.mint(payment, meter).await,
            Ok(None) => Ok((payment, None)),
            Err(error @ TopUpError::Tid(_)) => Ok((self.refuse(payment, error.to_string()).await?, None)),
            Err(error) => Err(error),
        }
    }

    /// Makes the token under its id, which is reserved durably, and stores it closed. One that the vault will never make is
    /// a refused payment, and its money is owed back.
    async fn mint(&self, payment: Payment, meter: Reserved) -> Result<WithToken, TopUpError> {
        match self.minted(&payment, meter).await {
            Ok(token) => Ok((Payment { state: PaymentState::OnTheWay, ..payment }, Some(token))),
            Err(error @ TopUpError::Vault(VaultError::Request(_))) => {
                Ok((self.refuse(payment, error.to_string()).await?, None))
            }
            Err(TopUpError::Vault(error)) => Err(TopUpError::Later(error)),
            Err(error) => Err(error),
        }
    }

    /// The vault works here and not in the writer's task: it may take its time, and others are stored meanwhile.
    async fn minted(
        &self,
        payment: &Payment,
        (sts, tid): Reserved,
    ) -> Result<(StoredToken, TokenDigits), TopUpError> {
        let tenths = u32::try_from(payment.energy.0 / amount::WH_PER_TENTH)
            .map_err(|_| StoreError::Corrupt(format!("energy of payment {}", payment.id)))?;
        let digits = self.vault.encode_credit(&CreditRequest { meter: sts, tid, tenths_kwh: tenths })?;
        let sealed = self.vault.seal(&seal_context(payment.id), digits.reveal().as_bytes())?;
        let serial = payment.request.serial.clone();
        let token = StoredToken { id: 0, payment_id: payment.id, serial, tid, tenths_kwh: tenths, sealed };
        let (booked, made, now) = (payment.clone(), token.clone(), self.clock.now());
        let stored = self
            .store
            .write::<_, TopUpError, _>(move |conn| {
                Box::pin(async move { store_token(conn, &booked, made, now).await })
            })
            .await?;
        // Somebody else may have been first; then theirs is the token.
        let digits = if stored.sealed == token.sealed { digits } else { self.digits(&stored)? };
        Ok((stored, digits))
    }

    async fn refuse(&self, payment: Payment, reason: String) -> Result<Payment, TopUpError> {
        tracing::error!(payment = payment.id, reason, "a paid token cannot be made: the money is owed back");
        let payment = Payment { state: PaymentState::Refused, ..payment };
        let (refused, now) = (payment.clone(), self.clock.now());
        self.store
            .write::<_, TopUpError, _>(move |conn| {
                Box::pin(async move { refuse(conn, &refused, &reason, now).await })
            })
            .await?;
        Ok(payment)
    }
}

/// Books the money and reserves the token id; or finds that this was done before.
async fn book(
    conn: &mut Connection,
    request: &NewPayment,
    now: Timestamp,
    price: &Price,
    vault: &dyn Vault,
) -> Result<(Payment, Booked), TopUpError> {
    let found = payment::prepare(conn, request).await?;
    if let Some(before) = found.before {
        if before.request.request_digest != request.request_digest {
            return Err(TopUpError::KeyReused);
        }
        return Ok((before, Booked::Before));
    }
    let serial = &request.serial;
    let meter = found.meter.ok_or_else(|| TopUpError::UnknownMeter(serial.0.clone()))?;
    let held = found.held;
    let quote = amount::quote(price, request.amount, held)?;
    let (payment, booked) = match (meter.balance, &meter.sts) {
        (BalanceHolder::Meter, Some(sts)) => {
            let last = payment::last_tid(conn, serial, sts.base_year).await?;
            let tid = tid::of_meter(now, vault, sts, last)?;
            vault.can_vend(sts, tid)?;
            let payment = insert(conn, request, &quote, held, PaymentState::Recorded, now).await?;
            if found.key_change_ending {
                // Nobody knows which key the meter has: the money is taken, and the token made as soon as the meter has
                // answered.
                (payment, Booked::Complete)
            } else {
                payment::reserve_tid(conn, serial, (sts.base_year, tid), payment.id, now).await?;
                (payment, Booked::Reserved((sts.clone(), tid)))
            }
        }
        (BalanceHolder::Gateway, _) => {
            (credit_here(conn, request, &meter, &quote, held, now).await?, Booked::Complete)
        }
        (BalanceHolder::Meter, None) => return Err(TopUpError::TakesNoTokens(serial.0.clone())),
        (BalanceHolder::None, _) => return Err(TopUpError::NotPrepaid(serial.0.clone())),
    };
    event::audit(conn, now, &request.channel, "top_up", &serial.0, &request.correlation).await?;
    let detail = json!({
        "payment_id": payment.id, "amount_minor": request.amount, "energy_wh": payment.energy, "state": payment.state,
    });
    event::record(conn, now, "payment", Some(&serial.0), &detail).await?;
    Ok((payment, booked))
}

/// Writes the payment and its money: in from the channel, out as the bill, the rest is change.
async fn insert(
    conn: &mut Connection,
    request: &NewPayment,
    quote: &Quote,
    held: MinorUnits,
    state: PaymentState,
    now: Timestamp,
) -> Result<Payment, TopUpError> {
    let mut payment = Payment {
        id: 0,
        request: request.clone(),
        billed: quote.bill,
        change: quote.change,
        energy: quote.energy(),
        state,
        at: now,
    };
    payment.id = payment::insert(conn, &payment).await?;
    let billed_to = if state == PaymentState::Accepted { Account::Accepted } else { Account::OnTheWay };
    let serial = &request.serial.0;
    let entries = [
        Entry::money(Account::Channel, &request.channel, -request.amount),
        Entry::money(Account::Change, serial, quote.change - held),
        Entry::money(billed_to, serial, quote.bill),
    ];
    ledger::post(conn, "payment", Some(payment.id), now, &entries).await?;
    Ok(payment)
}

/// Credits a gateway-held balance, which restores supply where want of credit had cut it.
async fn credit_here(
    conn: &mut Connection,
    request: &NewPayment,
    meter: &Meter,
    quote: &Quote,
    held: MinorUnits,
    now: Timestamp,
) -> Result<Payment, TopUpError> {
    let payment = insert(conn, request, quote, held, PaymentState::Accepted, now).await?;
    let serial = &meter.serial;
    let entries = [
        Entry::energy(Account::Sold, &request.channel, -payment.energy),
        Entry::energy(Account::Held, &serial.0, payment.energy),
    ];
    ledger::post(conn, "credit", Some(payment.id), now, &entries).await?;
    held::restore(conn, serial, now, &request.correlation).await?;
    Ok(payment)
}

/// The token id reserved for a payment, which is done now if it was not yet. `None` while the meter's key is not known: the
/// payment waits without an id.
async fn reserve(
    conn: &mut Connection,
    payment: &Payment,
    now: Timestamp,
    vault: &dyn Vault,
) -> Result<Option<Reserved>, TopUpError> {
    let serial = &payment.request.serial;
    // A reserved id holds the last part of a key change back, so the record is still the one that it was reserved under.
    let sts = meter::find(conn, &serial.0)
        .await?
        .and_then(|meter| meter.sts)
        .ok_or_else(|| StoreError::Corrupt(format!("payment {} for a meter without tokens", payment.id)))?;
    let tid = match payment::reserved_tid(conn, payment.id).await? {
        Some(tid) => tid,
        None if special::key_change(conn, serial).await? == KeyChange::Ending => return Ok(None),
        None => {
            let last = payment::last_tid(conn, serial, sts.base_year).await?;
            let tid = tid::of_meter(now, vault, &sts, last)?;
            payment::reserve_tid(conn, serial, (sts.base_year, tid), payment.id, now).await?;
            tid
        }
    };
    Ok(Some((sts, tid)))
}

/// Stores a token and records its delivery, unless somebody did since we looked.
async fn store_token(
    conn: &mut Connection,
    payment: &Payment,
    mut token: StoredToken,
    now: Timestamp,
) -> Result<StoredToken, TopUpError> {
    if let Some(token) = payment::token_of_payment(conn, payment.id).await? {
        return Ok(token);
    }
    token.id = payment::insert_token(conn, &token, now).await?;
    payment::set_state(conn, payment.id, PaymentState::OnTheWay).await?;
    let request = NewCommand {
        serial: payment.request.serial.clone(),
        kind: CommandKind::DeliverToken,
        reason: None,
        reason_text: None,
        breach: None,
        actor: payment.request.channel.clone(),
        correlation: payment.request.correlation.clone(),
        token_id: Some(token.id),
        action: None,
        not_after: None,
    };
    command::insert(conn, &request, now).await?;
    Ok(token)
}

/// Owes the bill back.
async fn refuse(
    conn: &mut Connection,
    payment: &Payment,
    reason: &str,
    now: Timestamp,
) -> Result<(), TopUpError> {
    let before = payment::find(conn, payment.id).await?;
    if before.is_none_or(|before| before.state != PaymentState::Recorded) {
        return Ok(());
    }
    let serial = &payment.request.serial.0;
    let entries = [
        Entry::money(Account::OnTheWay, serial, -payment.billed),
        Entry::money(Account::Refused, serial, payment.billed),
    ];
    ledger::post(conn, Account::Refused.as_str(), Some(payment.id), now, &entries).await?;
    payment::set_state(conn, payment.id, PaymentState::Refused).await?;
    let detail = json!({
        "payment_id": payment.id, "amount_minor": payment.request.amount, "energy_wh": payment.energy,
        "state": PaymentState::Refused, "reason": reason,
    });
    event::record(conn, now, "payment", Some(serial), &detail).await?;
    Ok(special::go_on_after_another(conn, &payment.request.serial, now).await?)
}

fn seal_context(payment_id: i64) -> String {
    format!("token of payment {payment_id}")
}

fn open(vault: &dyn Vault, token: &StoredToken) -> Result<TokenDigits, VaultError> {
    let clear = zeroize::Zeroizing::new(vault.open(&seal_context(token.payment_id), &token.sealed)?);
    std::str::from_utf8(&clear)
        .ok()
        .and_then(TokenDigits::new)
        .ok_or_else(|| VaultError::Broken(format!("the stored token of payment {}", token.payment_id)))
}

#[cfg(test)]
mod tests;
