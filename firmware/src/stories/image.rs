//! New firmware: sent in blocks, checked, started on trial, confirmed or rolled back; and power cut anywhere in it.

use super::wire::{MANAGEMENT, READER, VENDING, act, get};
use super::{board, events, pass, personalisation};
use crate::Meter;
use crate::image::boot::InPlace;
use crate::image::format::{HEADER_BYTES, Header, Model, Version};
use crate::image::{Trust, boot};
use crate::test_board::{AnyBanks, Banks, Memory, TestBoard};
use crate::test_flash::Flash;
use hardware::board::{Bank, ImageBanks};
use hardware::drivers::sector_banks::{STM32F405, SectorBanks};
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::class::ToData;
use protocol::cosem::events::Event;
use protocol::cosem::image_transfer as class;
use protocol::cosem::image_transfer::{ImageBlock, ImageTransferInitiate, ImageTransferStatus as Status};
use protocol::cosem::obis::IMAGE_TRANSFER;
use protocol::dlms::model::Attribute;
use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
use protocol::time::Instant;
use sha2::{Digest, Sha256};
use std::vec::Vec;

const MODEL: Model = *b"MGW-T1\0\0";
const BLOCK: usize = 256;

fn signer(of: u8) -> PrivateKey {
    PrivateKey::from_bytes(Curve::P256, &[of; 32]).unwrap()
}

/// A signed image with a program of `bytes` bytes that are all alike.
pub(super) fn image(model: Model, version: Version, bytes: usize, by: &PrivateKey) -> Vec<u8> {
    let program = std::vec![version.2 as u8; bytes];
    let header = Header::signed(model, version, &program, by).unwrap();
    [&header.to_bytes()[..], &program].concat()
}

/// Four blocks and a bit.
pub(super) fn newer() -> Vec<u8> {
    image(MODEL, Version(1, 0, 2), 4 * BLOCK, &signer(1))
}

pub(super) fn factory() -> Vec<u8> {
    image(MODEL, Version(1, 0, 1), 2_000, &signer(1))
}

pub(super) fn updatable() -> TestBoard {
    let mut board = board();
    board.banks = Some(AnyBanks::Plain(Banks::new(4_096, &factory(), &board.storage)));
    board
}

/// The same with the reference board's flash: the factory's image in bank A and where programs run.
pub(super) fn updatable_flash() -> TestBoard {
    let mut board = board();
    let mut flash = Flash::new(&board.storage);
    flash.put(STM32F405.banks[0].at, &factory());
    flash.put(STM32F405.run.at, &factory()[HEADER_BYTES..]);
    board.banks = Some(AnyBanks::Sectors(SectorBanks::new(flash, &STM32F405, Bank::A)));
    board
}

/// What the boot loader of the reference board does. Power that goes in it comes back.
fn boot_from_flash(storage: &mut Memory, flash: Flash) -> SectorBanks<Flash> {
    let mut banks = SectorBanks::new(flash, &STM32F405, Bank::A);
    let mut placed = boot::bring_up(storage, &mut banks);
    if storage.is_off() {
        storage.power_up();
        placed = boot::bring_up(storage, &mut banks);
    }
    let InPlace::Of(bank) = placed else { panic!("a brick: {placed:?}") };
    SectorBanks::new(take_flash(banks), &STM32F405, bank)
}

fn take_flash(mut banks: SectorBanks<Flash>) -> Flash {
    let blank = Flash::empty(banks.flash());
    core::mem::replace(banks.flash(), blank)
}

/// What runs is a whole image: its header, and the program where it runs.
fn assert_whole(header: &[u8], program: &[u8]) {
    let header = Header::parse(header.try_into().unwrap()).expect("a brick: no image to start");
    let program = &program[..header.length as usize];
    assert_eq!(header.digest, <[u8; 32]>::from(Sha256::digest(program)), "a brick: half an image starts");
}

/// A reset of any kind: the start code chooses a bank, and what is in it must be a whole image. Power that goes in the start
/// code comes back.
pub(super) fn reset(mut board: TestBoard) -> Meter<TestBoard> {
    let banks = match board.banks.take().unwrap() {
        AnyBanks::Plain(mut banks) => {
            banks.running = boot::choose(&mut board.storage);
            if board.storage.is_off() {
                board.storage.power_up();
                banks.running = boot::choose(&mut board.storage);
            }
            let (header, program) = banks.bytes[banks.running as usize].split_at(HEADER_BYTES);
            assert_whole(header, program);
            AnyBanks::Plain(banks)
        }
        AnyBanks::Sectors(banks) => {
            let mut banks = boot_from_flash(&mut board.storage, take_flash(banks));
            let bank = STM32F405.banks[banks.running() as usize].at as usize;
            let flash = &banks.flash().bytes;
            assert_whole(&flash[bank..bank + HEADER_BYTES], &flash[STM32F405.run.at as usize..]);
            AnyBanks::Sectors(banks)
        }
    };
    board.banks = Some(banks);
    let mut who = personalisation();
    let key = signer(1).public_key().to_bytes();
    who.options.images = Some(Trust { signing_key: key[..].try_into().unwrap(), model: MODEL });
    let now = Instant::from_millis(board.now_ms);
    Meter::new(board, who, now).unwrap()
}

