//! The image for the STM32F405 board in QEMU, which has the processor and none of the parts around it: what a first board
//! on the bench does before anybody has soldered the rest.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
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

#[test]
fn qemu_stm32f405_starts_says_what_it_finds_and_meters_nothing_without_keys_of_its_own() {
    let image = image("stm32f405");
    let port = tests::free_port();
    let bench = format!("tcp:127.0.0.1:{port},server=on,wait=on,nodelay=on");
    let mut qemu = Process::start(
        Command::new("qemu-system-arm")
            .args(["-M", "netduinoplus2", "-display", "none", "-monitor", "none"])
            .args(["-serial", "null", "-serial", "null", "-serial", &bench, "-kernel"])
            .arg(image),
    );
    // It waits for the bench to connect before it starts the processor.
    let stream = (0..600)
        .find_map(|_| {
            std::thread::sleep(Duration::from_millis(100));
            TcpStream::connect(("127.0.0.1", port)).ok()
        })
        .expect("the emulator listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
    let mut says = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut send = stream;

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
