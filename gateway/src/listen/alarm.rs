//! Which of the things that meters say by themselves are alarms, and which end one. Everything else is a fact and no more.

use crate::store::alarm::AlarmKind;
use protocol::cosem::events::Event;

/// What an event of a meter does to its alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// One is opened, or seen again.
    Opens(AlarmKind),
    /// One is closed: the event is the evidence.
    Closes(AlarmKind),
}

/// What this event does. A suspicion of tampering (N23, N34) is not ended by the meter: that a cover was closed again does not
/// say what was done under it.
#[must_use]
pub const fn change(event: Event) -> Option<Change> {
    Some(match event {
        Event::PowerDown => Change::Opens(AlarmKind::NoSupply),
        Event::PowerUp => Change::Closes(AlarmKind::NoSupply),
        Event::CoverOpened
        | Event::MagnetOn
        | Event::ReverseEnergy
        | Event::NeutralMissing
        | Event::CurrentImbalance => Change::Opens(AlarmKind::Tamper),
        Event::RelayFailure | Event::RelayWelded => Change::Opens(AlarmKind::DoesNotAct),
        Event::NvMemoryError | Event::MeasurementError | Event::LedgerMismatch | Event::Watchdog => {
            Change::Opens(AlarmKind::MeterFault)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_ends_its_own_power_cut_and_never_a_suspicion() {
        assert_eq!(change(Event::PowerUp), Some(Change::Closes(AlarmKind::NoSupply)));
        let all = (0..=u8::MAX).filter_map(Event::from_u8);
        let closed: Vec<_> = all.filter(|event| matches!(change(*event), Some(Change::Closes(_)))).collect();
        assert_eq!(closed, [Event::PowerUp]);
        assert_eq!(change(Event::CoverClosed), None);
        assert_eq!(change(Event::RelayWelded), Some(Change::Opens(AlarmKind::DoesNotAct)));
    }
}
