//! Other people's Modbus masters at the image's own Modbus line.

use super::READY;
use std::process::Command;
use tests::peers;
use tests::qemu::image;
use tests::{Folder, Process};

/// What `mbpoll` prints as `[17]: 123`. `what` says the kind (0 coil, 1 discrete input, 3 input registers), the first one counted
/// from 1, and how many; a value that follows the line is written.
fn mbpoll(line: &str, what: &[&str], value: Option<&str>) -> Vec<u64> {
    let output = Command::new("mbpoll")
        .args(["-m", "rtu", "-b", "9600", "-P", "none", "-a", "1", "-1", "-o", "10"])
        .args(what)
        .arg(line)
        .args(value)
        .output()
        .expect("mbpoll is installed: run tests/run --install-only");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let values = text.lines().filter(|line| line.starts_with('['));
    values.filter_map(|line| line.split_once(':')?.1.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn qemu_meter_is_read_and_switched_by_mbpoll_and_by_pymodbus_on_its_modbus_line() {
    let folder = Folder::new("qemu-modbus");
    let mut qemu = Process::start(
        Command::new("qemu-system-arm")
            .args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-serial", "null", "-serial", "null", "-serial", "pty", "-kernel"])
            .arg(image("mps2-an386"))
            .current_dir(folder.path()),
    );
    let line = qemu.expect("the emulator's line", READY, |said| {
        Some(said.strip_prefix("char device redirected to ")?.split(' ').next()?.to_owned())
    });
    qemu.expect("the meter to start", READY, |said| said.contains("ready").then_some(()));

    // Input registers 8 to 13: volts, amperes and hertz, in thousandths, two registers each.
    let words = mbpoll(&line, &["-t", "3", "-r", "9", "-c", "6"], None);
    let values: Vec<u64> =
        words.chunks(2).map(|pair| ((pair[0] & 0xFFFF) << 16) | (pair[1] & 0xFFFF)).collect();
    assert_eq!(values, [230_000, 5_000, 50_000]);
    for (value, closed, said) in [("0", 0, "relay open"), ("1", 1, "relay closed")] {
        mbpoll(&line, &["-t", "0", "-r", "1"], Some(value));
        qemu.expect("the relay to move", READY, |text| text.contains(said).then_some(()));
        assert_eq!(mbpoll(&line, &["-t", "1", "-r", "1"], None), [closed]);
    }
    let mut master = Process::start(
        peers::python().arg(peers::script("modbus_client.py")).args(["--serial", &line, "--switch"]),
    );
    master.expect("pymodbus to have switched it", READY, |said| {
        let seen: serde_json::Value = serde_json::from_str(said).ok()?;
        let contact = |word: &str| seen[word]["contact"].as_bool();
        assert_eq!((contact("opened"), contact("closed")), (Some(false), Some(true)), "{said}");
        assert!(seen["read"]["serial"].as_str().is_some_and(|serial| serial.contains("90000001")), "{said}");
        Some(())
    });
}
