//! The object list, walked as a stranger walks it, and the objects that show what the meter does anyhow.

use super::wire::{MANAGEMENT, READER, VENDING, act, get};
use super::{board, events, pass, start, token};
use crate::Meter;
use crate::objects::client;
use crate::test_board::TestBoard;
use protocol::codec::axdr::{Data, Date, DateTime, Time};
use protocol::codec::codec::SliceWriter;
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::action_schedule::ExecutionTime;
use protocol::cosem::activity_calendar::{self, DayProfile, DayProfileAction, Season, WeekProfile};
use protocol::cosem::class::{Items, ToData, Value};
use protocol::cosem::events::Event;
use protocol::cosem::special_days::SpecialDayEntry;
use protocol::cosem::tariff::{Switch, Tariff};
use protocol::cosem::token_gateway::DeliveryMethod;
use protocol::cosem::{
    Attr, SHAPES, action_schedule, association, demand_register, extended_register, obis, register_monitor,
    script_table, special_days,
};
use protocol::dlms::model::{Attribute, Caller, Method, ObjectModel};
use std::vec::Vec;

const PUBLIC: Caller = Caller { client_sap: client::PUBLIC, authenticated: false };

/// The value as it goes over the wire.
fn bytes(value: &dyn ToData) -> Vec<u8> {
    let mut buffer = [0xA5; 512];
    let mut w = SliceWriter::new(&mut buffer);
    value.put(&mut w).unwrap();
    w.as_slice().to_vec()
}

fn set<T: Value>(
    meter: &mut Meter<TestBoard>,
    name: Obis,
    attribute: Attr<T>,
    value: &T::Of<'_>,
) -> Result<(), DataAccessResult> {
    let value = bytes(value);
    meter.set(MANAGEMENT, attribute.of(name), None, Data::from_bytes_in(&value).unwrap())
}

/// A meter with two rates, 300 by day and 120 by night, and a tariff to come that is the same.
fn two_rates() -> Meter<TestBoard> {
    let mut meter = start(board());
    let mut tariff = Tariff::flat(0);
    tariff.steps.clear();
    tariff.rates = heapless::Vec::from_slice(&[300, 120]).unwrap();
    let switches = [Switch { from_minute: 0, rate: 1 }, Switch { from_minute: 420, rate: 0 }];
    tariff.days.push(heapless::Vec::from_slice(&switches).unwrap()).unwrap();
    let mut tariffs = meter.tariffs.clone();
    (tariffs.active, tariffs.passive) = (tariff.clone(), tariff);
    meter.change_tariffs(tariffs).unwrap();
    meter
}

#[test]
fn every_association_reads_what_its_list_promises_with_the_type_declared() {
    let mut meter = two_rates();
    pass(&mut meter, 2_000);
    meter.receive_token(token(10, 1).as_bytes(), DeliveryMethod::Remote);
    for (caller, least) in [(PUBLIC, 4), (READER, 60), (VENDING, 60), (MANAGEMENT, 60)] {
        let list = get(&mut meter, caller, association::OBJECT_LIST.of(obis::ASSOCIATION), None).unwrap();
        let list = association::OBJECT_LIST.decode_bytes(&list).unwrap();
        assert!(list.len() >= least, "{caller:?}");
        for object in list.iter() {
            let object = object.unwrap();
            let shape = SHAPES.iter().find(|shape| shape.class_id == object.class_id);
            assert!(shape.is_some() || object.class_id == 64, "{object:?}");
            if let Some(shape) = shape {
                assert_eq!(shape.version, object.version, "{object:?}");
                let counts =
                    (object.access_rights.attribute_access.len(), object.access_rights.method_access.len());
                assert_eq!(counts, (shape.attribute_count().into(), shape.method_count().into()));
            }
            for right in object.access_rights.attribute_access.iter() {
                let right = right.unwrap();
                let at = Attribute {
                    class_id: object.class_id,
                    logical_name: object.logical_name,
                    index: right.attribute_id,
                };
                // The association's own attributes but the object list are the engine's.
                if object.class_id == association::CLASS && at.index > 2 {
                    continue;
                }
                let value = get(&mut meter, caller, at, None);
                if right.access_mode.0 & 1 == 0 {
                    assert_eq!(value, Err(DataAccessResult::ReadWriteDenied), "{at:?}");
                    continue;
                }
                let value = value.unwrap_or_else(|error| panic!("{caller:?} {at:?}: {error:?}"));
                let data = Data::from_bytes_in(&value).unwrap_or_else(|error| panic!("{at:?}: {error:?}"));
                let conforms = shape.is_none_or(|shape| (shape.conforms)(at.index, data));
                assert!(conforms, "{at:?} {}: {data:?}", at.logical_name);
            }
        }
    }
}

