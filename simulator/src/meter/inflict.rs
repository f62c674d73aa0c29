//! Faults at one meter: how each begins and ends, and which are in force.

use super::{Life, SimMeter, sim_now, with_other_keys};
use crate::board::Body;
use crate::fault_entry::{FaultName, end_of};
use crate::faults::{Damage, Fault, On};
use crate::memory;
use crate::wiring::{FrontEnd, Mechanics, NOMINAL_MV};
use firmware::ledger::MWS_PER_WH;
use hardware::board::ResetCause;

impl SimMeter {
    /// Makes something go wrong, or right again.
    pub fn inject(&self, fault: Fault) {
        let now = sim_now(&self.clock);
        let mut inner = self.lock();
        match fault {
            Fault::Answer { damage, on, count } => inner.waiting.add(damage, on, count),
            Fault::Silence { on } => inner.condition.silent = on,
            Fault::Slow { delay_ms } => inner.condition.slow_ms = delay_ms,
            Fault::FrameLoss { permille } => inner.condition.loss_permille = permille,
            Fault::SingleSession { on } => inner.condition.single_session = on,
            Fault::Hang { on: true } => inner.condition.hung = matches!(inner.life, Some(Life::On(_))),
            Fault::Hang { on: false } if inner.condition.hung => {
                inner.power_off();
                inner.power_on(now, ResetCause::Watchdog);
            }
            Fault::Hang { on: false } => {}
            Fault::Reboot => inner.rebooting(now, |_, _| {}),
            Fault::RebootInTransfer { requests } => inner.reboot_after = Some(requests),
            Fault::Power { on: false } => {
                inner.supply_fails(now);
                inner.power_off();
                inner.condition.off = true;
            }
            Fault::Power { on: true } => {
                inner.condition.off = false;
                inner.power_on(now, ResetCause::PowerOn);
            }
            Fault::CutAtWrite { after } => inner.with_board(|board| board.nvm_mut().cut_after(after)),
            Fault::Relay { mechanics } => inner.with_body(|body| body.mechanics = mechanics),
            Fault::ClockJump { seconds } => {
                inner.with_board(|board| board.shift_clock_ms(seconds.saturating_mul(1000)));
            }
            Fault::ClockDrift { ppm } => inner.with_board(|board| board.drift_clock(ppm)),
            Fault::CounterDesync { ahead } => inner.rebooting(now, |board, _| {
                memory::use_up_counters(board.nvm_mut(), ahead);
            }),
            Fault::WrongKey { on } => {
                if inner.condition.wrong_key != on {
                    inner.condition.wrong_key = on;
                    inner.rebooting(now, |_, who| *who = with_other_keys(who.clone()));
                }
            }
            Fault::ProfileHole { rows } => inner.rebooting(now, |board, _| {
                memory::lose_rows(board.nvm_mut(), rows);
            }),
            Fault::WrappedBuffer { rows } => {
                let mut left = None;
                inner.rebooting(now, |board, _| left = memory::wrap_profile(board.nvm_mut(), rows));
                inner.condition.cut_down_to = left.or(inner.condition.cut_down_to);
            }
            Fault::SwitchedToPostpaid => inner.rebooting(now, |board, _| {
                memory::switch_to_postpaid(board.nvm_mut());
            }),
            Fault::Exchanged(other) => {
                inner.condition.exchanged = true;
                inner.rebooting(now, |board, who| {
                    *who = *other;
                    board.renew();
                });
            }
            Fault::Cover { open } => inner.with_body(|body| body.cover_open = open),
            Fault::Magnet { present } => inner.with_body(|body| body.magnet = present),
            Fault::Theft { permille } => inner.with_body(|body| body.wiring.tapped_permille = permille),
            Fault::Bypass { permille } => inner.with_body(|body| body.wiring.bypassed_permille = permille),
            Fault::Voltage { nominal_mv } => inner.with_body(|body| body.wiring.nominal_mv = nominal_mv),
            Fault::BrokenNeutral { on } => inner.with_body(|body| body.wiring.neutral_broken = on),
            Fault::FrontEnd { front_end } => inner.with_body(|body| body.front_end = front_end),
            Fault::RegisterJump { wh } => {
                let mws = u64::from(wh) * MWS_PER_WH;
                inner.with_body(|body| body.jump_mws = body.jump_mws.saturating_add(mws));
            }
        }
    }

