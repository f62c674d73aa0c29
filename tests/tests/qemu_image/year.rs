//! A year of quarter hours and half a year of hours, measured by a meter on this machine, in the storage of the emulated one: read by range.

use super::till::{End, Till};
use super::{SERIAL, decoder_key, start};
use firmware::{AccountSetup, Keys, Layout, Meter, Options, Personalisation};
use hardware::board::{Board, Clock, Health, Metering, NoImages, Relay, Sample, Storage};
use protocol::codec::axdr::Data;
use protocol::codec::obis::Obis;
use protocol::cosem::account::PaymentMode;
use protocol::cosem::clock::date_time;
use protocol::cosem::disconnect::ControlMode;
use protocol::cosem::profile::{BUFFER, LoadRow, RangeDescriptor};
use protocol::cosem::{FromData, obis};
use protocol::sts::meter::MeterTokenState;
use protocol::sts::{Drn, MeterPan};
use protocol::time::Instant;
use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};
use tests::Folder;
use tests::qemu::image;

/// Quarter hours of a year.
const ROWS: u32 = 35_040;
const QUARTER_S: u32 = 900;
/// Storage of the emulated board.
const NVM_BYTES: u32 = 1024 * 1024;

/// A kilowatt for a year, as fast as this machine can.
struct Past {
    nvm: Vec<u8>,
    utc_s: u32,
    pending_mws: u64,
}

impl Metering for Past {
    type Error = Infallible;
    fn sample(&mut self) -> Result<Sample, Infallible> {
        let import_mws = std::mem::take(&mut self.pending_mws);
        Ok(Sample { voltage_mv: 230_000, import_mws, ..Sample::default() })
    }
}

impl Relay for Past {
    fn drive(&mut self, _close: bool) {}
    fn sense_closed(&mut self) -> Option<bool> {
        Some(true)
    }
}

