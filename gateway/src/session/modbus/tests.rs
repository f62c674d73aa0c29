//! Dialogues with a scripted RTU bus: what it hears and says is bytes, time is virtual.

use super::*;
use crate::clock::Clock;
use crate::driver::{Pacing, Pipe};
use crate::session::directory;
use crate::session::model::{Model, Models};
use crate::session::work::{Report, Serial};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// CRC of Modbus over serial line V1.02, 6.2.2, bit by bit.
fn with_crc(mut frame: Vec<u8>) -> Vec<u8> {
    let crc = frame.iter().fold(0xFFFF_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 })
    });
    frame.extend(crc.to_le_bytes());
    frame
}

/// How the units of the scripted bus misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Never answers.
    Dead,
    /// Carries out everything, answers nothing after a coil was written.
    LosesCoilAnswer,
    /// Takes the coil, and the contact does not move.
    StuckRelay,
    /// Says of its contact what no model knows.
    LosesContact,
    /// Refuses the coil with exception 4.
    RefusesCoil,
    /// The first answer comes after this many milliseconds.
    FirstAnswerLate(u64),
    /// The first answer has a flipped bit.
    FirstAnswerDamaged,
    /// Every answer has one.
    EveryAnswerDamaged,
    /// The answer to a coil has one.
    DamagesCoilAnswer,
}

#[derive(Debug)]
struct Unit {
    serial: &'static str,
    fault: Fault,
    closed: bool,
    energy_wh: u64,
    answered: u32,
    coils_written: u32,
}

/// The units of a bus, shared with the test.
type Units = Arc<Mutex<BTreeMap<u8, Unit>>>;

impl Unit {
    fn registers(&self) -> Vec<u16> {
        let mut registers = vec![0; 36];
        for (at, pair) in self.serial.as_bytes().chunks(2).enumerate() {
            registers[at] = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        }
        for at in 0..4 {
            registers[16 + at] = (self.energy_wh >> (48 - 16 * at)) as u16;
        }
        registers[25] = if self.closed { 740 } else { 0 };
        registers[26] = match (self.fault, self.closed) {
            (Fault::LosesContact, _) => 0x30,
            (_, true) => 0x10,
            (_, false) => 0x20,
        };
        // 1.25 kWh in debt, in hundredths of a kilowatt-hour.
        (registers[28], registers[29]) = (0xFFFF, 0xFF83);
        registers
    }

    /// The answer to one request without its CRC.
    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let (unit, function) = (request[0], request[1]);
        let at = usize::from(u16::from_be_bytes([request[2], request[3]]));
        let count = usize::from(u16::from_be_bytes([request[4], request[5]]));
        match function {
            2 => vec![unit, 2, 1, u8::from(self.closed)],
            4 => {
                let words = &self.registers()[at..at + count];
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
                [vec![unit, 4, bytes.len() as u8], bytes].concat()
            }
            6 if at == 5 => {
                self.closed = count == 0xAAAA;
                request[..6].to_vec()
            }
            5 if self.fault == Fault::RefusesCoil => vec![unit, 0x85, 4],
            5 => {
                self.coils_written += 1;
                if self.fault != Fault::StuckRelay {
                    self.closed = request[4] == 0xFF;
                }
                request[..6].to_vec()
            }
            _ => vec![unit, function | 0x80, 1],
        }
    }
}

