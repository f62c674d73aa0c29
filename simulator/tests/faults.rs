//! Faults on demand, seen from a client: what it is told, what the meter did, and what it finds out by asking.
#![expect(clippy::unwrap_used, reason = "a test")]

use protocol::codec::axdr::Data;
use protocol::cosem::account::{self, ModeAndStatus, PaymentMode};
use protocol::cosem::events::Event;
use protocol::cosem::{clock, credit, disconnect, obis, profile, register};
use protocol::dlms::client::Outcome;
use protocol::dlms::model::Attribute;
use simulator::board::{Flow, StreetLoad, VirtualBoard};
use simulator::client::{As, End, MeterClient};
use simulator::clock::SimClock;
use simulator::fault_entry::{FaultEntry, FaultName, Meant};
use simulator::faults::Fault;
use simulator::identity::{self, StreetKeys};
use simulator::load::Household;
use simulator::meter::SimMeter;
use simulator::nvm::Nvm;
use simulator::session::Framing;
use simulator::vendor::credit_token;
use std::sync::Arc;

/// 2026-01-05T18:00:00Z.
const START_UTC_S: u32 = 1_767_636_000;
const BOTH: [Framing; 2] = [Framing::Wrapper, Framing::Hdlc];

/// A meter on its own, and its time.
struct Bench {
    clock: SimClock,
    meter: Arc<SimMeter>,
    counters: u32,
}

impl Bench {
    /// A meter with a profile of 16 rows, 8 of them past.
    fn new(credit_wh: i64) -> Self {
        let clock = SimClock::held_at(START_UTC_S).with_past(8 * 900_000);
        let who = identity::personalisation(1, &StreetKeys::default()).unwrap();
        let nvm = Nvm::blank(firmware::Layout::bytes_for(16));
        let flow = Flow::Household(Household::of(1, 1));
        let board = VirtualBoard::new(clock.clone(), flow, nvm, 1, Arc::new(StreetLoad::default()));
        let meter = Arc::new(SimMeter::start(1, clock.clone(), board, who, credit_wh).unwrap());
        Self { clock, meter, counters: 1 }
    }

    /// Lets simulated time pass, a tick every ten seconds.
    fn pass(&self, seconds: u64) {
        for _ in 0..seconds.div_ceil(10) {
            self.clock.advance_ms(10_000);
            self.meter.tick();
        }
    }

    /// A fault of this name, with its defaults but for what `change` says.
    fn begin(&self, name: FaultName, change: impl FnOnce(&mut FaultEntry)) {
        let mut entry = FaultEntry::new(name);
        change(&mut entry);
        match entry.meaning().unwrap() {
            Meant::Fault(fault) => self.meter.inject(fault),
            Meant::Exchange => {
                let old = self.meter.personalisation().unwrap();
                let other = identity::exchanged(1, &old, &StreetKeys::default()).unwrap();
                self.meter.inject(Fault::Exchanged(Box::new(other)));
            }
        }
    }

    fn client(&mut self, who: As, framing: Framing) -> MeterClient {
        let client = MeterClient::connect(&self.meter, framing, who, &StreetKeys::default(), self.counters);
        self.counters = client.next_counters();
        client
    }

    /// A vending client with an open association.
    fn till(&mut self, framing: Framing) -> MeterClient {
        let mut till = self.client(As::Vending, framing);
        assert_eq!(till.associate(), End::Open, "{framing:?}");
        till
    }

    fn credited_wh(&self) -> Option<i64> {
        self.meter.truth().credited_wh
    }
}

/// Twenty digits worth 5 kWh, another token every `minute`.
fn token(minute: i64) -> String {
    credit_token(&StreetKeys::default(), 1, 50, i64::from(START_UTC_S) + 60 * minute).unwrap()
}

fn credit_wh(till: &mut MeterClient) -> i32 {
    till.read(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT)).unwrap()
}

fn import_wh(till: &mut MeterClient) -> u64 {
    let End::Value(bytes) = till.get(register::VALUE.of(obis::IMPORT_ENERGY)) else { panic!("no register") };
    u64::try_from(Data::from_bytes_in(&bytes).unwrap().as_i64().unwrap()).unwrap()
}