impl Storage for Past {
    type Error = Infallible;
    fn capacity(&self) -> u32 {
        NVM_BYTES
    }
    fn read(&mut self, at: u32, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.nvm[at as usize..][..out.len()]);
        Ok(())
    }
    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.nvm[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Clock for Past {
    fn utc_s(&mut self) -> Option<u32> {
        Some(self.utc_s)
    }
    fn set_utc_s(&mut self, utc_s: u32) {
        self.utc_s = utc_s;
    }
    fn monotonic_ms(&mut self) -> u64 {
        0
    }
}

impl Health for Past {
    fn cover_open(&mut self) -> bool {
        false
    }
    fn magnet(&mut self) -> bool {
        false
    }
    fn random(&mut self, out: &mut [u8]) {
        out.fill(4);
    }
}

impl Board for Past {
    type Metering = Self;
    type Relay = Self;
    type Storage = Self;
    type Clock = Self;
    type Health = Self;
    type Images = NoImages;
    fn metering(&mut self) -> &mut Self {
        self
    }
    fn relay(&mut self) -> &mut Self {
        self
    }
    fn storage(&mut self) -> &mut Self {
        self
    }
    fn clock(&mut self) -> &mut Self {
        self
    }
    fn health(&mut self) -> &mut Self {
        self
    }
    fn images(&mut self) -> Option<&mut NoImages> {
        None
    }
}

/// The emulated meter in credit mode: with the tokens' key of the factory's, which its record keeps.
fn who() -> Personalisation {
    let (key, attributes) = decoder_key();
    let pan = MeterPan::from_drn(&Drn::from_parts(1, SERIAL).expect("a serial number"));
    Personalisation {
        tokens: MeterTokenState::new(pan, key, attributes.into(), None),
        system_title: *b"MGW\0PAST",
        logical_device_name: Default::default(),
        keys: Keys {
            encryption: [0; 16],
            authentication: [0; 16],
            master: [0; 16],
            reader_password: Default::default(),
        },
        account: AccountSetup {
            payment_mode: PaymentMode::Credit,
            initial_credit_wh: 0,
            low_credit_wh: i64::MIN,
        },
        control_mode: ControlMode::ARM_AND_CLOSE_LOCALLY,
        return_automatically: true,
        utc_offset_minutes: 0,
        profile_period_s: QUARTER_S,
        sample_period_ms: 1_000,
        options: Options::default(),
    }
}

/// Lives through a year that ends at `end_utc_s`; gives the storage.
fn a_year_until(end_utc_s: u32) -> Vec<u8> {
    let nvm = vec![0xFF; NVM_BYTES as usize];
    let board = Past { nvm, utc_s: end_utc_s - ROWS * QUARTER_S, pending_mws: 0 };
    let mut meter = Meter::new(board, who(), Instant::ZERO).expect("a meter");
    meter.tick(Instant::ZERO);
    for quarter in 1..=u64::from(ROWS) {
        let board = meter.board();
        board.utc_s += QUARTER_S;
        board.pending_mws = 1_000_000 * u64::from(QUARTER_S);
        meter.tick(Instant::from_millis(quarter * 1_000));
    }
    meter.into_board().nvm
}

fn rows(till: &mut Till, profile: Obis, from_utc_s: u32, to_utc_s: u32) -> Vec<LoadRow> {
    let mut scratch = [0; 128];
    let range = RangeDescriptor::by_clock(date_time(from_utc_s, 0, 0), date_time(to_utc_s, 0, 0));
    let selection = range.to_selective_access(&mut scratch).expect("it fits");
    let at = BUFFER.of(profile);
    let End::Done(bytes) = till.read(at, Some(selection)) else { panic!("no profile") };
    let rows = Data::from_bytes_in(&bytes).expect("a value").as_array().expect("an array");
    rows.iter().map(|row| LoadRow::from_data(row.expect("a row")).expect("all columns")).collect()
}

#[test]
fn qemu_meter_keeps_a_year_of_quarter_hours_and_gives_any_part_of_it() {
    assert!(Layout::bytes_for(ROWS) <= NVM_BYTES, "{} bytes for a year", Layout::bytes_for(ROWS));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let end = u32::try_from(now).expect("before 2106") / QUARTER_S * QUARTER_S;
    let begin = end - ROWS * QUARTER_S;
    let folder = Folder::new("qemu-year");
    std::fs::write(folder.path().join("meter.nvm"), a_year_until(end)).expect("a folder of the test's own");
    let qemu = start(&image("mps2-an386"), &folder, "");
    let mut till = Till::open(qemu.port, 0).expect("an association");
    // The oldest day, one in the middle, the newest; each quarter once, with the register of its time.
    for day in [0, 200, 364] {
        let from = begin + day * 86_400 + QUARTER_S;
        let found = rows(&mut till, obis::LOAD_PROFILE, from, from + 86_400 - QUARTER_S);
        assert_eq!(found.len(), 96, "day {day}");
        for (quarter, row) in (0..).zip(&found) {
            assert_eq!(row.utc_s, from + quarter * QUARTER_S, "day {day}");
            assert_eq!(row.import_wh, (row.utc_s - begin) / QUARTER_S * 250, "day {day}");
        }
    }
    let week = rows(&mut till, obis::LOAD_PROFILE, begin + 100 * 86_400, begin + 107 * 86_400);
    assert_eq!(week.len(), 7 * 96 + 1);
    // Beside it the second profile has the hours of half a year.
    let half = end / 3_600 * 3_600 - 180 * 86_400;
    for from in [half, end - 86_400] {
        let first = from.next_multiple_of(3_600);
        let found = rows(&mut till, obis::LOAD_PROFILE_2, first, first + 23 * 3_600);
        assert_eq!(found.len(), 24, "hours from {first} on");
        assert!(
            (first..).step_by(3_600).zip(&found).all(|(hour, row)| row.utc_s == hour),
            "hours from {first} on"
        );
    }
}