#[test]
fn nobody_reads_or_calls_what_its_list_does_not_grant() {
    let mut meter = two_rates();
    pass(&mut meter, 10);
    for caller in [PUBLIC, READER, VENDING] {
        let list = get(&mut meter, caller, association::OBJECT_LIST.of(obis::ASSOCIATION), None).unwrap();
        let seen = association::OBJECT_LIST.decode_bytes(&list).unwrap();
        let all = get(&mut meter, MANAGEMENT, association::OBJECT_LIST.of(obis::ASSOCIATION), None).unwrap();
        for object in association::OBJECT_LIST.decode_bytes(&all).unwrap().iter().map(Result::unwrap) {
            let listed = seen.iter().map(Result::unwrap).find(|o| o.logical_name == object.logical_name);
            let first = Attribute { class_id: object.class_id, logical_name: object.logical_name, index: 1 };
            assert_eq!(get(&mut meter, caller, first, None).is_ok(), listed.is_some(), "{object:?}");
            for method in object.access_rights.method_access.iter().map(Result::unwrap) {
                let granted = listed.is_some_and(|o| {
                    o.access_rights
                        .method_access
                        .iter()
                        .map(Result::unwrap)
                        .any(|m| m.method_id == method.method_id && m.access_mode.0 != 0)
                });
                if !granted {
                    let at = Method {
                        class_id: object.class_id,
                        logical_name: object.logical_name,
                        index: method.method_id,
                    };
                    let refused = act(&mut meter, caller, at, Data::Integer(0));
                    let why = if listed.is_some() {
                        ActionResult::ReadWriteDenied
                    } else {
                        ActionResult::ObjectUndefined
                    };
                    assert_eq!(refused, Err(why), "{caller:?} {at:?}");
                }
            }
        }
    }
}

#[test]
fn the_calendar_is_the_tariff_in_force_and_a_new_one_comes_into_force_whole() {
    let mut meter = two_rates();
    let calendar = obis::ACTIVITY_CALENDAR;
    let at = activity_calendar::DAY_PROFILE_TABLE_ACTIVE;
    let value = get(&mut meter, READER, at.of(calendar), None).unwrap();
    let days = at.decode_bytes(&value).unwrap();
    let day = days.iter().next().unwrap().unwrap();
    let second = day.day_schedule.iter().nth(1).unwrap().unwrap();
    assert_eq!((days.len(), day.day_id, day.day_schedule.len()), (1, 1, 2));
    assert_eq!((second.start_time.hour, second.script_selector), (7, 1), "rate 1 from seven o'clock");

    // Two kinds of days, the second one on Sundays and on the first of May.
    let action = |hour, script_selector| DayProfileAction {
        start_time: Time { hour, minute: 30, second: 0, hundredths: 0 },
        script_logical_name: obis::TARIFF_SCRIPTS,
        script_selector,
    };
    let midnight = |script| DayProfileAction {
        start_time: Time { minute: 0, ..action(0, 1).start_time },
        ..action(0, script)
    };
    let (working, sunday) = ([midnight(2), action(6, 1)], [midnight(2)]);
    let new = [
        DayProfile { day_id: 1, day_schedule: Items::Held(&working) },
        DayProfile { day_id: 2, day_schedule: Items::Held(&sunday) },
    ];
    let week = WeekProfile {
        week_profile_name: b"1",
        monday: 1,
        tuesday: 1,
        wednesday: 1,
        thursday: 1,
        friday: 1,
        saturday: 1,
        sunday: 2,
    };
    let week_at = activity_calendar::WEEK_PROFILE_TABLE_PASSIVE;
    set(&mut meter, calendar, week_at, &Items::Held(&[week])).unwrap();
    let now = activity_calendar::ACTIVATE_PASSIVE_CALENDAR.of(calendar);
    let half = act(&mut meter, MANAGEMENT, now, Data::Integer(0));
    assert_eq!(half, Err(ActionResult::OtherReason), "Sundays have a day that is not there");
    let when = activity_calendar::ACTIVATE_PASSIVE_CALENDAR_TIME;
    let soon = protocol::cosem::clock::date_time(1_900_000_000, 60, 0);
    assert_eq!(set(&mut meter, calendar, when, &soon), Err(DataAccessResult::OtherReason));

    let days_at = activity_calendar::DAY_PROFILE_TABLE_PASSIVE;
    set(&mut meter, calendar, days_at, &Items::Held(&new)).unwrap();
    let may_day = Date { year: 0xFFFF, month: 5, day_of_month: 1, day_of_week: 0xFF };
    let entry = SpecialDayEntry { index: 1, specialday_date: may_day, day_id: 2 };
    let insert = special_days::INSERT.of(obis::SPECIAL_DAYS_PASSIVE);
    let parameter = bytes(&entry);
    act(&mut meter, MANAGEMENT, insert, Data::from_bytes_in(&parameter).unwrap()).unwrap();
    let table = special_days::ENTRIES;
    let active = get(&mut meter, READER, table.of(obis::SPECIAL_DAYS), None).unwrap();
    assert!(table.decode_bytes(&active).unwrap().is_empty(), "not in force yet");
    set(&mut meter, calendar, when, &soon).unwrap();
    act(&mut meter, MANAGEMENT, now, Data::Integer(0)).unwrap();

    let value = get(&mut meter, READER, at.of(calendar), None).unwrap();
    let read = at.decode_bytes(&value).unwrap();
    assert!(read.iter().map(Result::unwrap).eq(new), "{read:?}");
    let active = get(&mut meter, READER, table.of(obis::SPECIAL_DAYS), None).unwrap();
    assert!(table.decode_bytes(&active).unwrap().iter().map(Result::unwrap).eq([entry]));
    assert_eq!(meter.tariffs.active.rate_at(6, 1, 0, 6 * 60 + 30), Some(0), "a Monday");
    assert_eq!(meter.tariffs.active.rate_at(5, 1, 0, 6 * 60 + 30), Some(1), "the first of May");
    assert!(events(&mut meter).contains(&Event::ParametersChanged));
}

