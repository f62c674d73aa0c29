//! Counts everything afterwards: nobody's word is taken that somebody else can check.

use crate::operator::Order;
use crate::site::{Door, Site, pause};
use crate::till::{Receipt, pay};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// How long it may take until nothing is open any more: pauses between attempts grow to a minute.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);
/// Entries of a list that the API gives at once.
const LIST_MAX: usize = 1_000;

/// What was counted.
pub struct Count {
    payments: usize,
    accepted: usize,
    refused: usize,
    sold_wh: i64,
    commands: usize,
    readings: usize,
    settled: Duration,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payments, accepted, refused, sold_wh, commands, readings, settled } = self;
        write!(
            f,
            "{payments} payments: {accepted} accepted, {refused} refused, {sold_wh} Wh sold and taken; {commands} commands ended, \
             {readings} acknowledged readings kept; settled after {} s",
            settled.as_secs()
        )
    }
}

/// Waits until everything has ended, then compares.
pub fn judge(site: &Site, receipts: &[Receipt], orders: &[Order]) -> Count {
    let began = Instant::now();
    let payments = settled(&site.door, receipts, began);
    let sold_wh = meters_took_what_was_sold(site, &payments);
    money_is_accounted_for(&site.door, receipts, &payments);
    receipts_are_honoured(&site.door, receipts, &payments);
    let readings = orders_ended(site, orders, began);
    let of = |state: &str| payments.values().filter(|payment| payment["state"] == state).count();
    Count {
        payments: payments.len(),
        accepted: of("accepted"),
        refused: of("refused"),
        sold_wh,
        commands: orders.len(),
        readings,
        settled: began.elapsed(),
    }
}

/// Every payment in its last state, by id.
fn settled(door: &Door, receipts: &[Receipt], began: Instant) -> BTreeMap<i64, Value> {
    let ids: BTreeSet<i64> = receipts.iter().map(|receipt| receipt.payment).collect();
    assert_eq!(ids.len(), receipts.len(), "two keys have one payment");
    let mut payments = BTreeMap::new();
    for id in ids {
        loop {
            let payment = door.must_get(&format!("/top-ups/{id}"));
            if payment["state"] == "accepted" || payment["state"] == "refused" {
                payments.insert(id, payment);
                break;
            }
            assert!(began.elapsed() < SETTLED_WITHIN, "still open: {payment:#}");
            pause();
        }
    }
    payments
}

/// The simulator's own count of credit taken is what was sold to each meter, to the watt-hour.
fn meters_took_what_was_sold(site: &Site, payments: &BTreeMap<i64, Value>) -> i64 {
    let mut all = 0;
    for (index, serial) in site.customers.iter().enumerate() {
        let of_meter = payments.values().filter(|payment| payment["serial"] == **serial);
        let accepted = of_meter.filter(|payment| payment["state"] == "accepted");
        let sold: i64 = accepted.map(|payment| payment["energy_wh"].as_i64().expect("watt-hours")).sum();
        let meter = site.street.look(&format!("/meters/{}", index + 1));
        assert_eq!(
            meter["credited_wh"].as_i64(),
            Some(sold),
            "meter {serial} took something else than was sold"
        );
        all += sold;
    }
    all
}

/// Money in is credit accepted, change, and what is owed back; and no payment is there that nobody made.
fn money_is_accounted_for(door: &Door, receipts: &[Receipt], payments: &BTreeMap<i64, Value>) {
    let balance = door.must_get("/accounts/balance");
    let of = |field: &str| balance[field].as_i64().expect("an amount");
    let paid: i64 = receipts.iter().map(|receipt| receipt.amount_minor).sum();
    assert_eq!(of("received"), paid, "money received is not money paid: {balance}");
    assert_eq!(of("on_the_way"), 0, "{balance}");
    assert_eq!(of("accepted") + of("change_held") + of("refused"), paid, "{balance}");
    assert_eq!(balance["balanced"], true, "{balance}");
    let listed = door.must_get(&format!("/top-ups?limit={LIST_MAX}"));
    let listed = listed.as_array().expect("a list").len();
    assert_eq!(listed, payments.len().min(LIST_MAX), "there are payments that nobody has a receipt of");
}

