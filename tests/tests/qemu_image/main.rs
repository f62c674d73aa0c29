//! The Cortex-M image in QEMU: driven by our own client, measured, and killed.

mod console;
mod modbus;
mod optical;
mod till;
mod update;
mod year;

use protocol::sts::{
    AmountCode, BaseDate, DecoderKey, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType,
    MeterPan, Rnd, SAMPLE, Service, SupplyGroup, TariffIndex, Tid, Token, TokenCipher, VendingKey, derive,
};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::process::target_directory;
use tests::qemu::{Qemu, image};
use tests::{Folder, free_port, project_root};
use till::{End, Till};

/// Serial number of the image's meter without manufacturer and check digit (`firmware/images/mps2-an386/src/identity.rs`).
const SERIAL: u32 = 90_000_001;
/// Credit it leaves the factory with.
const INITIAL_WH: i64 = 5_000;
/// What each token is worth: 5 kWh.
const TOKEN_UNITS: u16 = 50;
const TOKEN_WH: i64 = 5_000;
/// The vending key of the published vectors.
const VENDING_KEY: &[u8] =
    b"\xab\xab\xab\xab\xab\xab\xab\xab\x94\x94\x94\x94\x94\x94\x94\x94\x01\x23\x45\x67";
/// Credit consumed while a test looks: far less than a token is worth.
const SLACK_WH: i64 = 1_000;
/// An emulator on a busy machine takes its time.
const READY: Duration = Duration::from_secs(120);

/// The decoder key that the factory gave it.
fn decoder_key() -> (DecoderKey, KeyAttributes) {
    let pan = MeterPan::from_drn(&Drn::from_parts(1, SERIAL).expect("a serial number"));
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(123_457).expect("six digits"),
        tariff_index: TariffIndex::try_from(1).expect("two digits"),
        key_revision: KeyRevision::try_from(1).expect("one digit"),
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let vending = VendingKey::from_bytes(VENDING_KEY).expect("a key");
    (derive(&vending, EncryptionAlgorithm::Ea11, &pan, &attributes).expect("a key for EA11"), attributes)
}

/// The `n`th token for the image's meter.
fn token(n: u32) -> String {
    let (key, _) = decoder_key();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let tid = Tid::at(BaseDate::Year2014, now as i64).expect("after 2014").minutes();
    let tid = Tid::from_minutes(tid + n).expect("before 2045");
    let amount = AmountCode::from_field(TOKEN_UNITS);
    let token = Token::Credit { service: Service::Electricity, amount, rnd: Rnd::new(5), tid };
    let digits = token.encode(&TokenCipher::new(&key, &SAMPLE)).digits();
    String::from_utf8(digits.as_bytes().to_vec()).expect("digits are text")
}

fn start(image: &std::path::Path, folder: &Folder, more: &str) -> Qemu {
    let mut qemu = Qemu::start_with(image, folder, free_port(), more);
    qemu.process.expect("the meter to start", READY, |line| line.contains("ready").then_some(()));
    qemu
}

fn near(credit_wh: i64, expected_wh: i64) -> bool {
    (expected_wh - SLACK_WH..=expected_wh).contains(&credit_wh)
}

