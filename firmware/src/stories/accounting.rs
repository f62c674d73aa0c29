//! Every unit is accounted for, whatever happens in whatever order.

use super::{board, pass, start, token};
use crate::ledger::Ledger;
use crate::terms::DAY_S;
use protocol::cosem::disconnect::Trigger;
use protocol::cosem::tariff::Tariff;
use protocol::cosem::token_gateway::DeliveryMethod;

/// A small deterministic generator (xorshift64*), so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }
}

/// Steps of the property below; `METER_STEPS` in the environment asks for more.
const STEPS: u64 = 3_000_000;

/// What the account must show, counted apart from it.
#[derive(Default)]
struct Shadow {
    credited: i128,
    /// Thousandths of a unit that all energy used has cost.
    cost_milli: i128,
    charged: i128,
    /// Debt that was added and not paid.
    debt: i128,
}

/// Random payments, consumption at random tariffs, days that begin, debts, corrections, cleared credit and emergency credit:
/// after each step initial + credited = consumed + charged + remaining, and every part of it is what a second book says.
#[test]
fn every_unit_is_accounted_for_after_each_of_millions_of_random_operations() {
    let steps = std::env::var("METER_STEPS").ok().and_then(|text| text.parse().ok()).unwrap_or(STEPS);
    let mut dice = Dice(0x5EED);
    let mut record = super::full_record();
    record.ledger = Ledger::new(5_000);
    record.rating = crate::tariff::Rating::default();
    record.terms = crate::terms::Terms { day: 20_000, ..crate::terms::Terms::default() };
    let mut shadow = Shadow::default();
    let mut local_s = 20_000 * DAY_S;
    let mut tariff = Tariff::flat(1_000);
    let (mut refused, mut emergencies) = (0_u64, 0_u64);
    for step in 0..steps {
        let (ledger, terms) = (&mut record.ledger, &mut record.terms);
        match dice.roll(16) {
            0 | 1 => {
                // A payment, now and then one that no register holds.
                let units = dice.roll(if step % 64 == 0 { 1 << 32 } else { 200_000 }) as i64;
                if ledger.credit(units).is_ok() {
                    shadow.credited += i128::from(units);
                    let before = terms.instalment.total;
                    terms.after_payment(units, local_s, ledger);
                    let paid = i128::from(terms.instalment.total - before);
                    (shadow.charged, shadow.debt) = (shadow.charged + paid, shadow.debt - paid);
                } else {
                    refused += 1;
                }
            }
            2 => {
                // Management corrects, or a token clears what is left.
                let units = if dice.roll(8) == 0 {
                    -ledger.remaining().max(0)
                } else {
                    dice.roll(2_000) as i64 - 1_000
                };
                if ledger.credit(units).is_ok() {
                    shadow.credited += i128::from(units);
                }
            }
            3 => {
                local_s += dice.roll(u64::from(DAY_S) / 2) as u32;
                let before = terms.daily.total + terms.instalment.total;
                let owed = terms.debt;
                terms.follow_calendar(local_s, local_s, ledger);
                shadow.charged += i128::from(terms.daily.total + terms.instalment.total - before);
                shadow.debt -= i128::from(owed - terms.debt);
                // The calendar ends in 2106; lives begin again.
                if local_s > u32::MAX - DAY_S {
                    (local_s, terms.day) = (20_000 * DAY_S, 20_000);
                }
            }
            4 => {
                terms.daily.active = dice.roll(500) as u32;
                terms.instalment.active = dice.roll(300) as u32;
                terms.debt_share = dice.roll(10_001) as u16;
            }
            5 if terms.debt < 1 << 30 => {
                let more = dice.roll(50_000) as u32;
                (terms.debt, shadow.debt) = (terms.debt + more, shadow.debt + i128::from(more));
            }
            6 => {
                terms.emergency.preset = dice.roll(10_000) as u32;
                if terms.offers_emergency(ledger.remaining()) {
                    (terms.emergency.taken, emergencies) = (true, emergencies + 1);
                }
            }
            7 => {
                // Bounds that never split a lot of a step: the second book multiplies only.
                tariff = Tariff::flat(dice.roll(5_000) as u32);
            }
            _ => {
                let wh = dice.roll(40);
                let price = tariff.steps[0].price;
                shadow.cost_milli += i128::from(wh) * i128::from(price);
                ledger.consume(record.rating.charge(&tariff, wh, Some(local_s)));
            }
        }
        let ledger = &record.ledger;
        assert!(ledger.balances(), "step {step}");
        assert_eq!(i128::from(ledger.credited()), shadow.credited, "step {step}");
        assert_eq!(i128::from(ledger.consumed()), shadow.cost_milli / 1_000, "step {step}");
        assert_eq!(i128::from(ledger.charged()), shadow.charged, "step {step}");
        assert_eq!(i128::from(record.terms.debt), shadow.debt, "step {step}");
        let remaining = 5_000 + shadow.credited - shadow.cost_milli / 1_000 - shadow.charged;
        assert_eq!(i128::from(ledger.remaining()), remaining, "step {step}");
    }
    std::println!(
        "{steps} random operations: every unit accounted for; {refused} credits refused, {emergencies} emergency credits"
    );
    assert!(refused > 0 && emergencies > 0 && shadow.charged > 0);
}

#[test]
fn a_meter_under_random_operations_keeps_energy_credit_and_relay_consistent() {
    let mut dice = Dice(42);
    let mut meter = start(board());
    let mut credited = 1_000;
    for step in 0..4_000_u32 {
        match dice.roll(8) {
            0 => {
                let units = dice.roll(30) as u16 + 1;
                if meter.receive_token(token(units, step + 1).as_bytes(), DeliveryMethod::Remote).code() == 1
                {
                    credited += i64::from(units) * 100;
                }
            }
            1 => {
                let _ = meter.command_relay(Trigger::RemoteDisconnect);
            }
            2 | 3 => {
                let _ = meter.command_relay(Trigger::RemoteReconnect);
            }
            4 => meter.board().load_mw = dice.roll(12_000_000),
            5 => {
                let board = meter.into_board();
                meter = start(board);
            }
            _ => pass(&mut meter, 60 + dice.roll(120)),
        }
        let status = meter.status();
        assert!(meter.ledger().balances());
        assert_eq!(credited - i64::try_from(status.import_wh).unwrap(), status.credit_wh, "step {step}");
        assert!(status.credit_wh > 0 || !meter.board().closed, "step {step}: supply without credit");
    }
    assert!(credited > 10_000, "tokens were accepted on the way");
}