fn data(name: protocol::codec::obis::Obis) -> Attribute {
    Attribute { class_id: 1, logical_name: name, index: 2 }
}

fn logged(till: &mut MeterClient, event: Event) -> usize {
    till.event_log().unwrap().iter().filter(|row| row.code == event as u8).count()
}

#[test]
fn a_token_whose_answer_is_lost_is_taken_and_the_client_finds_that_out_by_asking() {
    for framing in BOTH {
        let mut bench = Bench::new(500);
        let mut till = bench.till(framing);
        bench.begin(FaultName::LostTokenAnswer, |_| {});
        assert_eq!(till.enter(&token(1)), End::Failed(Outcome::Unknown), "{framing:?}");
        assert_eq!(bench.credited_wh(), Some(5_000));

        let mut till = bench.till(framing);
        assert_eq!(credit_wh(&mut till), 5_500);
        till.enter(&token(1));
        assert_eq!(bench.credited_wh(), Some(5_000), "the same token again gives nothing");
    }
}

#[test]
fn a_lost_answer_to_a_relay_command_leaves_the_relay_open_and_the_client_unsure() {
    let mut bench = Bench::new(500);
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::LostAnswer, |entry| entry.on = Some(simulator::faults::On::RelayMoved));
    let open = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    assert_eq!(till.action(open, Data::Integer(0)), End::Failed(Outcome::Unknown));
    let mut till = bench.till(Framing::Wrapper);
    assert_eq!(till.read(disconnect::OUTPUT_STATE.of(obis::DISCONNECT)), Some(false));
}

#[test]
fn a_late_answer_comes_after_the_client_gave_up_and_is_not_taken_for_the_next_one() {
    let mut bench = Bench::new(500);
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::LateAnswer, |_| {});
    assert_eq!(till.get(register::VALUE.of(obis::IMPORT_ENERGY)), End::Failed(Outcome::NotDone));
    assert_eq!(credit_wh(&mut till), 500);
}

#[test]
fn hdlc_repeats_a_frame_that_came_damaged_doubled_or_for_another_and_the_client_never_knows() {
    use FaultName::{CorruptedFrame, DuplicatedFrame, TruncatedFrame, WrongTransaction};
    for name in [CorruptedFrame, DuplicatedFrame, TruncatedFrame, WrongTransaction] {
        let mut bench = Bench::new(500);
        let mut till = bench.till(Framing::Hdlc);
        bench.begin(name, |_| {});
        assert_eq!(bench.meter.faults(), [name]);
        let end = till.enter(&token(1));
        assert!(matches!(end, End::Done | End::Value(_)), "{name}: {end:?}");
        assert_eq!(bench.credited_wh(), Some(5_000), "{name}");
        assert_eq!(bench.meter.faults(), [], "{name} happened once");
    }
}

#[test]
fn an_answer_for_another_client_is_not_taken_on_the_wrapper() {
    let mut bench = Bench::new(500);
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::WrongTransaction, |_| {});
    let end = till.enter(&token(1));
    assert_eq!(end, End::Failed(Outcome::Unknown));
    assert_eq!(bench.credited_wh(), Some(5_000), "the meter did take it");
}

#[test]
fn a_slow_meter_answers_everything_and_takes_its_time() {
    let mut bench = Bench::new(500);
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::SlowMeter, |entry| entry.delay_ms = Some(2_000));
    let before = till.now;
    assert_eq!(credit_wh(&mut till), 500);
    assert_eq!(till.now.since(before).as_millis(), 2_000);
    assert!(bench.meter.end(FaultName::SlowMeter));
    let before = till.now;
    assert_eq!((credit_wh(&mut till), till.now), (500, before));
}