#[test]
fn a_calendar_this_meter_cannot_follow_is_refused_and_changes_nothing() {
    let mut meter = two_rates();
    let calendar = obis::ACTIVITY_CALENDAR;
    let before = meter.tariffs.clone();
    let action = DayProfileAction {
        start_time: Time { hour: 0, minute: 0, second: 0, hundredths: 0 },
        script_logical_name: obis::TARIFF_SCRIPTS,
        script_selector: 1,
    };
    let refused = Err(DataAccessResult::OtherReason);
    let days_at = activity_calendar::DAY_PROFILE_TABLE_PASSIVE;
    for bad in [
        DayProfileAction { start_time: Time { second: 1, ..action.start_time }, ..action },
        DayProfileAction { start_time: Time { hour: 24, ..action.start_time }, ..action },
        DayProfileAction { script_logical_name: obis::DISCONNECT_SCRIPTS, ..action },
        DayProfileAction { script_selector: 0, ..action },
    ] {
        let day = DayProfile { day_id: 1, day_schedule: Items::Held(&[bad]) };
        assert_eq!(set(&mut meter, calendar, days_at, &Items::Held(&[day])), refused, "{bad:?}");
    }
    let many = [action; 7];
    let long = DayProfile { day_id: 1, day_schedule: Items::Held(&many) };
    assert_eq!(set(&mut meter, calendar, days_at, &Items::Held(&[long])), refused, "seven switches");
    let day = |day_id| DayProfile { day_id, day_schedule: Items::Held(&many[..1]) };
    assert_eq!(set(&mut meter, calendar, days_at, &Items::Held(&[day(2)])), refused, "numbered from 1");
    let four = [day(1), day(2), day(3), day(4)];
    assert_eq!(set(&mut meter, calendar, days_at, &Items::Held(&four)), refused);

    let seasons_at = activity_calendar::SEASON_PROFILE_PASSIVE;
    let mut season_start = DateTime::WILDCARD;
    let season = |season_start| Season { season_profile_name: b"1", season_start, week_name: b"1" };
    let whole = set(&mut meter, calendar, seasons_at, &Items::Held(&[season(season_start)]));
    assert_eq!(whole, Ok(()), "the whole year");
    season_start.month = 7;
    assert_eq!(set(&mut meter, calendar, seasons_at, &Items::Held(&[season(season_start)])), refused);
    assert_eq!(meter.tariffs, before);
}