#[test]
fn qemu_image_fits_its_memory_with_the_deepest_stack_of_a_whole_story() {
    let folder = Folder::new("qemu-size");
    let mut qemu = start(&image("mps2-an386"), &folder, ",arg=meter,arg=meter.nvm,arg=stack");
    let mut till = Till::open(qemu.port, 0).expect("an association");
    assert!(matches!(till.enter(&token(0)), End::Done(_)));
    assert!(near(till.credit_wh().expect("credit"), INITIAL_WH + TOKEN_WH));
    till.profile_bytes().expect("a profile, if only an empty one");
    assert!(matches!(till.switch(false), End::Done(_)));
    qemu.process.expect("the relay to open", READY, |line| line.contains("relay open").then_some(()));
    assert!(matches!(till.switch(true), End::Done(_)));
    qemu.process.expect("the relay to close", READY, |line| line.contains("relay closed").then_some(()));
    // The check of a signature is deep too.
    drop(till);
    let mut home = Till::manage(qemu.port, 0).expect("an association");
    update::transfer_and_verify(&mut home, &folder);
    // A new life reads its journal back: the other deep place.
    drop(home);
    qemu.process.kill();
    let mut again = start(&image("mps2-an386"), &folder, ",arg=meter,arg=meter.nvm,arg=stack");
    let mut till = Till::open(again.port, 1).expect("an association");
    assert!(near(till.credit_wh().expect("credit"), INITIAL_WH + TOKEN_WH));
    // The report follows the answer, and comes at least once in each life.
    again.process.expect("the stack", READY, |line| line.contains("stack ").then_some(()));
    again.process.kill();

    let said = qemu.process.said() + &again.process.said();
    let depths =
        said.lines().filter_map(|line| line.strip_prefix("stack ")?.split(' ').next()?.parse::<u32>().ok());
    let deepest = depths.max().expect("the image reports its stack");
    // Where tests/run finds it, for its line about the sizes.
    let kept = target_directory().join("deepest-stack");
    std::fs::write(kept, deepest.to_string()).expect("the target directory can be written");
    let size = Command::new(project_root().join("firmware/build-image"))
        .args(["--size", "mps2-an386"])
        .env("STACK", deepest.to_string())
        .output()
        .expect("the script starts");
    let sizes = String::from_utf8_lossy(&size.stdout).into_owned();
    println!("{sizes}");
    assert!(size.status.success(), "{sizes}");
}

/// The next association with the meter, with counters that no other used.
fn open(qemu: &Qemu, visit: &mut u32) -> Till {
    *visit += 1;
    Till::open(qemu.port, *visit).expect("an association")
}

/// Power cuts at random: a token is sent, the emulator is killed some milliseconds later, and the same token is sent again in
/// the next life, as a gateway that got no answer does after asking. Printed: how many kills fell before and after the meter
/// had taken the token.
#[test]
fn qemu_meter_killed_200_times_neither_loses_nor_doubles_a_unit() {
    const KILLS: u32 = 200;
    let image = image("mps2-an386");
    let folder = Folder::new("qemu-kill");
    let (mut taken_before, mut not_taken) = (0, 0);
    let mut visit = 0;
    let mut tokens = 0;
    // A linear congruential sequence (Knuth's constants), the same on each run; where a kill falls depends on the machine too.
    let mut random = 1_u64;
    for kill in 0..KILLS {
        let mut qemu = start(&image, &folder, "");
        let mut till = open(&qemu, &mut visit);
        let before_wh = till.credit_wh().expect("credit");
        assert!(
            before_wh <= INITIAL_WH + tokens * TOKEN_WH,
            "kill {kill}: {before_wh} Wh is more than was ever credited"
        );
        // Made once: its identifier is this minute's, and the next minute's token would be another one.
        let token = token(kill);
        till.send_token(&token);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % 30_000));
        qemu.process.kill();

        let mut qemu = start(&image, &folder, "");
        let mut till = open(&qemu, &mut visit);
        let after_wh = till.credit_wh().expect("credit");
        if near(after_wh, before_wh + TOKEN_WH) {
            taken_before += 1;
        } else {
            assert!(near(after_wh, before_wh), "kill {kill}: {before_wh} Wh became {after_wh} Wh");
            not_taken += 1;
        }
        // Again, as often as one likes: it counts once.
        till.enter(&token);
        till.enter(&token);
        let settled_wh = till.credit_wh().expect("credit");
        assert!(near(settled_wh, before_wh + TOKEN_WH), "kill {kill}: {before_wh} Wh became {settled_wh} Wh");
        tokens += 1;
        qemu.process.kill();
    }
    println!(
        "{KILLS} kills: {taken_before} after the token was taken, {not_taken} before; {tokens} tokens counted once each"
    );
    assert!(taken_before > 0 && not_taken > 0, "the kills all fell on one side");
}
