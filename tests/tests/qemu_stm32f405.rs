//! The image for the STM32F405 board in QEMU, which has the processor and none of the parts around it: what a first board
//! on the bench does before anybody has soldered the rest.

use hardware::drivers::sector_banks::STM32F405;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tests::process::{Process, project_root};
use tests::qemu::image;

/// An emulator on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A provisioning record as the bench's script makes it, of the example with one line changed.
fn record(line: &str, instead: &str) -> Vec<u8> {
    let root = project_root();
    let example =
        std::fs::read_to_string(root.join("firmware/images/stm32f405/example.ini")).expect("the example");
    assert!(example.contains(line));
    let folder = tests::Folder::new("provision");
    let ini = folder.path().join("meter.ini");
    std::fs::write(&ini, example.replace(line, instead)).expect("a folder of the test's own");
    let out = Command::new("python3").arg(root.join("firmware/provision.py")).arg(ini).arg("-").output();
    let out = out.expect("python3 starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// The next line that begins so.
fn line(bench: &mut impl BufRead, begins: &str) -> String {
    let mut heard = String::new();
    loop {
        let mut line = String::new();
        bench
            .read_line(&mut line)
            .unwrap_or_else(|error| panic!("{error} waiting for '{begins}' after:\n{heard}"));
        assert!(!line.is_empty(), "the emulator ended before '{begins}', after:\n{heard}");
        if line.starts_with(begins) {
            return line.trim_end().to_owned();
        }
        heard.push_str(&line);
    }
}

/// The program that `build-image` leaves beside the ELF file.
fn program(board: &str) -> PathBuf {
    PathBuf::from(format!("{}.bin", image(board).display()))
}

fn run(command: &mut Command) {
    let out = command.output().expect("the script starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// What the factory writes to the flash: boot loader, program, and bank A with the same program signed with a key that nobody
/// asks for here.
fn factory_flash(folder: &tests::Folder) -> Vec<u8> {
    let root = project_root();
    let [key, signed, flash] = ["key.pem", "signed.img", "flash.bin"].map(|name| folder.path().join(name));
    run(Command::new("openssl")
        .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
        .arg(&key));
    run(Command::new("python3")
        .arg(root.join("firmware/sign_image.py"))
        .args([&program("stm32f405"), &signed])
        .args(["--model", "F405", "--version", "1.0.0", "--key"])
        .arg(&key));
    run(Command::new("python3").arg(root.join("firmware/factory_image.py")).args([
        &program("stm32f405-boot"),
        &signed,
        &flash,
    ]));
    std::fs::read(flash).expect("the script made it")
}

/// An emulator with this flash, and both ends of its bench link.
fn power_up(folder: &tests::Folder, flash: &[u8]) -> (Process, BufReader<TcpStream>, TcpStream) {
    let kernel = folder.path().join("kernel.bin");
    std::fs::write(&kernel, flash).expect("a folder of the test's own");
    let port = tests::free_port();
    let bench = format!("tcp:127.0.0.1:{port},server=on,wait=on,nodelay=on");
    let qemu = Process::start(
        Command::new("qemu-system-arm")
            .args(["-M", "netduinoplus2", "-display", "none", "-monitor", "none"])
            .args(["-serial", "null", "-serial", "null", "-serial", &bench, "-kernel"])
            .arg(kernel),
    );
    // It waits for the bench to connect before it starts the processor.
    let stream = (0..600)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .expect("the emulator listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let says = BufReader::new(stream.try_clone().expect("a second handle"));
    (qemu, says, stream)
}

#[test]
fn qemu_stm32f405_starts_says_what_it_finds_and_meters_nothing_without_keys_of_its_own() {
    let folder = tests::Folder::new("stm32f405");
    let flash = factory_flash(&folder);
    let (mut qemu, mut says, mut send) = power_up(&folder, &flash);
    assert_eq!(line(&mut says, "boot"), "boot: bank A", "the boot loader comes first");
    assert!(line(&mut says, "meter ").ends_with("on stm32f405"));
    // The emulator has no clock tree: the image goes on with the clock that reset left.
    assert_eq!(line(&mut says, "started"), "started by PowerOn, runs on AsReset");
    let found = line(&mut says, "Found");
    assert!(found.contains("front_end: false") && found.contains("memory: false"), "{found}");
    assert!(found.contains("random: false"), "{found}");
    line(&mut says, "not provisioned: meters nothing");

    let published = record("3f8a91c4570be26d18f39ab47c05de62", "000102030405060708090a0b0c0d0e0f");
    send.write_all(&published).expect("the emulator takes bytes");
    assert_eq!(line(&mut says, "refused"), "refused: the key at byte 36 is a published or a trivial one");

    let mut damaged = record("serial = 90000001", "serial = 90000002");
    damaged[40] ^= 1;
    send.write_all(&damaged).expect("the emulator takes bytes");
    assert_eq!(line(&mut says, "refused"), "refused: the provisioning record's check code does not fit");

    // The emulated flash cannot be written; the image finds that out by reading it back.
    send.write_all(&record("serial = 90000001", "serial = 90000003")).expect("the emulator takes bytes");
    assert_eq!(line(&mut says, "refused"), "refused: the flash does not hold it");
    assert!(qemu.is_running());
    qemu.kill();
}

#[test]
fn qemu_stm32f405_boot_loader_starts_what_is_whole_and_nothing_else() {
    let folder = tests::Folder::new("stm32f405-boot");
    let flash = factory_flash(&folder);
    let [run, bank_a] = [STM32F405.run.at as usize, STM32F405.banks[0].at as usize];

    // A program at the place where programs run, and no image: as a debugger leaves it.
    let (mut qemu, mut says, _) = power_up(&folder, &flash[..bank_a]);
    assert_eq!(line(&mut says, "boot"), "boot: no whole image in a bank, goes on as A");
    line(&mut says, "not provisioned");
    qemu.kill();

    // The image in the bank is damaged: what runs goes on.
    let mut damaged = flash.clone();
    damaged[bank_a + 5_000] ^= 1;
    let (mut qemu, mut says, _) = power_up(&folder, &damaged);
    assert_eq!(line(&mut says, "boot"), "boot: no whole image in a bank, goes on as A");
    line(&mut says, "not provisioned");
    qemu.kill();

    // Half a program where programs run: it has to be copied anew, which the emulated flash does not take.
    let mut half = flash.clone();
    half[run + 100_000..bank_a].fill(0xFF);
    let (mut qemu, mut says, _) = power_up(&folder, &half);
    assert_eq!(line(&mut says, "boot"), "boot: the flash takes no program");
    qemu.kill();

    // Nothing but the boot loader.
    let (mut qemu, mut says, _) = power_up(&folder, &flash[..run]);
    assert_eq!(line(&mut says, "boot"), "boot: no program");
    qemu.kill();
}
