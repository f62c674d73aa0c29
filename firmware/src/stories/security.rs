//! Keys that change, policies that get stricter, and commands that somebody recorded.

use super::wire::{MANAGEMENT, VENDING, Wire, act, secured};
use super::{board, events, personalisation, start};
use crate::Meter;
use crate::objects::client;
use crate::test_board::TestBoard;
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::events::Event;
use protocol::cosem::security_setup::{
    CERTIFICATES, KEY_TRANSFER, KeyId, Policy, SECURITY_ACTIVATE, SECURITY_POLICY, put_key_transfer,
};
use protocol::cosem::{disconnect, obis};
use protocol::dlms::client::Config;
use protocol::dlms::model::ObjectModel;
use protocol::dlms::security::{Key, KeyUsage};
use protocol::dlms::server::Custody;
use protocol::time::Instant;
use std::vec::Vec;

const MASTER: Key = Key::new([0x4D; 16]);
const NEW_UNICAST: Key = Key::new([0xA1; 16]);
const NEW_AUTHENTICATION: Key = Key::new([0xA2; 16]);

/// The parameter of a key transfer.
fn transfer(master: &Key, keys: &[(KeyId, &Key)]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut w = SliceWriter::new(&mut buffer);
    put_key_transfer(&mut w, master, keys).unwrap();
    w.as_slice().to_vec()
}

fn both_keys() -> Vec<u8> {
    transfer(&MASTER, &[(KeyId::Unicast, &NEW_UNICAST), (KeyId::Authentication, &NEW_AUTHENTICATION)])
}

fn key_transfer(meter: &mut Meter<TestBoard>, parameter: &[u8]) -> Result<bool, ActionResult> {
    let method = KEY_TRANSFER.of(obis::SECURITY_SETUP);
    act(meter, MANAGEMENT, method, Data::from_bytes_in(parameter).unwrap())
}

/// Unicast and authentication key in force.
fn keys(meter: &Meter<TestBoard>) -> [Option<Key>; 2] {
    [KeyUsage::GlobalUnicastEncryption, KeyUsage::Authentication].map(|usage| meter.key(0, usage))
}

fn with_new_keys() -> Config {
    Config { encryption_key: Some(NEW_UNICAST), authentication_key: Some(NEW_AUTHENTICATION), ..secured() }
}

