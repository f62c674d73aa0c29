//! Every unit is accounted for, whatever happens in whatever order.

use super::{board, pass, start, token};
use crate::ledger::{CREDIT_MAX, Ledger};
use protocol::cosem::disconnect::Trigger;
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

#[test]
fn the_ledger_balances_after_each_of_two_million_random_changes() {
    let mut dice = Dice(0x5EED);
    let mut ledger = Ledger::new(5_000);
    let (mut in_, mut out) = (5_000_i128, 0_i128);
    for _ in 0..2_000_000 {
        match dice.roll(4) {
            0 => {
                let units = dice.roll(1 << 33) as i64 - (1 << 30);
                if ledger.credit(units).is_ok() {
                    in_ += i128::from(units);
                }
            }
            1 => {
                let units = dice.roll(10_000_000);
                ledger.charge(units);
                out += i128::from(units);
            }
            _ => {
                let units = dice.roll(1_000_000);
                ledger.consume(units);
                out += i128::from(units);
            }
        }
        assert!(ledger.balances());
        assert_eq!(i128::from(ledger.remaining()), in_ - out);
        assert!(ledger.remaining() <= CREDIT_MAX);
    }
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
