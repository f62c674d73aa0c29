//! The training cases with a gateway beside the street, as a person plays them: what is done at the meters is done on the
//! simulator's control, what an operator does is done on the gateway's command line, and what the gateway shows is held against
//! what the simulator knows. What each case expects of the meters themselves is the simulator's own test.

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tests::Classroom;

/// A kilowatt-hour costs 30 cents at the tests' gateway.
const CENTS_FOR_30_KWH: &str = "900";
/// More than a household uses between two things that are done one after the other.
const A_MOMENT_WH: i64 = 100;

fn open(shown: &Value) -> bool {
    shown["relay"]["output_closed"] == false
}

fn reason(shown: &Value) -> &str {
    shown["relay"]["reason"].as_str().unwrap_or_default()
}

fn credit_wh(shown: &Value) -> i64 {
    shown["balance"]["credit_wh"].as_i64().unwrap_or_else(|| panic!("no credit in {shown}"))
}

fn pay(room: &Classroom, number: usize, cents: &str) {
    let (code, said) = room.gateway.top_up(&room.serial(number), cents);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn n01_a_meter_out_of_credit_is_no_fault_and_only_credit_closes_it() {
    let room = Classroom::open("N01");
    room.load(&[1], 3_000);
    room.pass("20m");
    let off = room.read(1);
    assert!(open(&off) && reason(&off) == "no credit" && credit_wh(&off) <= 0, "{off}");
    room.pass("1h");
    assert_eq!(room.energy_wh(1), off["reading"]["import_wh"].as_i64().unwrap(), "energy stands still");
    // An operator's reconnection lifts no customer's debt.
    let _ = room.command("reconnect", 1, &[]);
    assert!(!room.press_button(1) && !room.supplied(1));
    pay(&room, 1, CENTS_FOR_30_KWH);
    let on = room.read(1);
    assert!(!open(&on) && credit_wh(&on) > 29_000 && room.supplied(1), "{on}");
}

#[test]
fn n02_four_customers_in_the_dark_are_told_apart() {
    let room = Classroom::open("N02");
    room.load(&[1], 3_000);
    room.load(&[3], 6_000);
    room.must("disconnect", 2, &["--reason", "fault"]);
    room.begin(&[4], json!({ "fault": "power_off" }));
    let last = room.shown(4)["reading"]["at"].clone();
    room.pass("10m");
    for (number, why) in [(1, "no credit"), (2, "fault"), (3, "overload")] {
        let shown = room.read(number);
        assert!(open(&shown) && reason(&shown) == why, "meter {number}: {shown}");
    }
    let (code, said) = room.command("read", 4, &[]);
    assert_eq!(code, Some(69), "not reached: {said}");
    let dark = room.shown(4);
    assert!(dark["problem"].is_string() && dark["reading"]["at"] == last, "{dark}");
    room.must("reconnect", 2, &[]);
    assert!(room.supplied(2) && !open(&room.read(2)));
}

#[test]
fn n03_after_a_top_up_a_person_closes_and_a_short_circuit_locks_out() {
    let room = Classroom::open("N03");
    room.load(&[1], 2_000);
    room.pass("15m");
    assert_eq!(reason(&room.read(1)), "no credit");
    pay(&room, 1, CENTS_FOR_30_KWH);
    let armed = room.read(1);
    assert!(open(&armed) && armed["relay"]["control_state"] == 2, "armed for a person: {armed}");
    assert!(room.press_button(1));
    room.pass("1m");
    assert!(!open(&room.read(1)));

    room.load(&[1], 20_000);
    room.pass("1m");
    let tripped = room.read(1);
    assert!(open(&tripped) && reason(&tripped) == "over-current", "{tripped}");
    for _ in 0..2 {
        room.pass("2m");
        assert!(room.press_button(1), "with the short circuit still there");
        room.pass("1m");
        assert!(open(&room.read(1)));
    }
    room.pass("2m");
    assert!(reason(&room.read(1)).starts_with("locked out"));
    assert!(!room.press_button(1));

    room.load(&[1], 0);
    room.must("disconnect", 1, &["--reason", "fault"]);
    room.must("reconnect", 1, &[]);
    assert!(room.press_button(1));
    room.pass("1m");
    assert!(!open(&room.read(1)) && room.supplied(1));
}

#[test]
fn n04_a_meter_in_postpaid_mode_is_not_commissioned_and_one_switched_later_goes_below_zero() {
    let room = Classroom::before_commissioning("N04");
    room.begin(&[1], json!({ "fault": "switched_to_postpaid" }));
    room.add(1);
    let command = room.gateway.get("/commands")[0]["id"].as_i64().expect("the commissioning");
    let ended = room.gateway.until_finished(command);
    assert_ne!(ended["state"], "verified", "{ended}");
    let refused = room.shown(1);
    assert!(refused["commissioned_at"].is_null() && refused["prepaid"] != true, "{refused}");

    let room = Classroom::open("N04");
    assert_eq!(room.shown(1)["prepaid"], true);
    room.begin(&[1], json!({ "fault": "switched_to_postpaid" }));
    room.load(&[1], 2_000);
    room.pass("2h");
    let later = room.read(1);
    assert!(!open(&later) && credit_wh(&later) < -2_000, "{later}");
}

#[test]
fn n05_a_disconnection_that_did_not_happen_is_not_believed() {
    let room = Classroom::open("N05");
    room.begin(&[2, 5], json!({ "fault": "relay_stuck" }));
    room.load(&[1, 2, 3, 4, 5, 6], 2_000);
    room.pass("10m");
    for number in 1..=6 {
        let (code, said) = room.command("disconnect", number, &["--reason", "fault"]);
        let works = ![2, 5].contains(&number);
        assert_eq!(code == Some(0), works, "meter {number}: {code:?} {said}");
    }
    let before: Vec<i64> = (1..=6).map(|number| room.energy_wh(number)).collect();
    room.pass("30m");
    for (number, before_wh) in (1..).zip(before) {
        let shown = room.read(number);
        let rose_wh = shown["reading"]["import_wh"].as_i64().unwrap() - before_wh;
        let stuck = [2, 5].contains(&number);
        assert_eq!(open(&shown), !stuck, "meter {number} as sensed: {shown}");
        assert_eq!(rose_wh > 900, stuck, "meter {number}: {rose_wh} Wh");
        assert!(stuck || rose_wh == 0, "meter {number}: {rose_wh} Wh");
    }
}

#[test]
fn n06_power_that_fails_in_any_write_of_a_token_credits_it_exactly_once() {
    let room = Classroom::open("N06");
    for (number, writes) in [(1, 0), (2, 1), (3, 2)] {
        room.begin(&[number], json!({ "fault": "power_cut_at_write", "writes": writes }));
    }
    for number in 1..=4 {
        pay(&room, number, CENTS_FOR_30_KWH);
    }
    for number in 1..=5 {
        let credited = room.truth(number)["credited_wh"].as_i64();
        assert_eq!(credited, Some(if number == 5 { 0 } else { 30_000 }), "meter {number}");
        // The household goes on using it: what is read was true between before and after.
        let true_wh = || room.truth(number)["credit_wh"].as_i64().expect("a credit");
        let (before_wh, read_wh, after_wh) = (true_wh(), credit_wh(&room.read(number)), true_wh());
        assert!(
            (after_wh..=before_wh).contains(&read_wh),
            "meter {number}: {before_wh}, {read_wh}, {after_wh}"
        );
    }
    for number in 1..=3 {
        assert_eq!(room.truth(number)["faults"], json!([]), "the cut came at meter {number}");
    }
}

#[test]
fn n07_a_token_is_good_at_the_meter_it_was_paid_for_and_nowhere_else() {
    let room = Classroom::open("N07");
    // A token id of its own: the gateway's tokens take the minutes from now on.
    let hers = room.street.token(2, 5_000, 60);
    assert!(room.type_keys(1, &hers).contains("for another meter"));
    assert_eq!(room.truth(1)["credited_wh"], 0);
    assert!(room.type_keys(2, &hers).contains("CREDIT"));
    assert_eq!(room.truth(2)["credited_wh"], 5_000);
    // Over the network it cannot go astray: it goes where it was paid for.
    pay(&room, 2, CENTS_FOR_30_KWH);
    assert_eq!(
        (room.truth(1)["credited_wh"].as_i64(), room.truth(2)["credited_wh"].as_i64()),
        (Some(0), Some(35_000))
    );
}

#[test]
fn n31_readings_show_each_pattern_and_another_meter_at_the_place_is_noticed() {
    let room = Classroom::open("N31");
    room.load(&[1, 2, 3, 4, 5], 2_000);
    room.pass("3h");
    let before: Vec<i64> = (1..=5).map(|number| room.energy_wh(number)).collect();
    room.begin(&[1], json!({ "fault": "meter_exchanged" }));
    room.begin(&[2], json!({ "fault": "register_jump", "wh": 90_000 }));
    room.begin(&[3], json!({ "fault": "stuck_register" }));
    room.begin(&[4], json!({ "fault": "theft", "percent": 100 }));
    room.pass("1h");
    // Another meter answers at the address, whose counters are not the first one's: nothing it says is believed.
    let (code, said) = room.command("read", 1, &[]);
    assert!(code == Some(69) && said.contains("Replay"), "{code:?} {said}");
    let exchanged = room.shown(1);
    assert_eq!(exchanged["reading"]["import_wh"], before[0], "the last reading stands");
    assert!(exchanged["problem"].is_string(), "{exchanged}");
    let rose_wh = |number: usize| room.energy_wh(number) - before[number - 1];
    assert!(rose_wh(2) > 91_000, "a jump");
    assert!(rose_wh(3) < A_MOMENT_WH && room.shown(3)["reading"]["power_w"].as_i64() > Some(1_000), "stuck");
    assert!(rose_wh(4) < A_MOMENT_WH && room.shown(4)["reading"]["power_w"] == 0, "zero use");
    assert!((2_000..6_000).contains(&rose_wh(5)), "a sound meter");
}

#[test]
fn n32_the_loss_of_an_area_rises_with_a_tap_and_falls_when_it_is_removed() {
    let room = Classroom::open("N32");
    let feeder = room.add_feeder();
    room.load(&[1, 2, 3, 4, 5, 6, 7, 8], 3_000);
    room.pass("30m");
    // Three hours, seen from the readings around them: the feeder's loss in permille.
    let loss = || {
        let from = jiff::Timestamp::now();
        let read_all = || {
            (1..=8).for_each(|number| room.must("read", number, &[]));
            room.gateway.must(&["read", &feeder]);
        };
        read_all();
        room.pass("3h");
        read_all();
        let area = room.gateway.get(&format!("/areas/T1/energy?from={from}"));
        assert_eq!(area["missing"], json!([]), "{area}");
        area["loss_per_10000"].as_i64().unwrap_or_else(|| panic!("{area}")) / 10
    };
    let technical = loss();
    assert!((40..=60).contains(&technical), "{technical} permille");
    room.begin(&[3], json!({ "fault": "theft", "percent": 70 }));
    let with_theft = loss();
    assert!((90..=160).contains(&with_theft), "{with_theft} permille");
    room.end(3, "theft");
    let after = loss();
    assert!((40..=60).contains(&after), "{after} permille");
}

#[test]
fn n33_wrong_currents_show_in_what_the_registers_gained() {
    let room = Classroom::open("N33");
    room.load(&[1, 2, 3, 4], 3_000);
    room.pass("30m");
    let before: Vec<i64> = (1..=4).map(|number| room.energy_wh(number)).collect();
    room.begin(&[1], json!({ "fault": "bypass", "percent": 50 }));
    room.begin(&[2], json!({ "fault": "reversed_ct" }));
    room.begin(&[3], json!({ "fault": "broken_neutral" }));
    room.pass("1h");
    let rose: Vec<i64> = (1..=4).map(|number| room.energy_wh(number) - before[number - 1]).collect();
    assert!((1_400..4_000).contains(&rose[0]), "a bridge halves it: {rose:?}");
    assert!(rose[1] < A_MOMENT_WH, "a reversed transformer counts nothing: {rose:?}");
    assert_eq!(room.shown(2)["reading"]["power_w"], 0, "nor is power taken, with 3 kW in use");
    assert!((2_900..8_000).contains(&rose[3]), "the sound one: {rose:?}");
}

#[test]
fn n34_covers_and_parameters_change_nothing_that_the_gateway_shows() {
    let room = Classroom::open("N34");
    let before = room.read(1);
    room.begin(&[1], json!({ "fault": "cover_open", "for": "10m" }));
    room.pass("15m");
    let after = room.read(1);
    assert_eq!(
        (&after["relay"]["output_closed"], &after["prepaid"]),
        (&before["relay"]["output_closed"], &before["prepaid"])
    );
    assert!(after["problem"].is_null(), "{after}");
}

#[test]
fn n35_a_hung_meter_is_not_reached_and_comes_back_with_its_money() {
    let room = Classroom::open("N35");
    room.load(&[1, 2], 3_000);
    room.pass("10m");
    let before = room.read(1);
    room.begin(&[1], json!({ "fault": "hang" }));
    room.pass("20m");
    let (code, said) = room.command("read", 1, &[]);
    assert_eq!(code, Some(69), "not reached: {said}");
    assert!(room.shown(1)["problem"].is_string());
    let _ = room.read(2);
    room.end(1, "hang");
    room.pass("1m");
    // After so much silence the line leaves it alone for some seconds.
    let deadline = Instant::now() + Duration::from_secs(60);
    while room.command("read", 1, &[]).0 != Some(0) {
        assert!(Instant::now() < deadline, "{}", room.shown(1));
    }
    let after = room.shown(1);
    assert!(after["problem"].is_null() && !open(&after), "{after}");
    let used_wh =
        after["reading"]["import_wh"].as_i64().unwrap() - before["reading"]["import_wh"].as_i64().unwrap();
    let paid_wh = credit_wh(&before) - credit_wh(&after);
    assert!((paid_wh - used_wh).abs() <= 1, "the ledger is whole: {paid_wh} of {used_wh} Wh");
}
