//! Classes 9, 11, 20, 21, 22, 40: what the meter does by itself.

use protocol::codec::axdr::{Data, Date, DateTime, Time};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Items};
use protocol::cosem::script_table::{Script, ScriptAction, ScriptReference, ScriptService};
use protocol::cosem::{
    action_schedule, activity_calendar, limiter, obis, push_setup, register_monitor, script_table,
    special_days,
};

use super::{Desk, agrees, vector};
use crate::meter::served;

/// The disconnector's script table.
const SCRIPTS: Obis = Obis::new(0, 0, 10, 0, 106, 255);

/// A time whose day of the week is left open, as the other implementation leaves it.
fn any_weekday(utc_s: u32) -> DateTime {
    DateTime { day_of_week: 255, ..protocol::cosem::clock::date_time(utc_s, 0, 0) }
}

#[derive(Default)]
struct Scripts {
    ran: Vec<u16>,
}
served!(Scripts, script_table);

const OPEN: [ScriptAction<'static>; 1] = [ScriptAction {
    service_id: ScriptService::ExecuteMethod,
    class_id: 70,
    logical_name: obis::DISCONNECT,
    index: 1,
    parameter: Data::Integer(0),
}];

impl script_table::ScriptTable for Scripts {
    fn scripts(&mut self) -> Access<impl ExactSizeIterator<Item = Script<'_>>> {
        Ok(core::iter::once(Script { script_identifier: 1, actions: Items::Held(&OPEN) }))
    }
    fn execute(&mut self, script: u16) -> Invoked {
        if script != 1 {
            return Err(ActionResult::ObjectUnavailable);
        }
        self.ran.push(script);
        Ok(())
    }
}

#[test]
fn scripts_are_listed_with_their_actions_and_run_by_number() {
    let mut desk = Desk::new(Scripts::default());
    agrees(&mut desk, script_table::SCRIPTS);
    let bytes = desk.read(script_table::SCRIPTS);
    let script = script_table::SCRIPTS.decode_bytes(&bytes).unwrap().iter().next().unwrap().unwrap();
    assert_eq!(script.actions.iter().next().unwrap().unwrap(), OPEN[0]);
    desk.invoke(script_table::EXECUTE, &1).unwrap();
    assert_eq!(desk.invoke(script_table::EXECUTE, &2), Err(ActionResult::ObjectUnavailable));
}

struct Days(Vec<special_days::SpecialDayEntry>);
served!(Days, special_days);

impl special_days::SpecialDaysTable for Days {
    fn entries(&mut self) -> Access<impl ExactSizeIterator<Item = special_days::SpecialDayEntry>> {
        Ok(self.0.iter().copied())
    }
    fn set_entries(&mut self, entries: Items<'_, special_days::SpecialDayEntry>) -> Access<()> {
        let entries: Result<_, _> = entries.iter().collect();
        self.0 = entries.map_err(|_| DataAccessResult::TypeUnmatched)?;
        Ok(())
    }
    fn insert(&mut self, entry: special_days::SpecialDayEntry) -> Invoked {
        self.0.retain(|e| e.index != entry.index && e.specialday_date != entry.specialday_date);
        self.0.push(entry);
        Ok(())
    }
    fn delete(&mut self, index: u16) -> Invoked {
        let before = self.0.len();
        self.0.retain(|e| e.index != index);
        if self.0.len() == before { Err(ActionResult::OtherReason) } else { Ok(()) }
    }
}