#[test]
fn scripts_and_schedules_say_what_the_meter_does_and_the_relays_can_be_run() {
    let mut meter = two_rates();
    let schedule = action_schedule::EXECUTION_TIME;
    let value = get(&mut meter, READER, schedule.of(obis::MONTHLY_SCHEDULE), None).unwrap();
    let times: Vec<ExecutionTime> =
        schedule.decode_bytes(&value).unwrap().iter().map(Result::unwrap).collect();
    assert_eq!((times.len(), times[0].time.hour, times[0].date.day_of_month), (1, 0, 1));

    let scripts = script_table::SCRIPTS;
    let value = get(&mut meter, READER, scripts.of(obis::TARIFF_SCRIPTS), None).unwrap();
    assert_eq!(scripts.decode_bytes(&value).unwrap().len(), 2, "one for each rate");
    let run = script_table::EXECUTE.of(obis::DISCONNECT_SCRIPTS);
    assert_eq!(act(&mut meter, READER, run, Data::LongUnsigned(1)), Err(ActionResult::ReadWriteDenied));
    assert_eq!(act(&mut meter, VENDING, run, Data::LongUnsigned(3)), Err(ActionResult::OtherReason));
    act(&mut meter, VENDING, run, Data::LongUnsigned(1)).unwrap();
    assert!(events(&mut meter).contains(&Event::RemoteDisconnection));
    let run = script_table::EXECUTE.of(obis::BILLING_SCRIPTS);
    assert_eq!(act(&mut meter, MANAGEMENT, run, Data::LongUnsigned(1)), Err(ActionResult::ReadWriteDenied));
}

#[test]
fn monitors_show_the_thresholds_that_are_switched_on() {
    let mut meter = start(board());
    let at = register_monitor::THRESHOLDS;
    let value = get(&mut meter, READER, at.of(obis::VOLTAGE_MONITOR), None).unwrap();
    assert!(at.decode_bytes(&value).unwrap().is_empty(), "both are off");
    let mut next = meter.record.clone();
    next.limits.over_voltage_mv = 265_000;
    meter.configure(next).unwrap();
    let value = get(&mut meter, READER, at.of(obis::VOLTAGE_MONITOR), None).unwrap();
    let read: Vec<_> = at.decode_bytes(&value).unwrap().iter().map(Result::unwrap).collect();
    assert_eq!(read, [Data::LongUnsigned(2_650)]);
    let actions = register_monitor::ACTIONS;
    let value = get(&mut meter, READER, actions.of(obis::VOLTAGE_MONITOR), None).unwrap();
    let action = actions.decode_bytes(&value).unwrap().iter().next().unwrap().unwrap();
    assert_eq!((action.action_up.script_selector, action.action_down.script_selector), (1, 0));
}

#[test]
fn demand_is_the_average_of_a_period_and_the_largest_is_kept_until_it_is_reset() {
    let mut meter = start(board());
    let last = demand_register::LAST_AVERAGE_VALUE.of(obis::DEMAND);
    pass(&mut meter, 100);
    assert_eq!(get(&mut meter, READER, last, None).unwrap(), bytes(&Data::Null), "no period has ended");
    pass(&mut meter, 1_900);
    let newest = meter.record.profile.rows.next - 1;
    let rows = [newest - 1, newest].map(|n| meter.loads[0].get(&mut meter.board.storage, n).unwrap());
    let used_wh = rows[1].import_wh - rows[0].import_wh;
    assert!(used_wh > 0);
    let demand = bytes(&Data::DoubleLongUnsigned(used_wh * 4));
    assert_eq!(get(&mut meter, READER, last, None).unwrap(), demand);
    let peak = extended_register::VALUE.of(obis::PEAK_DEMAND);
    assert_eq!(get(&mut meter, READER, peak, None).unwrap(), demand);
    let when = extended_register::CAPTURE_TIME;
    let value = get(&mut meter, READER, when.of(obis::PEAK_DEMAND), None).unwrap();
    let shown = when.decode_bytes(&value).unwrap();
    assert_eq!(meter.settings.zone.utc_s(shown), Some(rows[1].utc_s));

    let reset = extended_register::RESET.of(obis::PEAK_DEMAND);
    assert_eq!(act(&mut meter, VENDING, reset, Data::Integer(0)), Err(ActionResult::ReadWriteDenied));
    act(&mut meter, MANAGEMENT, reset, Data::Integer(0)).unwrap();
    assert_eq!(get(&mut meter, READER, peak, None).unwrap(), bytes(&Data::Null));
}