#[test]
fn of_the_frames_about_the_share_that_was_asked_for_is_lost_and_the_same_ones_again() {
    let answered = || {
        let bench = Bench::new(500);
        bench.begin(FaultName::FrameLoss, |entry| entry.percent = Some(10));
        (0..2_000).filter(|_| bench.meter.modbus(&[2, 0, 0, 0, 1]).is_some()).count()
    };
    // Nine requests of ten, and of those nine answers of ten.
    let count = answered();
    assert!((1_520..=1_720).contains(&count), "{count} of 2,000");
    assert_eq!(answered(), count);
    for framing in BOTH {
        let mut bench = Bench::new(500);
        let mut till = bench.till(framing);
        bench.begin(FaultName::FrameLoss, |entry| entry.percent = Some(100));
        let end = till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT));
        assert!(matches!(end, End::Failed(_) | End::Silence), "{framing:?}: {end:?}");
        assert!(bench.meter.end(FaultName::FrameLoss));
        assert_eq!(credit_wh(&mut bench.till(framing)), 500);
    }
}

#[test]
fn a_meter_that_reboots_forgets_the_association_and_keeps_the_credit() {
    for framing in BOTH {
        let mut bench = Bench::new(500);
        let mut till = bench.till(framing);
        till.enter(&token(1));
        bench.begin(FaultName::Reboot, |_| {});
        let end = till.get(credit::CURRENT_CREDIT_AMOUNT.of(obis::TOKEN_CREDIT));
        assert!(matches!(end, End::Failed(_) | End::Silence), "{framing:?}: {end:?}");
        assert_eq!(credit_wh(&mut bench.till(framing)), 5_500);
    }
}

#[test]
fn a_reboot_in_mid_transfer_fails_the_read_and_the_next_one_is_whole() {
    let mut bench = Bench::new(5_000);
    for _ in 0..40 {
        bench.begin(FaultName::CoverOpen, |_| {});
        bench.pass(10);
        bench.meter.end(FaultName::CoverOpen);
        bench.pass(10);
    }
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::RebootInTransfer, |entry| entry.requests = Some(1));
    assert_eq!(till.event_log(), None, "the log takes more than one block");
    assert_eq!(bench.meter.truth().lives, 2);
    assert!(logged(&mut bench.till(Framing::Wrapper), Event::CoverOpened) >= 40);
}