#[test]
fn special_days_are_inserted_replaced_removed_and_written_as_a_table() {
    let christmas = special_days::SpecialDayEntry {
        index: 1,
        specialday_date: Date { year: 2026, month: 12, day_of_month: 25, day_of_week: 255 },
        day_id: 3,
    };
    let mut desk = Desk::new(Days(Vec::new()));
    desk.invoke(special_days::INSERT, &christmas).unwrap();
    desk.invoke(special_days::INSERT, &christmas).unwrap();
    // The other implementation finds the day of the week of a date by itself.
    let mut theirs = vector(11, 2);
    theirs[13] = 255;
    assert_eq!(desk.read(special_days::ENTRIES), theirs);
    desk.invoke(special_days::DELETE, &1).unwrap();
    assert_eq!(desk.invoke(special_days::DELETE, &1), Err(ActionResult::OtherReason));
    // More than an APDU of this meter takes: the table goes over in blocks, and comes back in blocks.
    let many: Vec<_> = (0..100).map(|index| special_days::SpecialDayEntry { index, ..christmas }).collect();
    desk.write(special_days::ENTRIES, &Items::Held(&many[..40])).unwrap();
    let bytes = desk.read(special_days::ENTRIES);
    assert_eq!(special_days::ENTRIES.decode_bytes(&bytes).unwrap(), Items::Held(&many[..40]));
}

#[derive(Default)]
struct Calendar {
    passive: Vec<(u8, u16)>,
    at: Option<DateTime>,
}
served!(Calendar, activity_calendar);

const SCHEDULE: [activity_calendar::DayProfileAction; 1] = [activity_calendar::DayProfileAction {
    start_time: Time { hour: 7, minute: 0, second: 0, hundredths: 255 },
    script_logical_name: Obis::new(0, 0, 10, 0, 100, 255),
    script_selector: 2,
}];

impl activity_calendar::ActivityCalendar for Calendar {
    fn calendar_name_active(&mut self) -> Access<&[u8]> {
        Ok(b"2026")
    }
    fn season_profile_active(
        &mut self,
    ) -> Access<impl ExactSizeIterator<Item = activity_calendar::Season<'_>>> {
        Ok(core::iter::once(activity_calendar::Season {
            season_profile_name: b"summer",
            season_start: any_weekday(1_775_001_600),
            week_name: b"week1",
        }))
    }
    fn week_profile_table_active(
        &mut self,
    ) -> Access<impl ExactSizeIterator<Item = activity_calendar::WeekProfile<'_>>> {
        Ok(core::iter::once(activity_calendar::WeekProfile {
            week_profile_name: b"week1",
            monday: 1,
            tuesday: 1,
            wednesday: 1,
            thursday: 1,
            friday: 1,
            saturday: 2,
            sunday: 3,
        }))
    }
    fn day_profile_table_active(
        &mut self,
    ) -> Access<impl ExactSizeIterator<Item = activity_calendar::DayProfile<'_>>> {
        Ok(core::iter::once(activity_calendar::DayProfile {
            day_id: 1,
            day_schedule: Items::Held(&SCHEDULE),
        }))
    }
    fn set_day_profile_table_passive(
        &mut self,
        days: Items<'_, activity_calendar::DayProfile<'_>>,
    ) -> Access<()> {
        let wrong = |_| DataAccessResult::TypeUnmatched;
        let mut passive = Vec::new();
        for day in days.iter() {
            let day = day.map_err(wrong)?;
            for action in day.day_schedule.iter() {
                passive.push((day.day_id, action.map_err(wrong)?.script_selector));
            }
        }
        self.passive = passive;
        Ok(())
    }
    fn activate_passive_calendar_time(&mut self) -> Access<DateTime> {
        self.at.ok_or(DataAccessResult::ObjectUnavailable)
    }
    fn set_activate_passive_calendar_time(&mut self, at: DateTime) -> Access<()> {
        self.at = Some(at);
        Ok(())
    }
    fn activate_passive_calendar(&mut self, _: protocol::cosem::class::Nothing) -> Invoked {
        if self.passive == [(1, 2), (1, 2)] { Ok(()) } else { Err(ActionResult::OtherReason) }
    }
}

