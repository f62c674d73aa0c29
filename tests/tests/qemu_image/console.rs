//! What the image's console says in a short life, compared with a file beside this one. To accept a change, run the test with
//! `ACCEPT_CONSOLE=1` in the environment and look at what it wrote.

use super::till::{End, Till};
use super::{READY, start, token};
use std::path::Path;
use tests::Folder;
use tests::qemu::image;

/// Digits where they depend on how long something took: what is left of the credit.
fn normalised(said: &str) -> String {
    let mut out = String::new();
    for line in said.lines() {
        match line.split_once(", now ") {
            Some((before, _)) => out += &format!("{before}, now N Wh"),
            None => out += line,
        }
        out.push('\n');
    }
    out
}

#[test]
fn qemu_console_says_what_it_said_when_somebody_looked() {
    let folder = Folder::new("qemu-console");
    let mut qemu = start(&image("mps2-an386"), &folder, "");
    let mut till = Till::open(qemu.port, 0).expect("an association");
    let good = token(0);
    assert!(matches!(till.enter(&good), End::Done(_)));
    // Delivered, and refused as used; then twenty digits that are no token of this meter.
    assert!(matches!(till.enter(&good), End::Done(_)));
    assert!(matches!(till.enter("12345678901234567890"), End::Done(_)));
    assert!(matches!(till.switch(false), End::Done(_)));
    qemu.process.expect("the relay to open", READY, |line| line.contains("relay open").then_some(()));
    assert!(matches!(till.switch(true), End::Done(_)));
    qemu.process.expect("the relay to close", READY, |line| line.contains("relay closed").then_some(()));
    qemu.process.kill();
    let said = normalised(&qemu.process.said());
    // What came after the last thing that was waited for depends on when the emulator was killed.
    let end = said
        .rfind("relay closed")
        .map_or(said.len(), |at| said[at..].find('\n').map_or(said.len(), |n| at + n + 1));
    let said = &said[..end];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu_image/console.golden");
    if std::env::var_os("ACCEPT_CONSOLE").is_some() {
        std::fs::write(&path, said).expect("the file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the file is kept beside this test");
    assert_eq!(said, golden, "the console says something else than {}", path.display());
}

#[test]
fn qemu_hang_is_ended_by_the_watchdog_and_the_next_start_says_so() {
    let folder = Folder::new("qemu-hang");
    let mut qemu = start(&image("mps2-an386"), &folder, ",arg=meter,arg=meter.nvm,arg=hang");
    qemu.process.expect("the hang", READY, |line| line.contains("hangs").then_some(()));
    qemu.process.expect("the watchdog", READY, |line| line.contains("reset by Watchdog").then_some(()));
    qemu.process.expect("the meter", READY, |line| line.contains("ready").then_some(()));
    let mut till = Till::open(qemu.port, 0).expect("it works again");
    // The newest event: restarted by the watchdog.
    let at = protocol::dlms::model::Attribute {
        class_id: 1,
        logical_name: protocol::cosem::obis::EVENT_CODE,
        index: 2,
    };
    let code = protocol::cosem::events::Event::Watchdog as u8;
    assert_eq!(till.read(at, None), End::Done(vec![17, code]));
}
