//! What the meter does by itself, as others read it: script tables (class 9), single action schedules (class 22), register
//! monitors (class 21).

use hardware::board::Board;
use protocol::codec::axdr::{Data, Date, Time};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::action_schedule::{ActionSchedule, ExecutionTime, ScheduleType};
use protocol::cosem::class::{Access, Invoked, Items};
use protocol::cosem::disconnect::{REMOTE_DISCONNECT, REMOTE_RECONNECT, Trigger};
use protocol::cosem::register_monitor::{ActionSet, MonitoredValue, RegisterMonitor};
use protocol::cosem::script_table::{Script, ScriptAction, ScriptReference, ScriptService, ScriptTable};
use protocol::cosem::tariff::RATES_MAX;
use protocol::cosem::{Meth, obis, profile, register};

use super::control::refusal;
use crate::meter::Meter;
use crate::profile::decivolts;

/// A method without parameter, as a script invokes it.
const fn invoke<T>(method: Meth<T>, logical_name: Obis) -> ScriptAction<'static> {
    ScriptAction {
        service_id: ScriptService::ExecuteMethod,
        class_id: method.class_id,
        logical_name,
        index: method.index,
        parameter: Data::Integer(0),
    }
}

const OPEN: &[ScriptAction<'static>] = &[invoke(REMOTE_DISCONNECT, obis::DISCONNECT)];
const CLOSE: &[ScriptAction<'static>] = &[invoke(REMOTE_RECONNECT, obis::DISCONNECT)];
const MONTHLY: &[ScriptAction<'static>] = &[invoke(profile::CAPTURE, obis::MONTHLY_PROFILE)];
const DAILY: &[ScriptAction<'static>] = &[invoke(profile::CAPTURE, obis::DAILY_PROFILE)];

const fn script(number: u16, actions: &'static [ScriptAction<'static>]) -> Script<'static> {
    Script { script_identifier: number, actions: Items::Held(actions) }
}

const RELAY_SCRIPTS: &[Script<'static>] = &[script(1, OPEN), script(2, CLOSE)];
const BILLING_SCRIPTS: &[Script<'static>] = &[script(1, MONTHLY), script(2, DAILY)];
/// Script n is rate n in force: rating follows, nothing is written.
const TARIFF_SCRIPTS: [Script<'static>; RATES_MAX] =
    [script(1, &[]), script(2, &[]), script(3, &[]), script(4, &[])];

/// The meter as the script table of that name.
pub(super) struct ScriptsObject<'m, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
}

impl<B: Board> ScriptTable for ScriptsObject<'_, B> {
    fn scripts(&mut self) -> Access<impl ExactSizeIterator<Item = Script<'_>>> {
        let rates = self.meter.tariffs.active.rates.len();
        let scripts = match self.name {
            obis::TARIFF_SCRIPTS => TARIFF_SCRIPTS.get(..rates).unwrap_or(&TARIFF_SCRIPTS),
            obis::BILLING_SCRIPTS => BILLING_SCRIPTS,
            _ => RELAY_SCRIPTS,
        };
        Ok(scripts.iter().copied())
    }

    /// The relay's alone: the others are the meter's own.
    fn execute(&mut self, script: u16) -> Invoked {
        let trigger = match script {
            1 => Trigger::RemoteDisconnect,
            2 => Trigger::RemoteReconnect,
            _ => return Err(ActionResult::OtherReason),
        };
        self.meter.command_relay(trigger).map_err(refusal)
    }
}

/// The schedule of that name: when billing snapshots are taken.
pub(super) struct ScheduleObject(pub Obis);

impl ScheduleObject {
    fn is_monthly(&self) -> bool {
        self.0 == obis::MONTHLY_SCHEDULE
    }
}

impl ActionSchedule for ScheduleObject {
    fn executed_script(&mut self) -> Access<ScriptReference> {
        let script_selector = if self.is_monthly() { 1 } else { 2 };
        Ok(ScriptReference { script_logical_name: obis::BILLING_SCRIPTS, script_selector })
    }

    fn schedule_type(&mut self) -> Access<ScheduleType> {
        Ok(ScheduleType::OneWithWildcards)
    }

    /// Local midnight, of each day or of the first of the month.
    fn execution_time(&mut self) -> Access<impl ExactSizeIterator<Item = ExecutionTime>> {
        let time = Time { hour: 0, minute: 0, second: 0, hundredths: 0 };
        let day_of_month = if self.is_monthly() { 1 } else { 0xFF };
        let date = Date { year: 0xFFFF, month: 0xFF, day_of_month, day_of_week: 0xFF };
        Ok(core::iter::once(ExecutionTime { time, date }))
    }
}

/// A threshold, and the script that runs above it and below it.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    at: u32,
    up: u16,
    down: u16,
}

/// The meter as the monitor of that name: of voltage or of current.
pub(super) struct MonitorObject {
    current: bool,
    thresholds: heapless::Vec<Threshold, 2>,
}

impl MonitorObject {
    /// A threshold of zero is switched off and not there.
    pub(super) fn of<B: Board>(meter: &Meter<B>, name: Obis) -> Self {
        let limits = &meter.record.limits;
        let current = name == obis::CURRENT_MONITOR;
        let opens_above = |at| Threshold { at, up: 1, down: 0 };
        let opens_below = |at| Threshold { at, up: 0, down: 1 };
        let volts = |mv| u32::from(decivolts(mv));
        let both = if current {
            [opens_below(0), opens_above(limits.over_current_ma)]
        } else {
            [opens_below(volts(limits.under_voltage_mv)), opens_above(volts(limits.over_voltage_mv))]
        };
        Self { current, thresholds: both.into_iter().filter(|threshold| threshold.at != 0).collect() }
    }
}

impl RegisterMonitor for MonitorObject {
    fn thresholds(&mut self) -> Access<impl ExactSizeIterator<Item = Data<'_>>> {
        let current = self.current;
        Ok(self.thresholds.iter().map(move |threshold| {
            if current {
                Data::DoubleLongUnsigned(threshold.at)
            } else {
                // Tenths of a volt, as the register has them.
                Data::LongUnsigned(threshold.at as u16)
            }
        }))
    }

    fn monitored_value(&mut self) -> Access<MonitoredValue> {
        let logical_name = if self.current { obis::CURRENT } else { obis::VOLTAGE };
        Ok(MonitoredValue { class_id: register::CLASS, logical_name, attribute: register::VALUE.index })
    }

    /// The meter closes again by itself when all has been well for long enough: no script does that.
    fn actions(&mut self) -> Access<impl ExactSizeIterator<Item = ActionSet>> {
        let script = |script_selector| ScriptReference {
            script_logical_name: obis::DISCONNECT_SCRIPTS,
            script_selector,
        };
        Ok(self
            .thresholds
            .iter()
            .map(move |at| ActionSet { action_up: script(at.up), action_down: script(at.down) }))
    }
}