#[test]
fn a_calendar_is_told_and_the_next_one_written_and_activated() {
    let mut desk = Desk::new(Calendar::default());
    agrees(&mut desk, activity_calendar::CALENDAR_NAME_ACTIVE);
    agrees(&mut desk, activity_calendar::SEASON_PROFILE_ACTIVE);
    agrees(&mut desk, activity_calendar::WEEK_PROFILE_TABLE_ACTIVE);
    agrees(&mut desk, activity_calendar::DAY_PROFILE_TABLE_ACTIVE);
    let nothing = &protocol::cosem::class::Nothing;
    assert!(desk.invoke(activity_calendar::ACTIVATE_PASSIVE_CALENDAR, nothing).is_err());
    let both = [SCHEDULE[0], SCHEDULE[0]];
    let days = [activity_calendar::DayProfile { day_id: 1, day_schedule: Items::Held(&both) }];
    desk.write(activity_calendar::DAY_PROFILE_TABLE_PASSIVE, &Items::Held(&days)).unwrap();
    desk.invoke(activity_calendar::ACTIVATE_PASSIVE_CALENDAR, nothing).unwrap();
    let at = protocol::cosem::clock::date_time(1_775_001_600, 60, 0);
    desk.write(activity_calendar::ACTIVATE_PASSIVE_CALENDAR_TIME, &at).unwrap();
    let bytes = desk.read(activity_calendar::ACTIVATE_PASSIVE_CALENDAR_TIME);
    assert_eq!(activity_calendar::ACTIVATE_PASSIVE_CALENDAR_TIME.decode_bytes(&bytes).unwrap(), at);
}

struct Schedule;
served!(Schedule, action_schedule);

impl action_schedule::ActionSchedule for Schedule {
    fn executed_script(&mut self) -> Access<ScriptReference> {
        Ok(ScriptReference { script_logical_name: Obis::new(0, 0, 10, 0, 107, 255), script_selector: 1 })
    }
    fn schedule_type(&mut self) -> Access<action_schedule::ScheduleType> {
        Ok(action_schedule::ScheduleType::OneWithWildcards)
    }
    fn execution_time(&mut self) -> Access<impl ExactSizeIterator<Item = action_schedule::ExecutionTime>> {
        Ok(core::iter::once(action_schedule::ExecutionTime {
            time: Time { hour: 3, minute: 4, second: 0, hundredths: 255 },
            date: Date { year: 2026, month: 1, day_of_month: 2, day_of_week: 255 },
        }))
    }
}

#[test]
fn a_schedule_tells_what_runs_and_when() {
    let mut desk = Desk::new(Schedule);
    agrees(&mut desk, action_schedule::EXECUTED_SCRIPT);
    agrees(&mut desk, action_schedule::TYPE);
    agrees(&mut desk, action_schedule::EXECUTION_TIME);
    let times = Items::Held(&[]);
    assert_eq!(desk.write(action_schedule::EXECUTION_TIME, &times), Err(DataAccessResult::ReadWriteDenied));
}

#[derive(Default)]
struct Monitor(u32);
served!(Monitor, register_monitor);

impl register_monitor::RegisterMonitor for Monitor {
    fn thresholds(&mut self) -> Access<impl ExactSizeIterator<Item = Data<'_>>> {
        Ok(core::iter::once(Data::DoubleLongUnsigned(self.0)))
    }
    fn set_thresholds(&mut self, thresholds: Items<'_, Data<'_>>) -> Access<()> {
        let first = thresholds.iter().next().and_then(Result::ok).and_then(|d| d.as_u64());
        self.0 = first.and_then(|v| v.try_into().ok()).ok_or(DataAccessResult::TypeUnmatched)?;
        Ok(())
    }
    fn monitored_value(&mut self) -> Access<limiter::MonitoredValue> {
        Ok(limiter::MonitoredValue { class_id: 3, logical_name: obis::IMPORT_POWER, attribute: 2 })
    }
    fn actions(&mut self) -> Access<impl ExactSizeIterator<Item = register_monitor::ActionSet>> {
        let script = |script_selector| ScriptReference { script_logical_name: SCRIPTS, script_selector };
        Ok(core::iter::once(register_monitor::ActionSet { action_up: script(1), action_down: script(2) }))
    }
}