/// Serves the bus until the other end is dropped. Every request here is eight bytes.
async fn serve(mut line: DuplexStream, units: Units) {
    let mut request = [0; 8];
    while line.read_exact(&mut request).await.is_ok() {
        assert_eq!(with_crc(request[..6].to_vec()), request, "a request with a wrong checksum");
        let (mut answer, first, fault) = {
            let mut units = units.lock().expect("not poisoned");
            let Some(unit) = units.get_mut(&request[0]) else { continue };
            unit.answered += 1;
            (with_crc(unit.answer(&request)), unit.answered == 1, unit.fault)
        };
        match fault {
            Fault::Dead => continue,
            Fault::LosesCoilAnswer if request[1] == 5 => continue,
            Fault::FirstAnswerLate(ms) if first => tokio::time::sleep(Duration::from_millis(ms)).await,
            Fault::FirstAnswerDamaged if first => answer[4] ^= 0x10,
            Fault::EveryAnswerDamaged => answer[4] ^= 0x10,
            Fault::DamagesCoilAnswer if request[1] == 5 => answer[4] ^= 0x10,
            _ => {}
        }
        if line.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn units_of(units: &[(u8, &'static str, Fault)]) -> Units {
    let unit = |(unit, serial, fault): &(u8, &'static str, Fault)| {
        let (closed, energy_wh) = (true, 123_456_789);
        (*unit, Unit { serial, fault: *fault, closed, energy_wh, answered: 0, coils_written: 0 })
    };
    Arc::new(Mutex::new(units.iter().map(unit).collect()))
}

fn talker(units: &Units) -> ModbusTalker {
    let (ours, theirs) = tokio::io::duplex(512);
    tokio::spawn(serve(theirs, units.clone()));
    let pacing = Pacing { byte_time: Duration::from_millis(1), turnaround: Duration::from_millis(4) };
    ModbusTalker::new(Wire::on(Pipe::new(ours, Default::default(), Some(pacing)), Framing::Rtu))
}

fn bus(units: &[(u8, &'static str, Fault)]) -> ModbusTalker {
    talker(&units_of(units))
}

fn endpoint(unit: u8, serial: &str) -> directory::Endpoint {
    directory::Endpoint {
        serial: Serial(serial.into()),
        line: "bus".into(),
        address: unit.to_string(),
        framing: directory::Framing::default(),
        model: "reference-modbus".into(),
    }
}

async fn perform(talker: &mut ModbusTalker, unit: u8, serial: &str, work: Work) -> Report {
    let models = Models::load(None).expect("built-in models");
    let Some(Model::Modbus(model)) = models.find("reference-modbus").map(|model| (*model).clone()) else {
        panic!("the reference model is a Modbus model")
    };
    perform_by(&model, talker, unit, serial, work).await
}

async fn perform_by(
    model: &ModbusModel,
    talker: &mut ModbusTalker,
    unit: u8,
    serial: &str,
    work: Work,
) -> Report {
    let mut attempt = Attempt::begin(Clock::real(), None);
    let outcome = talker.perform(&mut attempt, &endpoint(unit, serial), model, &work).await;
    attempt.end(outcome)
}

#[test]
fn the_checksum_of_these_tests_is_the_standards() {
    // Modbus over serial line V1.02, 6.2.2: the CRC of 02 07 is 41 12, low byte first.
    assert_eq!(with_crc(vec![0x02, 0x07]), [0x02, 0x07, 0x41, 0x12]);
}

#[tokio::test(start_paused = true)]
async fn a_meter_is_commissioned_by_its_serial_number() {
    let mut bus = bus(&[(1, "01000000017", Fault::None)]);
    let report = perform(&mut bus, 1, "01000000017", Work::Commission).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert_eq!(report.facts.import_wh, Some(123_456_789));
    assert_eq!(report.facts.power_w, Some(740));
    assert_eq!(report.facts.relay, Some(RelayState { output_closed: true, control_state: None }));
    let other = perform(&mut bus, 1, "01000000025", Work::Commission).await;
    let reason = "the meter says it is \"01000000017\", expected 01000000025".to_owned();
    assert_eq!(other.ending, Ending::Rejected { reason, code: None });
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_ends_with_the_contact_sensed_open_and_no_power() {
    let mut bus = bus(&[(1, "01000000017", Fault::None)]);
    let report = perform(&mut bus, 1, "01000000017", Work::Disconnect).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert_eq!(report.facts.relay.map(|relay| relay.output_closed), Some(false));
    assert_eq!(report.facts.power_w, Some(0));
    let back = perform(&mut bus, 1, "01000000017", Work::Reconnect).await;
    assert_eq!(back.ending, Ending::Done);
    assert_eq!(back.facts.relay.map(|relay| relay.output_closed), Some(true));
}

/// The scripted bus as a meter whose relay is in registers, and which counts its own credit.
const IN_REGISTERS: &str = r#"
protocol = "modbus"
description = "meter with a relay in registers"
[[point]]
role = "serial"
table = "input"
address = 0
type = "text"
registers = 8
[[point]]
role = "import_wh"
table = "input"
address = 16
type = "u64"
[[point]]
role = "power_w"
table = "input"
address = 24
type = "i32"
[[point]]
role = "credit_wh"
table = "input"
address = 28
type = "i32"
unit = "kWh"
scale10 = -2
[[point]]
role = "relay_closed"
table = "input"
address = 26
type = "u16"
mask = 0x30
closed = 0x10
open = 0x20
[[point]]
role = "relay_command"
table = "holding"
address = 5
type = "u16"
closed = 0xAAAA
open = 0x5555
"#;

#[tokio::test(start_paused = true)]
async fn a_relay_in_registers_is_switched_and_sensed_and_the_meters_own_credit_is_read() {
    let Model::Modbus(model) = Model::parse("m.toml", IN_REGISTERS).expect("a good model") else { panic!() };
    let mut bus = bus(&[(1, "01000000017", Fault::None), (2, "01000000025", Fault::LosesContact)]);
    let read = perform_by(&model, &mut bus, 1, "01000000017", Work::Read).await;
    assert_eq!((read.facts.credit_wh, read.ending), (Some(-1_250), Ending::Done), "{:?}", read.evidence);
    let off = perform_by(&model, &mut bus, 1, "01000000017", Work::Disconnect).await;
    assert_eq!(off.ending, Ending::Done, "{:?}", off.evidence);
    assert_eq!(off.facts.relay.map(|relay| relay.output_closed), Some(false));
    let on = perform_by(&model, &mut bus, 1, "01000000017", Work::Reconnect).await;
    assert_eq!(on.facts.relay.map(|relay| relay.output_closed), Some(true), "{:?}", on.evidence);
    // A number that the model does not know is no state.
    let lost = perform_by(&model, &mut bus, 2, "01000000025", Work::Disconnect).await;
    let reason = "the meter took the command, but 5 s later the contact is sensed neither closed nor open";
    assert_eq!(lost.ending, Ending::Rejected { reason: reason.into(), code: None });
    assert_eq!(lost.facts.relay, None);
}

#[tokio::test(start_paused = true)]
async fn the_wrong_meter_is_never_disconnected() {
    let mut bus = bus(&[(1, "01000000017", Fault::None)]);
    let report = perform(&mut bus, 1, "01000000025", Work::Disconnect).await;
    assert!(matches!(report.ending, Ending::Rejected { .. }));
    let read = perform(&mut bus, 1, "01000000017", Work::Read).await;
    assert_eq!(read.facts.relay.map(|relay| relay.output_closed), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_lost_coil_answer_is_unknown_and_a_read_finds_out() {
    let mut bus = bus(&[(1, "01000000017", Fault::LosesCoilAnswer)]);
    let report = perform(&mut bus, 1, "01000000017", Work::Disconnect).await;
    assert!(matches!(report.ending, Ending::Unknown { .. }), "{:?}", report.ending);
    let read = perform(&mut bus, 1, "01000000017", Work::Read).await;
    assert_eq!(read.facts.relay.map(|relay| relay.output_closed), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_refused_coil_and_a_stuck_relay_are_told_apart() {
    let mut bus = bus(&[(1, "01000000017", Fault::RefusesCoil), (2, "01000000025", Fault::StuckRelay)]);
    let refused = perform(&mut bus, 1, "01000000017", Work::Disconnect).await;
    assert!(matches!(refused.ending, Ending::Rejected { code: Some(4), .. }), "{:?}", refused.ending);
    let stuck = perform(&mut bus, 2, "01000000025", Work::Disconnect).await;
    let reason = "the meter took the command, but 5 s later the contact is sensed closed".to_owned();
    assert_eq!(stuck.ending, Ending::Rejected { reason, code: None });
}

#[tokio::test(start_paused = true)]
async fn a_dead_unit_costs_one_timeout_and_its_neighbour_answers_at_once() {
    let mut bus = bus(&[(1, "01000000017", Fault::Dead), (2, "01000000025", Fault::None)]);
    let began = tokio::time::Instant::now();
    let dead = perform(&mut bus, 1, "01000000017", Work::Read).await;
    assert!(matches!(dead.ending, Ending::NotSent { .. }), "{:?}", dead.ending);
    assert!(began.elapsed() < Duration::from_millis(1_200), "{:?}", began.elapsed());
    let began = tokio::time::Instant::now();
    let alive = perform(&mut bus, 2, "01000000025", Work::Read).await;
    assert_eq!(alive.ending, Ending::Done, "{:?}", alive.evidence);
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_never_taken_for_the_next_ones() {
    let mut bus = bus(&[(1, "01000000017", Fault::FirstAnswerLate(1_500)), (2, "01000000025", Fault::None)]);
    // The discrete inputs are asked for first; their answer comes when the read has been given up.
    let late = perform(&mut bus, 1, "01000000017", Work::Read).await;
    assert!(matches!(late.ending, Ending::NotSent { .. }), "{:?}", late.ending);
    let other = perform(&mut bus, 2, "01000000025", Work::Read).await;
    assert_eq!(other.facts.serial.as_deref(), Some("01000000025"), "{:?}", other.evidence);
    let again = perform(&mut bus, 1, "01000000017", Work::Read).await;
    assert_eq!(again.facts.serial.as_deref(), Some("01000000017"), "{:?}", again.evidence);
    assert_eq!(again.ending, Ending::Done);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_by_a_meter_without_a_token_gateway() {
    use crate::session::work::TokenDigits;
    let mut bus = bus(&[(1, "01000000017", Fault::None)]);
    let token = TokenDigits::new("12345678901234567890").expect("twenty digits");
    let report = perform(&mut bus, 1, "01000000017", Work::DeliverToken(token)).await;
    assert!(matches!(report.ending, Ending::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_answer_is_asked_for_again() {
    let clean = units_of(&[(1, "01000000017", Fault::None)]);
    let report = perform(&mut talker(&clean), 1, "01000000017", Work::Read).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    let bus = units_of(&[(1, "01000000017", Fault::FirstAnswerDamaged)]);
    let repeated = perform(&mut talker(&bus), 1, "01000000017", Work::Read).await;
    assert_eq!(repeated.ending, Ending::Done, "{:?}", repeated.evidence);
    assert_eq!(repeated.facts, report.facts);
    assert_eq!(asked(&bus), asked(&clean) + 1, "one request was repeated, once");
}

#[tokio::test(start_paused = true)]
async fn an_answer_damaged_twice_is_given_up_and_a_damaged_coil_is_never_written_again() {
    let bus = units_of(&[(1, "01000000017", Fault::EveryAnswerDamaged)]);
    let report = perform(&mut talker(&bus), 1, "01000000017", Work::Read).await;
    assert!(
        matches!(&report.ending, Ending::NotSent { reason } if reason.ends_with("was answered by garbage")),
        "{report:?}"
    );
    assert_eq!(asked(&bus), 2);
    let bus = units_of(&[(1, "01000000017", Fault::DamagesCoilAnswer)]);
    let report = perform(&mut talker(&bus), 1, "01000000017", Work::Disconnect).await;
    assert!(matches!(report.ending, Ending::Unknown { .. }), "{report:?}");
    assert_eq!(bus.lock().expect("not poisoned")[&1].coils_written, 1);
}

/// How many requests unit 1 has heard.
fn asked(units: &Units) -> u32 {
    units.lock().expect("not poisoned")[&1].answered
}

/// A bus at 9,600 baud whose meter answers reads of 125 registers as soon as it may: every byte takes its time on the wire, and
/// 3.5 characters of silence end a frame (Modbus over serial line V1.02, 2.5.1.1).
async fn serve_at_9600_baud(mut line: DuplexStream, byte_time: Duration) {
    let mut request = [0; 8];
    while line.read_exact(&mut request).await.is_ok() {
        let count = u16::from_be_bytes([request[4], request[5]]);
        let mut answer = vec![request[0], request[1], (count * 2) as u8];
        answer.resize(3 + usize::from(count) * 2, 0);
        let answer = with_crc(answer);
        let begin = tokio::time::Instant::now() + byte_time * 8 + byte_time * 7 / 2;
        for (byte, sent) in answer.chunks(1).zip(1u32..) {
            // The system's clock has whole milliseconds: each byte is late by less than one, and they do not add up.
            tokio::time::sleep_until(begin + byte_time * sent).await;
            if line.write_all(byte).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bulk_reads_use_95_percent_of_what_a_9600_baud_line_carries() {
    const READS: u32 = 50;
    let byte_time = Duration::from_secs(1) * 10 / 9_600;
    let (ours, theirs) = tokio::io::duplex(512);
    tokio::spawn(serve_at_9600_baud(theirs, byte_time));
    // The pause that lines of the configuration have.
    let pacing = Pacing { byte_time, turnaround: byte_time * 4 };
    let counters = Arc::<crate::driver::ByteCounters>::default();
    let mut wire = Wire::on(Pipe::new(ours, counters.clone(), Some(pacing)), Framing::Rtu);
    let began = tokio::time::Instant::now();
    let request = ReadRequest { table: Table::Input, address: 0, count: 125 };
    for _ in 0..READS {
        wire.read(1, request, Duration::from_secs(5)).await.expect("an answer");
    }
    let traffic = counters.traffic();
    let carried = traffic.sent_bytes + traffic.received_bytes;
    assert_eq!(carried, u64::from(READS) * (8 + 255));
    let could = began.elapsed().as_nanos() / byte_time.as_nanos();
    let per_mille = u128::from(carried) * 1_000 / could;
    println!("9,600 baud: {carried} of {could} bytes, {per_mille} per mille");
    assert!(per_mille >= 950, "{carried} of {could} bytes");
}