    /// Forgets a fault that has not happened yet or goes on, by name. False when the name stands for something that happened.
    pub fn end(&self, name: FaultName) -> bool {
        if let Some(end) = end_of(name) {
            self.inject(end);
            return true;
        }
        let mut inner = self.lock();
        let damage: fn(&Damage) -> bool = match name {
            FaultName::LostAnswer | FaultName::LostTokenAnswer => |damage| *damage == Damage::Lost,
            FaultName::LateAnswer => |damage| matches!(damage, Damage::Late { .. }),
            FaultName::DuplicatedFrame => |damage| *damage == Damage::Duplicated,
            FaultName::CorruptedFrame => |damage| *damage == Damage::Corrupted,
            FaultName::TruncatedFrame => |damage| *damage == Damage::Truncated,
            FaultName::WrongTransaction => |damage| *damage == Damage::WrongTransaction,
            FaultName::RebootInTransfer => {
                inner.reboot_after = None;
                return true;
            }
            _ => return false,
        };
        inner.waiting.forget(damage);
        true
    }

    /// Names of what is wrong at the moment or waits to go wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultName> {
        let mut inner = self.lock();
        let mut cut_waits = false;
        let mut body = Body::default();
        inner.with_board(|board| {
            cut_waits = board.nvm_mut().will_be_cut();
            body = board.body.clone();
        });
        let (condition, wiring) = (inner.condition, body.wiring);
        let mut names: Vec<FaultName> = [
            (condition.silent, FaultName::Silence),
            (condition.slow_ms > 0, FaultName::SlowMeter),
            (condition.loss_permille > 0, FaultName::FrameLoss),
            (condition.single_session, FaultName::SingleSession),
            (condition.wrong_key, FaultName::WrongKey),
            (condition.off, FaultName::PowerOff),
            (condition.hung, FaultName::Hang),
            (condition.exchanged, FaultName::MeterExchanged),
            (condition.cut_down_to.is_some(), FaultName::WrappedBuffer),
            (inner.reboot_after.is_some(), FaultName::RebootInTransfer),
            (cut_waits, FaultName::PowerCutAtWrite),
            (body.drift_ppm() != 0, FaultName::ClockDrift),
            (body.mechanics == Mechanics::Stuck, FaultName::RelayStuck),
            (body.mechanics == Mechanics::Welded, FaultName::RelayWelded),
            (body.cover_open, FaultName::CoverOpen),
            (body.magnet, FaultName::Magnet),
            (wiring.tapped_permille > 0, FaultName::Theft),
            (wiring.bypassed_permille > 0, FaultName::Bypass),
            (wiring.nominal_mv != NOMINAL_MV, FaultName::LowVoltage),
            (wiring.neutral_broken, FaultName::BrokenNeutral),
            (body.front_end == FrontEnd::StuckRegister, FaultName::StuckRegister),
            (body.front_end == FrontEnd::ReversedCt, FaultName::ReversedCt),
        ]
        .into_iter()
        .filter_map(|(there, name)| there.then_some(name))
        .collect();
        names.extend(inner.waiting.iter().map(|(damage, on)| match (damage, on) {
            (Damage::Lost, On::TokenAccepted) => FaultName::LostTokenAnswer,
            (Damage::Lost, _) => FaultName::LostAnswer,
            (Damage::Late { .. }, _) => FaultName::LateAnswer,
            (Damage::Corrupted, _) => FaultName::CorruptedFrame,
            (Damage::Truncated, _) => FaultName::TruncatedFrame,
            (Damage::Duplicated, _) => FaultName::DuplicatedFrame,
            (Damage::WrongTransaction, _) => FaultName::WrongTransaction,
        }));
        names.dedup();
        names
    }
}
