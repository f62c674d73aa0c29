//! New firmware over the wire: sent with a power cut in the middle, started, confirmed; and one that is not confirmed.

use super::till::{End, Till};
use super::{READY, start, token};
use protocol::cosem::class::{Nothing, ToData};
use protocol::cosem::image_transfer as class;
use protocol::cosem::image_transfer::{ImageBlock, ImageTransferInitiate, ImageTransferStatus as Status};
use protocol::cosem::obis::IMAGE_TRANSFER;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::qemu::{Qemu, image};
use tests::{Folder, project_root};

const BLOCK: usize = 256;

/// A program signed as version `version` with a key.
fn signed_with(key: &Path, program: &Path, folder: &Folder, version: &str) -> Vec<u8> {
    let out = folder.path().join("new.img");
    let made = Command::new("python3")
        .arg(project_root().join("firmware/sign_image.py"))
        .args([program, &out])
        .args(["--model", "AN386", "--version", version, "--key"])
        .arg(key)
        .output()
        .expect("python3 starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read(out).expect("an image")
}

/// The key whose images the meter takes.
fn right_key() -> PathBuf {
    project_root().join("firmware/images/mps2-an386/test-signing-key.pem")
}

/// The image's own program, signed as another version.
fn signed(elf: &Path, folder: &Folder, version: &str) -> Vec<u8> {
    let program = PathBuf::from(format!("{}.bin", elf.display()));
    signed_with(&right_key(), &program, folder, version)
}

fn begin(home: &mut Till, image: &[u8]) {
    let size = u32::try_from(image.len()).expect("an image fits a bank");
    let begun = ImageTransferInitiate { image_identifier: b"AN386", image_size: size };
    let end = home.invoke(class::IMAGE_TRANSFER_INITIATE.of(IMAGE_TRANSFER), |w| begun.put(w).expect("room"));
    assert!(matches!(end, End::Done(_)), "{end:?}");
}

/// Sends blocks from the first missing one on, at most so many.
fn send(home: &mut Till, image: &[u8], most: usize) -> usize {
    let first = first_missing(home);
    let blocks = image.chunks(BLOCK).enumerate().skip(first).take(most);
    let mut sent = 0;
    for (number, bytes) in blocks {
        let number = u32::try_from(number).expect("a few hundred");
        let block = ImageBlock { image_block_number: number, image_block_value: bytes };
        let end =
            home.invoke(class::IMAGE_BLOCK_TRANSFER.of(IMAGE_TRANSFER), |w| block.put(w).expect("room"));
        assert!(matches!(end, End::Done(_)), "block {number}: {end:?}");
        sent += 1;
    }
    sent
}

fn value(home: &mut Till, at: protocol::dlms::model::Attribute) -> Vec<u8> {
    match home.read(at, None) {
        End::Done(bytes) => bytes,
        End::Failed(why) => panic!("{at:?}: {why}"),
    }
}

fn first_missing(home: &mut Till) -> usize {
    let at = class::IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER;
    let bytes = value(home, at.of(IMAGE_TRANSFER));
    at.decode_bytes(&bytes).expect("a number") as usize
}

fn status(home: &mut Till) -> Status {
    let bytes = value(home, class::IMAGE_TRANSFER_STATUS.of(IMAGE_TRANSFER));
    class::IMAGE_TRANSFER_STATUS.decode_bytes(&bytes).expect("a status")
}

fn verify_and_activate(home: &mut Till) {
    for method in [class::IMAGE_VERIFY, class::IMAGE_ACTIVATE] {
        let end = home.invoke(method.of(IMAGE_TRANSFER), |w| Nothing.put(w).expect("room"));
        assert!(matches!(end, End::Done(_)), "{method:?}: {end:?}");
    }
}

fn expect(qemu: &mut Qemu, text: &str) {
    qemu.process.expect(text, READY, |line| line.contains(text).then_some(()));
}

#[test]
fn qemu_meter_takes_new_firmware_over_a_power_cut_and_goes_back_from_one_that_does_not_confirm_itself() {
    let elf = image("mps2-an386");
    let folder = Folder::new("qemu-update");
    let mut qemu = start(&elf, &folder, "");
    assert!(qemu.process.said().contains("bank A, reset by PowerOn"), "{}", qemu.process.said());
    let new = signed(&elf, &folder, "7.0.0");
    let mut home = Till::manage(qemu.port, 0).expect("an association");
    begin(&mut home, &new);
    assert_eq!(send(&mut home, &new, 200), 200);
    // The plug is pulled in mid-transfer; what had come is there.
    drop(home);
    qemu.process.kill();
    let mut qemu = start(&elf, &folder, "");
    let mut home = Till::manage(qemu.port, 1).expect("an association");
    let rest = send(&mut home, &new, usize::MAX);
    assert_eq!(rest, new.len().div_ceil(BLOCK) - 200, "resumed where it was");
    verify_and_activate(&mut home);
    expect(&mut qemu, "firmware 7.0.0, bank B, reset by Requested");
    expect(&mut qemu, "ready");
    expect(&mut qemu, "event 18,");
    // The emulated line takes one connection after the other.
    drop(home);
    let mut home = Till::manage(qemu.port, 2).expect("an association with the new firmware");
    assert_eq!(status(&mut home), Status::ActivationSuccessful);
    drop(home);
    let mut till = Till::open(qemu.port, 0).expect("an association");
    assert!(matches!(till.enter(&token(0)), End::Done(_)), "the account came along");

    // Another one, into bank A; the plug is pulled before it confirms itself.
    let newer = signed(&elf, &folder, "7.0.1");
    drop(till);
    let mut home = Till::manage(qemu.port, 3).expect("an association");
    begin(&mut home, &newer);
    send(&mut home, &newer, usize::MAX);
    verify_and_activate(&mut home);
    expect(&mut qemu, "firmware 7.0.1, bank A, reset by Requested");
    drop(home);
    qemu.process.kill();
    let mut qemu = start(&elf, &folder, "");
    assert!(qemu.process.said().contains("firmware 7.0.0, bank B"), "{}", qemu.process.said());
    let mut home = Till::manage(qemu.port, 4).expect("an association");
    assert_eq!(status(&mut home), Status::ActivationFailed);
    drop(home);
    let credit = Till::open(qemu.port, 5).expect("an association").credit_wh().expect("credit");
    assert!(credit > super::INITIAL_WH, "{credit} Wh");
    qemu.process.kill();
}

/// Bytes that the start code would never start.
fn small_program(folder: &Folder) -> PathBuf {
    let program = folder.path().join("program.bin");
    std::fs::write(&program, [0x42; 3_000]).expect("a folder of the test's own");
    program
}

/// Sends a small image with the right signature and has it verified; it is not activated.
pub fn transfer_and_verify(home: &mut Till, folder: &Folder) {
    let image = signed_with(&right_key(), &small_program(folder), folder, "7.0.0");
    begin(home, &image);
    send(home, &image, usize::MAX);
    let end = home.invoke(class::IMAGE_VERIFY.of(IMAGE_TRANSFER), |w| Nothing.put(w).expect("room"));
    assert!(matches!(end, End::Done(_)), "{end:?}");
    assert_eq!(status(home), Status::VerificationSuccessful);
}

#[test]
fn qemu_meter_refuses_an_image_that_was_changed_or_signed_by_somebody_else() {
    let folder = Folder::new("qemu-refuse");
    let key = folder.path().join("other.pem");
    let program = small_program(&folder);
    let made = Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(&key)
        .status()
        .expect("openssl starts");
    assert!(made.success());
    let foreign = signed_with(&key, &program, &folder, "7.0.0");
    let right = signed_with(&right_key(), &program, &folder, "7.0.0");
    let mut changed = right.clone();
    *changed.last_mut().expect("a program") ^= 1;

    let mut qemu = start(&image("mps2-an386"), &folder, "");
    let mut home = Till::manage(qemu.port, 0).expect("an association");
    for bad in [foreign, changed] {
        begin(&mut home, &bad);
        send(&mut home, &bad, usize::MAX);
        for method in [class::IMAGE_VERIFY, class::IMAGE_ACTIVATE] {
            let end = home.invoke(method.of(IMAGE_TRANSFER), |w| Nothing.put(w).expect("room"));
            assert!(matches!(end, End::Failed(_)), "{method:?}: {end:?}");
            assert_eq!(status(&mut home), Status::VerificationFailed);
        }
    }
    // The same bytes under the right key: it was the key, and the change, that were refused.
    transfer_and_verify(&mut home, &folder);
    assert!(qemu.process.is_running());
}