#[test]
fn power_cut_at_any_write_of_a_top_up_leaves_the_credit_of_before_or_after() {
    let mut before = 0;
    let mut after = 0;
    for cut in 0..12 {
        let mut bench = Bench::new(500);
        let mut till = bench.till(Framing::Wrapper);
        bench.begin(FaultName::PowerCutAtWrite, |entry| entry.writes = Some(cut));
        till.enter(&token(1));
        match bench.credited_wh() {
            Some(0) => before += 1,
            Some(5_000) => after += 1,
            other => panic!("cut after {cut} writes: {other:?}"),
        }
        // Whatever it was, and wherever the cut is still to come, the same token ends in the same state.
        for _ in 0..4 {
            let mut till = bench.client(As::Vending, Framing::Wrapper);
            if till.associate() == End::Open {
                till.enter(&token(1));
            }
        }
        assert_eq!(bench.credited_wh(), Some(5_000), "cut after {cut} writes");
        assert_eq!(bench.meter.truth().lives, 2, "cut after {cut} writes: it was cut once");
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after: the cuts fell on both sides");
}

#[test]
fn a_power_cut_that_is_still_to_come_outlasts_a_restart_and_a_meter_without_power() {
    let mut bench = Bench::new(500);
    bench.begin(FaultName::PowerCutAtWrite, |entry| entry.writes = Some(2));
    bench.begin(FaultName::Reboot, |_| {});
    bench.begin(FaultName::PowerOff, |_| {});
    assert_eq!(bench.meter.faults(), [FaultName::PowerOff, FaultName::PowerCutAtWrite]);
    bench.meter.end(FaultName::PowerOff);
    let lives = bench.meter.truth().lives;
    for minute in 1..4 {
        let mut till = bench.client(As::Vending, Framing::Wrapper);
        if till.associate() == End::Open {
            till.enter(&token(minute));
        }
    }
    assert_eq!((bench.meter.truth().lives, bench.meter.faults()), (lives + 1, vec![]));
}

#[test]
fn a_silent_meter_is_not_heard_until_it_speaks_again() {
    let mut bench = Bench::new(500);
    bench.begin(FaultName::Silence, |_| {});
    assert!(matches!(bench.client(As::Vending, Framing::Wrapper).associate(), End::Failed(_)));
    bench.meter.end(FaultName::Silence);
    bench.till(Framing::Wrapper);
}

#[test]
fn a_stuck_relay_accepts_the_command_and_the_sensed_contact_tells_the_truth() {
    let mut bench = Bench::new(500);
    let mut till = bench.till(Framing::Hdlc);
    bench.begin(FaultName::RelayStuck, |_| {});
    let open = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    assert_eq!(till.action(open, Data::Integer(0)), End::Done);
    assert_eq!(till.read(disconnect::OUTPUT_STATE.of(obis::DISCONNECT)), Some(true), "still closed");
    bench.pass(60);
    assert!(logged(&mut till, Event::RelayFailure) > 0);
    assert!(bench.meter.truth().contact_closed);
}

#[test]
fn through_a_welded_contact_current_flows_on_and_the_meter_says_so() {
    let mut bench = Bench::new(50_000);
    bench.meter.set_extra_load_w(1_000);
    let mut till = bench.till(Framing::Wrapper);
    bench.begin(FaultName::RelayWelded, |_| {});
    let open = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    assert_eq!(till.action(open, Data::Integer(0)), End::Done);
    let before_wh = import_wh(&mut till);
    bench.pass(600);
    assert!(import_wh(&mut till) > before_wh + 100, "it is counted");
    assert!(logged(&mut till, Event::RelayWelded) > 0);
}

#[test]
fn used_up_counters_shut_the_client_out_until_it_asks_how_far_they_are() {
    let mut bench = Bench::new(500);
    bench.till(Framing::Wrapper);
    bench.begin(FaultName::CounterDesync, |entry| entry.ahead = Some(50_000));
    let end = bench.client(As::Vending, Framing::Wrapper).associate();
    assert!(matches!(end, End::Failed(_)), "{end:?}");
    let mut public = bench.client(As::Public, Framing::Wrapper);
    assert_eq!(public.associate(), End::Open);
    let seen: u32 = public.read(data(obis::INVOCATION_COUNTER)).unwrap();
    assert!(seen >= 50_000, "{seen}");
    bench.counters = seen + 1;
    assert_eq!(credit_wh(&mut bench.till(Framing::Wrapper)), 500);
}

#[test]
fn with_other_keys_nobody_associates_and_with_the_old_ones_everybody_does_again() {
    let mut bench = Bench::new(500);
    bench.begin(FaultName::WrongKey, |_| {});
    assert!(matches!(bench.client(As::Vending, Framing::Wrapper).associate(), End::Failed(_)));
    bench.meter.end(FaultName::WrongKey);
    let mut till = bench.till(Framing::Wrapper);
    assert_eq!(credit_wh(&mut till), 500);
    let refusals = logged(&mut till, Event::AssociationRefused) + logged(&mut till, Event::FrameRefused);
    assert!(refusals > 0, "the meter logged that somebody could not open it");
}

#[test]
fn a_clock_jumps_and_drifts_and_the_meter_reads_wrong() {
    let mut bench = Bench::new(50_000);
    let mut till = bench.till(Framing::Wrapper);
    let mut off_s = |bench: &Bench| {
        let time = till.read(clock::TIME.of(obis::CLOCK)).unwrap();
        i64::from(clock::utc_s(time, 0).unwrap()) - i64::try_from(bench.clock.utc_ms() / 1000).unwrap()
    };
    assert_eq!(off_s(&bench), 0);
    bench.begin(FaultName::ClockJump, |entry| entry.seconds = Some(-7_200));
    assert_eq!(off_s(&bench), -7_200);
    bench.begin(FaultName::ClockDrift, |entry| entry.ppm = Some(5_000));
    bench.pass(10_000);
    assert_eq!(off_s(&bench), -7_150);
}

#[test]
fn a_profile_has_a_hole_where_rows_were_lost_and_nothing_is_invented() {
    let mut bench = Bench::new(50_000);
    assert_eq!(bench.till(Framing::Wrapper).load_profile().unwrap().len(), 7);
    bench.begin(FaultName::ProfileHole, |entry| entry.rows = Some(3));
    bench.pass(2 * 900);
    let times: Vec<u32> =
        bench.till(Framing::Wrapper).load_profile().unwrap().iter().map(|row| row.utc_s).collect();
    let expected: Vec<u32> = [-6, -5, -4, -3, 1, 2].map(|n| START_UTC_S.wrapping_add_signed(900 * n)).into();
    assert_eq!(times, expected);
}

#[test]
fn a_wrapped_buffer_holds_the_newest_rows_and_says_how_many() {
    let mut bench = Bench::new(50_000);
    bench.begin(FaultName::WrappedBuffer, |entry| entry.rows = Some(5));
    bench.pass(3 * 900);
    let mut till = bench.till(Framing::Wrapper);
    let times: Vec<u32> = till.load_profile().unwrap().iter().map(|row| row.utc_s).collect();
    let expected: Vec<u32> = [-1, 0, 1, 2, 3].map(|n| START_UTC_S.wrapping_add_signed(900 * n)).into();
    assert_eq!(times, expected);
    assert_eq!(till.read(profile::PROFILE_ENTRIES.of(obis::LOAD_PROFILE)), Some(5_u32));
}

#[test]
fn a_meter_switched_to_postpaid_runs_on_at_zero_credit_and_only_its_mode_and_digest_tell() {
    let mut bench = Bench::new(100);
    bench.meter.set_extra_load_w(2_000);
    let state = |till: &mut MeterClient| {
        let End::Value(digest) = till.get(data(obis::CONFIGURATION_DIGEST)) else { panic!("no digest") };
        let mode: ModeAndStatus = till.read(account::MODE_AND_STATUS.of(obis::ACCOUNT)).unwrap();
        let changes: u32 = till.read(data(obis::CONFIGURATION_CHANGES)).unwrap();
        (mode.payment_mode, digest, changes)
    };
    let before = state(&mut bench.till(Framing::Wrapper));
    bench.begin(FaultName::SwitchedToPostpaid, |_| {});
    bench.pass(3_600);
    let mut till = bench.till(Framing::Wrapper);
    let after = state(&mut till);
    assert_eq!((before.0, after.0), (PaymentMode::Prepayment, PaymentMode::Credit));
    assert_ne!(before.1, after.1, "the digest is another");
    assert_eq!(before.2, after.2, "the counter knows nothing");
    assert!(credit_wh(&mut till) < 0);
    assert!(bench.meter.truth().contact_closed);
}

#[test]
fn an_exchanged_meter_has_another_serial_number_and_begins_at_zero() {
    let mut bench = Bench::new(500);
    bench.pass(3_600);
    let serial = |till: &mut MeterClient| till.get(data(obis::SERIAL));
    let mut till = bench.till(Framing::Wrapper);
    let before = (serial(&mut till), import_wh(&mut till));
    bench.begin(FaultName::MeterExchanged, |_| {});
    bench.counters = 1;
    let mut till = bench.till(Framing::Wrapper);
    assert_ne!(serial(&mut till), before.0);
    assert!(import_wh(&mut till) < before.1);
    let refused = till.enter(&token(1));
    assert!(matches!(refused, End::Done | End::Value(_) | End::Failed(_)));
    assert_eq!(bench.credited_wh(), Some(0), "the old meter's tokens are not for this one");
}

#[test]
fn without_power_nothing_is_answered_and_nothing_is_forgotten() {
    let mut bench = Bench::new(500);
    let before = bench.meter.truth();
    bench.begin(FaultName::PowerOff, |_| {});
    assert!(!bench.meter.truth().powered);
    assert!(matches!(bench.client(As::Vending, Framing::Wrapper).associate(), End::Failed(_)));
    assert!(bench.meter.at_panel(|firmware| firmware.type_token(&token(1))).is_none());
    bench.meter.end(FaultName::PowerOff);
    let after = bench.meter.truth();
    assert_eq!(after.lives, before.lives + 1);
    assert_eq!(after.status.unwrap().credit_wh, before.status.unwrap().credit_wh);
}

#[test]
fn a_hung_processor_shows_nothing_and_counts_on_after_the_watchdog() {
    let mut bench = Bench::new(50_000);
    bench.begin(FaultName::Hang, |_| {});
    bench.pass(600);
    assert!(bench.meter.at_panel(|firmware| firmware.page(firmware::display::Page::Credit)).is_none());
    assert!(matches!(bench.client(As::Vending, Framing::Wrapper).associate(), End::Failed(_)));
    bench.meter.end(FaultName::Hang);
    let mut till = bench.till(Framing::Wrapper);
    assert_eq!(bench.meter.truth().lives, 2);
    assert_eq!(logged(&mut till, Event::Watchdog), 1, "the log says who restarted it");
}

#[test]
fn cover_magnet_and_bypass_are_in_the_log() {
    let mut bench = Bench::new(50_000);
    bench.meter.set_extra_load_w(2_000);
    for name in [FaultName::CoverOpen, FaultName::Magnet, FaultName::Bypass] {
        bench.begin(name, |_| {});
    }
    bench.pass(300);
    let mut till = bench.till(Framing::Wrapper);
    for event in [Event::CoverOpened, Event::MagnetOn, Event::CurrentImbalance] {
        assert_eq!(logged(&mut till, event), 1, "{event:?}");
    }
    assert_eq!(bench.meter.faults(), [FaultName::CoverOpen, FaultName::Magnet, FaultName::Bypass]);
}

#[test]
fn a_front_end_that_stands_still_runs_backwards_or_jumps_shows_in_the_registers() {
    let mut bench = Bench::new(500_000);
    bench.meter.set_extra_load_w(2_000);
    let mut till = bench.till(Framing::Wrapper);
    let mut over_an_hour = |bench: &Bench| {
        let before_wh = import_wh(&mut till);
        bench.pass(3_600);
        import_wh(&mut till) - before_wh
    };
    assert!(over_an_hour(&bench) >= 2_000);
    bench.begin(FaultName::StuckRegister, |_| {});
    assert_eq!(over_an_hour(&bench), 0);
    bench.meter.end(FaultName::StuckRegister);
    bench.begin(FaultName::ReversedCt, |_| {});
    assert_eq!(over_an_hour(&bench), 0);
    assert!(bench.meter.truth().status.unwrap().export_wh >= 2_000);
    bench.meter.end(FaultName::ReversedCt);
    bench.begin(FaultName::RegisterJump, |entry| entry.wh = Some(90_000));
    assert!(over_an_hour(&bench) >= 92_000);
}

#[test]
fn low_voltage_and_a_broken_neutral_are_measured() {
    let mut bench = Bench::new(50_000);
    bench.meter.set_extra_load_w(1_000);
    let mut till = bench.till(Framing::Wrapper);
    let mut volts = |bench: &Bench| {
        bench.pass(20);
        let End::Value(bytes) = till.get(register::VALUE.of(obis::VOLTAGE)) else { panic!("no voltage") };
        Data::from_bytes_in(&bytes).unwrap().as_i64().unwrap()
    };
    let sound = volts(&bench);
    bench.begin(FaultName::LowVoltage, |entry| entry.volts = Some(115));
    let low = volts(&bench);
    assert!(low * 2 <= sound + 2 && low * 2 > sound - sound / 10, "{low} and {sound}");
    bench.meter.end(FaultName::LowVoltage);
    bench.begin(FaultName::BrokenNeutral, |_| {});
    let mut floating: Vec<i64> = (0..20).map(|_| volts(&bench)).collect();
    floating.dedup();
    assert!(floating.len() > 10, "{floating:?}");
    assert_eq!(logged(&mut till, Event::NeutralMissing), 1);
}

#[test]
fn a_client_that_signs_tops_up_and_with_another_title_or_key_nobody_is_it() {
    for framing in BOTH {
        let mut bench = Bench::new(500);
        let mut client = bench.client(As::Signing, framing);
        assert_eq!(client.associate(), End::Open, "{framing:?}");
        assert_eq!(client.enter(&token(1)), End::Done);
        assert_eq!(bench.credited_wh(), Some(5_000));
        bench.begin(FaultName::WrongKey, |_| {});
        assert!(matches!(bench.client(As::Signing, framing).associate(), End::Failed(_)));
    }
}
