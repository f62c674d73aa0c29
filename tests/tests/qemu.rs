//! The Cortex-M image in QEMU, topped up and switched by the gateway over the emulated UART.

use std::time::Duration;
use tests::qemu::{Qemu, image};
use tests::{Folder, GatewayProcess};

/// An emulator on a busy machine takes its time.
const BOOT: Duration = Duration::from_secs(60);

/// What the meter says first: `meter 01000000016 ready, storage is a file`.
fn serial_of(qemu: &mut Qemu) -> String {
    qemu.process.expect("the image to be ready", BOOT, |line| {
        let rest = line.strip_prefix("meter ")?;
        rest.ends_with("ready, storage is a file").then(|| rest.split(' ').next().map(str::to_owned))?
    })
}

fn credit(gateway: &GatewayProcess, serial: &str) -> i64 {
    gateway.get(&format!("/meters/{serial}"))["balance"]["credit_wh"].as_i64().expect("credit was read")
}

#[test]
fn qemu_image_is_topped_up_and_switched_by_the_gateway_and_forgets_nothing_in_a_power_cut() {
    let (image, storage) = (image("mps2-an386"), Folder::new("qemu"));
    let mut qemu = Qemu::start(&image, &storage);
    let serial = serial_of(&mut qemu);
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &format!("127.0.0.1:{}", qemu.port), "hdlc");
    gateway.until_commissioned(&serial);
    let before = credit(&gateway, &serial);

    let (code, said) = gateway.top_up(&serial, "1000");
    assert_eq!(code, Some(0), "{said}");
    let after = credit(&gateway, &serial);
    // 10.00 at 0.30 a kWh buys 33.3 kWh; the image's load may use a little of it.
    assert!((before + 33_200..=before + 33_300).contains(&after), "credit went from {before} to {after} Wh");

    let said = gateway.must(&["disconnect", &serial, "--reason", "fault"]);
    assert!(said.contains("read back: relay sensed open"), "{said}");
    gateway.must(&["reconnect", &serial]);

    // The plug is pulled; the storage file stays.
    let port = qemu.port;
    qemu.process.kill();
    let mut qemu = Qemu::start_on(&image, &storage, port);
    assert_eq!(serial_of(&mut qemu), serial);
    gateway.must(&["read", &serial]);
    let later = credit(&gateway, &serial);
    assert!(
        (after - 100..=after).contains(&later),
        "credit was {after} Wh before the power cut and {later} after it"
    );
}