fn invoke(meter: &mut Meter<TestBoard>, method: i8, parameter: &impl ToData) -> Result<bool, ActionResult> {
    let mut buffer = [0xA5; 400];
    let mut w = SliceWriter::new(&mut buffer);
    parameter.put(&mut w).unwrap();
    let at =
        protocol::dlms::model::Method { class_id: class::CLASS, logical_name: IMAGE_TRANSFER, index: method };
    act(meter, MANAGEMENT, at, Data::from_bytes_in(w.as_slice()).unwrap())
}

fn begin(meter: &mut Meter<TestBoard>, image: &[u8]) -> Result<bool, ActionResult> {
    let size = image.len() as u32;
    invoke(meter, 1, &ImageTransferInitiate { image_identifier: b"MGW-T1 1.0.2", image_size: size })
}

fn block(meter: &mut Meter<TestBoard>, image: &[u8], n: u32) -> Result<bool, ActionResult> {
    let bytes = image.chunks(BLOCK).nth(n as usize).unwrap();
    invoke(meter, 2, &ImageBlock { image_block_number: n, image_block_value: bytes })
}

fn verify(meter: &mut Meter<TestBoard>) -> Result<bool, ActionResult> {
    invoke(meter, 3, &protocol::cosem::class::Nothing)
}

fn activate(meter: &mut Meter<TestBoard>) -> Result<bool, ActionResult> {
    invoke(meter, 4, &protocol::cosem::class::Nothing)
}

fn read(meter: &mut Meter<TestBoard>, index: i8) -> Vec<u8> {
    get(meter, READER, Attribute { class_id: class::CLASS, logical_name: IMAGE_TRANSFER, index }, None)
        .unwrap()
}

fn status(meter: &mut Meter<TestBoard>) -> Status {
    class::IMAGE_TRANSFER_STATUS.decode_bytes(&read(meter, 6)).unwrap()
}

fn first_missing(meter: &mut Meter<TestBoard>) -> u32 {
    class::IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER.decode_bytes(&read(meter, 4)).unwrap()
}

/// Does what is left to do, as a client that does not know how far it came: stops when power is gone.
pub(super) fn carry_on(meter: &mut Meter<TestBoard>, image: &[u8]) {
    if matches!(status(meter), Status::NotInitiated | Status::ActivationFailed) {
        let _ = begin(meter, image);
    }
    let blocks = image.len().div_ceil(BLOCK) as u32;
    while status(meter) == Status::Initiated && first_missing(meter) < blocks {
        let next = first_missing(meter);
        if block(meter, image, next).is_err() {
            return;
        }
    }
    if status(meter) == Status::Initiated {
        let _ = verify(meter);
    }
    if status(meter) == Status::VerificationSuccessful {
        let _ = activate(meter);
    }
}