/// What a customer was answered still stands: the same payment, energy and token; paying again under the key changes nothing.
fn receipts_are_honoured(door: &Door, receipts: &[Receipt], payments: &BTreeMap<i64, Value>) {
    let tokens: BTreeSet<&str> = receipts.iter().map(|receipt| receipt.token.as_str()).collect();
    assert_eq!(tokens.len(), receipts.len(), "two payments have one token");
    for receipt in receipts {
        let payment = &payments[&receipt.payment];
        assert_eq!(payment["idempotency_key"], receipt.key);
        assert_eq!(payment["energy_wh"], receipt.energy_wh);
        assert_eq!(payment["token"], receipt.token, "the token of {} is another one now", receipt.key);
    }
    for receipt in receipts.iter().step_by(10) {
        assert_eq!(&pay(door, &receipt.key, &receipt.serial, receipt.amount_minor), receipt);
    }
}

/// Every command that was answered for has ended, as it was seen to end; the relay is where the last one that was carried out wanted it. Returns how
/// many readings that were acknowledged are still there.
fn orders_ended(site: &Site, orders: &[Order], began: Instant) -> usize {
    let mut readings = 0;
    for order in orders {
        let ended = loop {
            let command = site.door.must_get(&format!("/commands/{}", order.id));
            if command["finished"] == true {
                break command;
            }
            assert!(began.elapsed() < SETTLED_WITHIN, "still open: {command:#}");
            pause();
        };
        if let Some(seen) = &order.ended {
            assert_eq!(seen["state"], ended["state"], "a command that had ended changed: {ended:#}");
            if ended["kind"] == "read" && ended["state"] == "verified" {
                readings += usize::from(reading_is_kept(&site.door, order, &ended));
            }
        }
    }
    for (index, serial) in site.switched.iter().enumerate() {
        let list = site.door.must_get(&format!("/commands?serial={serial}&limit={LIST_MAX}"));
        let switches = list.as_array().expect("a list").iter().filter(|command| command["kind"] != "read");
        // A command given twice, because its first answer was lost, is refused by a meter that is as it wants already.
        let done = |command: &&Value| command["kind"] != "commission" && command["state"] == "verified";
        let mut switches = switches.filter(done);
        let Some(last) = switches.next() else { continue };
        let meter = site.street.look(&format!("/meters/{}", site.customers.len() + index + 1));
        let wanted = last["kind"] == "reconnect";
        assert_eq!(meter["contact_closed"], wanted, "the relay is not where {last:#} left it: {meter:#}");
    }
    readings
}

/// The register that the command's last word tells stands in the meter's readings. False when the list does not reach so far back.
fn reading_is_kept(door: &Door, order: &Order, ended: &Value) -> bool {
    let word = ended["outcome"].as_str().expect("a command that ended has a last word");
    let import = word.split("import ").nth(1).and_then(|rest| rest.split(' ').next());
    let import: i64 =
        import.and_then(|wh| wh.parse().ok()).unwrap_or_else(|| panic!("a register in: {word}"));
    let readings = door.must_get(&format!("/meters/{}/readings?limit={LIST_MAX}", order.serial));
    let readings = readings.as_array().expect("a list");
    let oldest = readings.last().and_then(|reading| reading["at"].as_str());
    // In a long run the list does not reach back to the first ones. Times of one form compare as text does.
    let listed = readings.len() < LIST_MAX || ended["at"].as_str() > oldest;
    let kept = readings.iter().any(|reading| reading["import_wh"] == import);
    assert!(kept || !listed, "a reading that was acknowledged is gone: {word}");
    listed
}