#[test]
fn transferred_keys_count_from_the_next_association_and_the_old_ones_no_more() {
    let mut wire = Wire::new(start(board()), u16::from(client::MANAGEMENT), secured(), 1);
    wire.associate().unwrap();
    let parameter = both_keys();
    let method = KEY_TRANSFER.of(obis::SECURITY_SETUP);
    wire.action(method, Data::from_bytes_in(&parameter).unwrap()).unwrap();
    // The open association goes on with the keys it began with, to its end.
    wire.action(disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
    wire.release().unwrap();
    assert!(events(&mut wire.meter).contains(&Event::KeysChanged));

    let mut old = Wire::new(wire.meter, u16::from(client::VENDING), secured(), 100);
    assert!(old.associate().is_err());
    let mut new = Wire::new(start(old.meter.into_board()), u16::from(client::VENDING), with_new_keys(), 200);
    new.associate().unwrap();
    new.action(disconnect::REMOTE_RECONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
}

#[test]
fn keys_change_all_together_or_not_at_all() {
    let mut meter = start(board());
    let before = keys(&meter);
    let stranger = Key::new([0x4E; 16]);
    let mut spoilt = both_keys();
    *spoilt.last_mut().unwrap() ^= 1;
    for wrong in [transfer(&stranger, &[(KeyId::Unicast, &NEW_UNICAST)]), spoilt] {
        assert_eq!(key_transfer(&mut meter, &wrong), Err(ActionResult::OtherReason));
        assert_eq!(keys(&meter), before);
    }
    let method = KEY_TRANSFER.of(obis::SECURITY_SETUP);
    let parameter = both_keys();
    let refused = act(&mut meter, VENDING, method, Data::from_bytes_in(&parameter).unwrap());
    assert_eq!(refused, Err(ActionResult::ReadWriteDenied), "only management changes keys");
    assert!(!events(&mut meter).contains(&Event::KeysChanged));

    assert_eq!(key_transfer(&mut meter, &parameter), Ok(false));
    assert_eq!(keys(&meter), [Some(NEW_UNICAST), Some(NEW_AUTHENTICATION)]);
    let mut meter = start(meter.into_board());
    assert_eq!(keys(&meter), [Some(NEW_UNICAST), Some(NEW_AUTHENTICATION)], "and over a restart");
    assert_eq!(meter.key(0, KeyUsage::GlobalBroadcastEncryption), None);

    // A new master key takes over from the one it came under.
    let master = Key::new([0x5C; 16]);
    assert_eq!(key_transfer(&mut meter, &transfer(&MASTER, &[(KeyId::Master, &master)])), Ok(false));
    let next = Key::new([0xB1; 16]);
    let under_old = transfer(&MASTER, &[(KeyId::Unicast, &next)]);
    assert_eq!(key_transfer(&mut meter, &under_old), Err(ActionResult::OtherReason));
    assert_eq!(key_transfer(&mut meter, &transfer(&master, &[(KeyId::Unicast, &next)])), Ok(false));
    assert_eq!(keys(&meter), [Some(next), Some(NEW_AUTHENTICATION)]);
}

/// Cut at every byte of every write of two key transfers in a row: both keys are the old ones, or both the new ones, and what was
/// told accepted holds.
#[test]
fn a_key_transfer_cut_anywhere_leaves_the_old_keys_or_the_new_ones() {
    let first = both_keys();
    let (unicast, authentication) = (Key::new([0xC1; 16]), Key::new([0xC2; 16]));
    let second = transfer(&MASTER, &[(KeyId::Unicast, &unicast), (KeyId::Authentication, &authentication)]);
    let generations = [
        keys(&start(board())),
        [Some(NEW_UNICAST), Some(NEW_AUTHENTICATION)],
        [Some(unicast.clone()), Some(authentication.clone())],
    ];
    let mut cuts = 0;
    for after in 0.. {
        let mut finished = false;
        for torn in (0..crate::keys::KEY_PLACE_BYTES).chain([100_000]) {
            let mut meter = start(board());
            meter.board().storage.cut_after_writes(after, torn);
            let told = usize::from(key_transfer(&mut meter, &first).is_ok())
                + usize::from(key_transfer(&mut meter, &second).is_ok());
            finished = !meter.board().storage.is_off();
            let mut board = meter.into_board();
            board.storage.power_up();
            let now = Instant::from_millis(board.now_ms);
            let meter = Meter::new(board, personalisation(), now).unwrap();
            let found = generations.iter().position(|generation| *generation == keys(&meter));
            let found = found.unwrap_or_else(|| panic!("half a set after {after} writes and {torn} bytes"));
            assert!(found == told || found == told + 1, "{found}, told {told}: {after} writes, {torn} bytes");
            cuts += 1;
        }
        if finished {
            break;
        }
    }
    std::println!("{cuts} cuts in two key transfers");
    assert!(cuts > 400);
}

#[test]
fn the_policy_is_strengthened_for_good_and_never_weakened() {
    let mut who = personalisation();
    who.options.policy = Policy::AUTHENTICATED;
    let meter = Meter::new(board(), who.clone(), Instant::ZERO).unwrap();
    let authenticated = Config {
        policy: protocol::dlms::security::SecurityPolicy { encrypted: false, ..secured().policy },
        ..secured()
    };
    let mut wire = Wire::new(meter, u16::from(client::MANAGEMENT), authenticated.clone(), 1);
    wire.associate().unwrap();
    let policy = SECURITY_POLICY.of(obis::SECURITY_SETUP);
    let told = wire.get(policy).unwrap();
    assert_eq!(SECURITY_POLICY.decode_bytes(&told).unwrap(), Policy::AUTHENTICATED);
    let activate = SECURITY_ACTIVATE.of(obis::SECURITY_SETUP);
    wire.action(activate, Data::Enum(Policy::BOTH.0)).unwrap();
    // This association ends as it began.
    let told = wire.get(policy).unwrap();
    assert_eq!(SECURITY_POLICY.decode_bytes(&told).unwrap(), Policy::BOTH);
    wire.release().unwrap();

    let mut weak = Wire::new(wire.meter, u16::from(client::MANAGEMENT), authenticated, 100);
    assert!(weak.associate().is_err());
    let meter = Meter::new(weak.meter.into_board(), who, Instant::ZERO).unwrap();
    let mut strong = Wire::new(meter, u16::from(client::MANAGEMENT), secured(), 200);
    strong.associate().unwrap();
    for weaker in [Policy::AUTHENTICATED, Policy::NOTHING, Policy(0xFF)] {
        assert!(strong.action(activate, Data::Enum(weaker.0)).is_err());
    }
    assert_eq!(strong.meter.keys.policy(), Policy::BOTH);
    let refused = act(&mut strong.meter, MANAGEMENT, activate, Data::Unsigned(Policy::BOTH.0));
    assert_eq!(refused, Err(ActionResult::TypeUnmatched));
}

#[test]
fn a_disconnection_recorded_once_is_refused_later_after_a_reconnect_and_after_a_reboot() {
    let mut wire = Wire::new(start(board()), u16::from(client::VENDING), secured(), 1);
    wire.associate().unwrap();
    let off = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    let on = disconnect::REMOTE_RECONNECT.of(obis::DISCONNECT);
    wire.action(off, Data::Integer(0)).unwrap();
    assert!(!wire.meter.board().closed);
    let recorded = wire.sent.last().unwrap().clone();
    let session = wire.sent.clone();
    // Closed again, by hand where the mode arms the relay.
    let close = |wire: &mut Wire| {
        wire.action(on, Data::Integer(0)).unwrap();
        let _ = wire.meter.press_button();
        assert!(wire.meter.board().closed);
    };
    close(&mut wire);
    wire.replay(&recorded);
    assert!(wire.meter.board().closed, "in the same association");

    let mut again = Wire::new(wire.meter, u16::from(client::VENDING), secured(), 100);
    again.replay(&recorded);
    session.iter().for_each(|frame| again.replay(frame));
    assert!(again.meter.board().closed, "on a fresh connection, with the whole session before it");
    again.associate().unwrap();
    again.replay(&recorded);
    assert!(again.meter.board().closed, "in a later association");

    let mut rebooted = Wire::new(start(again.meter.into_board()), u16::from(client::VENDING), secured(), 200);
    session.iter().for_each(|frame| rebooted.replay(frame));
    rebooted.associate().unwrap();
    rebooted.replay(&recorded);
    assert!(rebooted.meter.board().closed, "after a reboot");
    assert!(rebooted.port.refused() > 0);
}

#[test]
fn the_list_of_certificates_is_empty_and_the_other_methods_are_not_granted() {
    let mut meter = start(board());
    let certificates = CERTIFICATES.of(obis::SECURITY_SETUP);
    let mut buffer = [0xA5; 8];
    let mut w = SliceWriter::new(&mut buffer);
    meter.get(MANAGEMENT, certificates, None, 0, &mut w).unwrap();
    assert_eq!(w.as_slice(), [1, 0]);
    for index in 3..=8 {
        let mut method = KEY_TRANSFER.of(obis::SECURITY_SETUP);
        method.index = index;
        assert_eq!(act(&mut meter, MANAGEMENT, method, Data::Enum(0)), Err(ActionResult::ReadWriteDenied));
    }
}

#[test]
fn a_command_is_refused_while_the_counter_it_came_with_cannot_be_stored() {
    let mut wire = Wire::new(start(board()), u16::from(client::VENDING), secured(), 1);
    wire.associate().unwrap();
    let off = disconnect::REMOTE_DISCONNECT.of(obis::DISCONNECT);
    wire.meter.board().storage.cut_after_writes(0, 0);
    assert!(wire.action(off, Data::Integer(0)).is_err());
    let recorded = wire.sent.last().unwrap().clone();
    assert!(wire.meter.board().closed, "nothing was done");
    // The storage works again: the meter still knows what it had heard, and a restart finds the same.
    wire.meter.board().storage.power_up();
    let heard = wire.meter.counters.highest();
    wire.action(off, Data::Integer(0)).unwrap();
    assert!(!wire.meter.board().closed);
    assert!(wire.meter.counters.highest() > heard);
    let _ = wire.meter.press_button();
    let meter = start(wire.meter.into_board());
    let mut later = Wire::new(meter, u16::from(client::VENDING), secured(), 100);
    later.associate().unwrap();
    later.action(disconnect::REMOTE_RECONNECT.of(obis::DISCONNECT), Data::Integer(0)).unwrap();
    let _ = later.meter.press_button();
    later.replay(&recorded);
    assert!(later.meter.board().closed, "what was refused then is not good later");
}