#[test]
fn a_monitor_tells_its_thresholds_and_actions() {
    let mut desk = Desk::new(Monitor::default());
    agrees(&mut desk, register_monitor::MONITORED_VALUE);
    // The other implementation begins the array with the tag of a structure.
    let mut theirs = vector(21, 4);
    theirs[0] = 1;
    assert_eq!(desk.read(register_monitor::ACTIONS), theirs);
    let thresholds = [Data::LongUnsigned(5_000)];
    desk.write(register_monitor::THRESHOLDS, &Items::Held(&thresholds)).unwrap();
    assert_eq!(desk.read(register_monitor::THRESHOLDS), [1, 1, 6, 0, 0, 0x13, 0x88]);
}

#[derive(Default)]
struct Push {
    destination: Vec<u8>,
    pushed: u32,
}
served!(Push, push_setup);

impl push_setup::PushSetup for Push {
    fn push_object_list(&mut self) -> Access<impl ExactSizeIterator<Item = push_setup::CaptureObject>> {
        Ok(core::iter::once(push_setup::CaptureObject::new(1, obis::SERIAL, 2, 0)))
    }
    fn send_destination_and_method(&mut self) -> Access<push_setup::SendDestinationAndMethod<'_>> {
        Ok(push_setup::SendDestinationAndMethod {
            transport_service: push_setup::TransportService::Tcp,
            destination: &self.destination,
            message: push_setup::MessageType::AXdr,
        })
    }
    fn set_send_destination_and_method(
        &mut self,
        to: push_setup::SendDestinationAndMethod<'_>,
    ) -> Access<()> {
        self.destination = to.destination.to_vec();
        Ok(())
    }
    fn communication_window(&mut self) -> Access<impl ExactSizeIterator<Item = push_setup::WindowElement>> {
        Ok(core::iter::once(push_setup::WindowElement {
            start_time: any_weekday(1_767_322_800),
            end_time: any_weekday(1_767_326_400),
        }))
    }
    fn randomisation_start_interval(&mut self) -> Access<u16> {
        Ok(30)
    }
    fn number_of_retries(&mut self) -> Access<u8> {
        Ok(3)
    }
    fn repetition_delay(&mut self) -> Access<u16> {
        Ok(60)
    }
    fn push(&mut self, _: protocol::cosem::class::Nothing) -> Invoked {
        self.pushed += 1;
        if self.pushed == 1 { Ok(()) } else { Err(ActionResult::TemporaryFailure) }
    }
}

#[test]
fn a_push_setup_is_told_redirected_and_set_off() {
    let mut desk = Desk::new(Push::default());
    let to = push_setup::SendDestinationAndMethod {
        transport_service: push_setup::TransportService::Tcp,
        destination: b"10.0.0.1:4059",
        message: push_setup::MessageType::AXdr,
    };
    desk.write(push_setup::SEND_DESTINATION_AND_METHOD, &to).unwrap();
    agrees(&mut desk, push_setup::PUSH_OBJECT_LIST);
    agrees(&mut desk, push_setup::SEND_DESTINATION_AND_METHOD);
    agrees(&mut desk, push_setup::COMMUNICATION_WINDOW);
    agrees(&mut desk, push_setup::RANDOMISATION_START_INTERVAL);
    agrees(&mut desk, push_setup::NUMBER_OF_RETRIES);
    agrees(&mut desk, push_setup::REPETITION_DELAY);
    let nothing = &protocol::cosem::class::Nothing;
    desk.invoke(push_setup::PUSH, nothing).unwrap();
    assert_eq!(desk.invoke(push_setup::PUSH, nothing), Err(ActionResult::TemporaryFailure));
}