#[test]
fn a_new_image_is_sent_checked_started_and_confirms_itself() {
    let mut meter = reset(updatable());
    let image = newer();
    assert_eq!(status(&mut meter), Status::NotInitiated);
    assert_eq!(class::IMAGE_BLOCK_SIZE.decode_bytes(&read(&mut meter, 2)).unwrap(), 256);
    assert!(class::IMAGE_TRANSFER_ENABLED.decode_bytes(&read(&mut meter, 5)).unwrap());
    begin(&mut meter, &image).unwrap();
    // In any order, and one of them twice.
    for n in [4, 0, 1, 1, 3] {
        block(&mut meter, &image, n).unwrap();
    }
    assert_eq!(first_missing(&mut meter), 2);
    assert_eq!(read(&mut meter, 3), [4, 5, 0b1101_1000]);
    assert_eq!(verify(&mut meter), Err(ActionResult::OtherReason), "a block is missing");
    block(&mut meter, &image, 2).unwrap();
    assert_eq!(read(&mut meter, 7), [1, 0], "nothing to activate before it is verified");
    verify(&mut meter).unwrap();
    let info = read(&mut meter, 7);
    assert!(info.windows(12).any(|part| part == b"MGW-T1 1.0.2"), "{info:02x?}");
    assert!(info.windows(64).any(|part| part == &image[56..120]), "its signature");

    assert!(!meter.restart_wanted());
    activate(&mut meter).unwrap();
    assert!(meter.restart_wanted());
    let mut meter = reset(meter.into_board());
    assert_eq!(meter.board().banks.as_ref().unwrap().running(), Bank::B);
    assert_eq!(meter.firmware_version(), Version(1, 0, 2));
    assert_eq!(status(&mut meter), Status::ActivationInitiated, "on trial");
    assert_eq!(begin(&mut meter, &image), Err(ActionResult::TemporaryFailure), "the way back stays open");
    pass(&mut meter, 10);
    assert_eq!(status(&mut meter), Status::ActivationSuccessful);
    let log = events(&mut meter);
    assert!(log.contains(&Event::FirmwareReady) && log.contains(&Event::FirmwareActivated), "{log:?}");
    let mut meter = reset(meter.into_board());
    assert_eq!(meter.firmware_version(), Version(1, 0, 2), "and for good");

    // The next one goes to the other bank.
    let image = super::image::image(MODEL, Version(1, 1, 0), 700, &signer(1));
    begin(&mut meter, &image).unwrap();
    carry_on(&mut meter, &image);
    let mut meter = reset(meter.into_board());
    pass(&mut meter, 10);
    assert_eq!(
        (meter.firmware_version(), status(&mut meter)),
        (Version(1, 1, 0), Status::ActivationSuccessful)
    );
    assert_eq!(meter.board().banks.as_ref().unwrap().running(), Bank::A);
}

#[test]
fn an_image_that_does_not_confirm_itself_is_rolled_back_at_the_next_reset() {
    for seconds in [0, 9] {
        let mut meter = reset(updatable());
        carry_on(&mut meter, &newer());
        let mut meter = reset(meter.into_board());
        assert_eq!(meter.firmware_version(), Version(1, 0, 2));
        // It hangs, and the watchdog resets it.
        pass(&mut meter, seconds);
        let mut meter = reset(meter.into_board());
        assert_eq!(meter.firmware_version(), Version(1, 0, 1));
        assert_eq!(status(&mut meter), Status::ActivationFailed);
        assert!(events(&mut meter).contains(&Event::FirmwareRolledBack));
        let mut meter = reset(meter.into_board());
        assert_eq!(meter.firmware_version(), Version(1, 0, 1), "and stays");
        let told = events(&mut meter).iter().filter(|e| **e == Event::FirmwareRolledBack).count();
        assert_eq!(told, 1);
        // It may be sent again.
        carry_on(&mut meter, &newer());
        let mut meter = reset(meter.into_board());
        pass(&mut meter, 10);
        assert_eq!(status(&mut meter), Status::ActivationSuccessful);
    }
}

#[test]
fn an_image_whose_measurement_does_not_work_never_confirms_itself() {
    let mut meter = reset(updatable());
    carry_on(&mut meter, &newer());
    let mut meter = reset(meter.into_board());
    meter.board().metering_fails = true;
    pass(&mut meter, 600);
    assert_eq!(status(&mut meter), Status::ActivationInitiated);
    assert_eq!(reset(meter.into_board()).firmware_version(), Version(1, 0, 1));
}

#[test]
fn unsigned_foreign_older_and_damaged_images_are_refused_with_the_class_s_status() {
    let good = newer();
    let mut unsigned = good.clone();
    unsigned[56..120].fill(0);
    let mut damaged = good.clone();
    damaged[700] ^= 1;
    let mut renamed = good.clone();
    renamed[16] = 9; // a version that nobody signed
    let mut longer = good.clone();
    longer.push(0);
    let cases = [
        (unsigned, 5, "unsigned"),
        (image(MODEL, Version(1, 0, 2), 1_000, &signer(2)), 5, "signed by somebody else"),
        (renamed, 5, "version changed after signing"),
        (image(*b"MGW-T3\0\0", Version(1, 0, 2), 1_000, &signer(1)), 3, "another model"),
        (image(MODEL, Version(1, 0, 0), 1_000, &signer(1)), 4, "older"),
        (damaged, 2, "one bit turned"),
        (longer, 2, "a byte too long"),
        (std::vec![0x55; 900], 1, "no image"),
    ];
    for (image, code, what) in cases {
        let mut meter = reset(updatable());
        begin(&mut meter, &image).unwrap();
        for n in 0..image.len().div_ceil(BLOCK) as u32 {
            block(&mut meter, &image, n).unwrap();
        }
        assert_eq!(activate(&mut meter), Err(ActionResult::OtherReason), "{what}, unverified");
        assert_eq!(verify(&mut meter), Err(ActionResult::OtherReason), "{what}");
        assert_eq!(status(&mut meter), Status::VerificationFailed, "{what}");
        assert_eq!(activate(&mut meter), Err(ActionResult::OtherReason), "{what}");
        assert!(!meter.restart_wanted());
        let newest = meter.events.rows(meter.record.events).next_back().unwrap();
        let row = meter.events.get(&mut meter.board.storage, newest).unwrap();
        assert_eq!((row.code, row.detail), (Event::FirmwareRefused as u8, code), "{what}");
        assert_eq!(reset(meter.into_board()).firmware_version(), Version(1, 0, 1), "{what}");
    }
}

#[test]
fn only_management_sends_images_and_only_to_a_meter_that_takes_them() {
    let mut meter = reset(updatable());
    let at = class::IMAGE_VERIFY.of(IMAGE_TRANSFER);
    assert_eq!(act(&mut meter, VENDING, at, Data::Integer(0)), Err(ActionResult::ReadWriteDenied));
    assert_eq!(act(&mut meter, READER, at, Data::Integer(0)), Err(ActionResult::ReadWriteDenied));
    for size in [0, HEADER_BYTES as u32, 4_097, u32::MAX] {
        let begun =
            invoke(&mut meter, 1, &ImageTransferInitiate { image_identifier: b"x", image_size: size });
        assert_eq!(begun, Err(ActionResult::OtherReason), "{size} bytes");
    }
    let image = newer();
    begin(&mut meter, &image).unwrap();
    let beyond = ImageBlock { image_block_number: 5, image_block_value: &image[..1] };
    assert_eq!(invoke(&mut meter, 2, &beyond), Err(ActionResult::OtherReason));
    let short = ImageBlock { image_block_number: 0, image_block_value: &image[..255] };
    assert_eq!(invoke(&mut meter, 2, &short), Err(ActionResult::OtherReason));
    let mut plain = super::start(board());
    assert_eq!(begin(&mut plain, &image), Err(ActionResult::ReadWriteDenied));
    assert!(!class::IMAGE_TRANSFER_ENABLED.decode_bytes(&read(&mut plain, 5)).unwrap());
}

/// The whole update, with the power cut before, in and after every write to storage and to the bank.
#[test]
fn an_update_cut_anywhere_never_bricks_and_is_finished_afterwards() {
    cut_everywhere(updatable, &[0, 1, 9, 12, 20, 40, 100, 100_000]);
}

/// The same with the reference board's flash, its boot loader and its copy to where programs run: cut in the middle of an erase, in
/// the middle of a copy.
#[test]
fn an_update_of_the_reference_board_cut_anywhere_never_bricks_and_is_finished_afterwards() {
    cut_everywhere(updatable_flash, &[0, 9, 100, 70_000, 1_000_000]);
}

fn cut_everywhere(new: fn() -> TestBoard, pieces: &[usize]) {
    let image = newer();
    let (mut cuts, mut resumed) = (0, 0);
    for after in 0.. {
        let mut finished = false;
        for torn in pieces.iter().copied() {
            let mut meter = reset(new());
            meter.board().storage.cut_after_writes(after, torn);
            carry_on(&mut meter, &image);
            if meter.restart_wanted() {
                let mut board = meter.into_board();
                if board.storage.is_off() {
                    board.storage.power_up();
                }
                // The cut may hit the start code and the trial as well.
                meter = reset(board);
                pass(&mut meter, 12);
            }
            finished = !meter.board().storage.was_cut();
            let mut board = meter.into_board();
            board.storage.power_up();

            // Power is back: whatever starts is whole, keeps the account, and the client goes on where it was.
            let mut meter = reset(board);
            assert!(meter.ledger().balances());
            let at = first_missing(&mut meter);
            resumed += u32::from(at > 0 && at < 5);
            for _ in 0..3 {
                pass(&mut meter, 12);
                carry_on(&mut meter, &image);
                if meter.restart_wanted() {
                    meter = reset(meter.into_board());
                }
            }
            pass(&mut meter, 12);
            let end = (meter.firmware_version(), status(&mut meter));
            assert_eq!(end, (Version(1, 0, 2), Status::ActivationSuccessful), "cut after {after}, {torn}");
            let meter = reset(meter.into_board());
            assert_eq!(meter.firmware_version(), Version(1, 0, 2), "cut after {after}, {torn}");
            cuts += 1;
        }
        if finished {
            break;
        }
    }
    std::println!("{cuts} cuts in a firmware update, {resumed} of them resumed in mid-transfer");
    assert!(cuts > 100 && resumed > 12);
}
