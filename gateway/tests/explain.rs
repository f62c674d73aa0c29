//! Captures of real meters, as published; origins in data/explain/README.md.
#![expect(clippy::unwrap_used, reason = "a capture that cannot be read fails the test")]

use gateway::explain::{Explanation, Keys, Node, Space, explain, read_input};

macro_rules! capture {
    ($name:literal) => {
        include_bytes!(concat!("data/explain/", $name, ".log"))
    };
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn keys(encryption: &str, authentication: &str) -> Keys {
    let key = |text: &str| Some(hex(text)).filter(|key| !key.is_empty());
    Keys { encryption: key(encryption), authentication: key(authentication), ..Keys::default() }
}

fn explained(input: &[u8], keys: Keys) -> Explanation {
    explain(&read_input(input).unwrap(), keys)
}

/// All lines of a whole explanation without its offsets.
fn lines(explanation: &Explanation) -> Vec<String> {
    fn walk(node: &Node, into: &mut Vec<String>) {
        into.push(format!("{}: {}", node.label, node.value));
        node.children.iter().for_each(|child| walk(child, into));
    }
    let mut all = Vec::new();
    explanation.streams.iter().for_each(|stream| walk(stream, &mut all));
    all
}

/// Nothing is broken, and each of these is said somewhere.
fn says(input: &[u8], keys: Keys, expected: &[&str]) {
    let explanation = explained(input, keys);
    let lines = lines(&explanation);
    assert!(explanation.broken.is_empty(), "{:?}\n{}", explanation.broken, lines.join("\n"));
    for text in expected {
        assert!(
            lines.iter().any(|line| line.contains(text)),
            "{text:?} is not said in\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn an_am550_sends_one_notification_in_three_hdlc_segments() {
    says(
        capture!("iskra-am550"),
        Keys::default(),
        &[
            "APDU: DataNotification",
            "date-time: 2023-04-01 Saturday 21:32:35 UTC+02:00 [DST]",
            "0-0:96.1.0*255 (device identifier 1 (serial number)): 3834383935313236 \"84895126\"",
            "1-0:1.8.0*255 (active import energy): 261927 (double-long-unsigned) = 261927 Wh",
            "1-0:32.7.0*255 (voltage L1, instantaneous): 2364 (long-unsigned) = 236.4 V",
            "1-0:51.7.0*255 (current L2, instantaneous): 89 (long-unsigned) = 0.89 A",
            "1-0:2.8.2*255 (active export energy, rate 2): 13185 (double-long-unsigned) = 13185 Wh",
        ],
    );
}

#[test]
fn an_omnipower_is_deciphered_and_verified() {
    let both = keys("00112233445566778899AABBCCDDEEFF", "FFEEDDCCBBAA99887766554433221100");
    let expected = [
        "system-title: 4B414D4501349083 (KAM)",
        "verified",
        "\"Kamstrup_V0001\"",
        "1-1:1.8.0*255 (active import energy): 6307498",
        "1-1:61.8.0*255 (active import L3 energy): 2687644",
        "2026-03-12",
    ];
    says(capture!("kamstrup-omnipower"), both, &expected);
    let alone = keys("00112233445566778899AABBCCDDEEFF", "");
    says(capture!("kamstrup-omnipower"), alone, &["deciphered, not verified", "6307498"]);
    says(capture!("kamstrup-omnipower"), Keys::default(), &["no key given"]);
    let wrong = keys("00112233445566778899AABBCCDDEEFE", "FFEEDDCCBBAA99887766554433221100");
    let explanation = explained(capture!("kamstrup-omnipower"), wrong);
    assert!(explanation.broken[0].2.contains("tag does not verify"), "{:?}", explanation.broken);
}

#[test]
fn an_e450_sends_general_blocks_over_hdlc() {
    says(
        capture!("landis-gyr-e450"),
        keys("5C316162209EBB790B52EB0E7FC5B11C", ""),
        &[
            "block control: last block, streaming, window 0",
            "2022-02-21",
            "1-0:1.8.0*255 (active import energy): 4408736",
            "1-0:4.8.2*255 (reactive export (Q3+Q4) energy, rate 2): 528522",
        ],
    );
    let both = keys("5FDE26FE7A1A36B6E1C0BA048FA9A023", "7DA42A44E00BD0AF5E1A911E3CCA64FD");
    says(capture!("landis-gyr-e450-2"), both, &["verified", "1-0:1.8.0*255 (active import energy)"]);
}

#[test]
fn a_list_of_objects_at_the_start_names_the_values() {
    says(
        capture!("landis-gyr-e450-cyprus"),
        Keys::default(),
        &[
            "[1] 0-0:1.0.0*255 (clock) Clock.time [2]: 2026-06-08 Monday 18:46:04",
            "[2] 1-0:21.7.0*255 (active import L1 power, instantaneous) Register.value [2]: 73",
            "[16] 1-0:32.7.0*255 (voltage L1, instantaneous) Register.value [2]: 238",
        ],
    );
    says(
        capture!("energomera"),
        Keys::default(),
        &["[3] 0-0:96.1.0*255 (device identifier 1 (serial number)) Data.value [2]"],
    );
}

#[test]
fn norwegian_meters_push_hdlc_in_clear() {
    says(capture!("aidon-1phase"), Keys::default(), &["\"AIDON_V0001\"", "= 1362 W", "= 9.3 A", "= 250.0 V"]);
    says(
        capture!("aidon-3phase"),
        Keys::default(),
        &["(active import energy): 10049926 (double-long-unsigned) = 10049926 Wh", "2019-12-16"],
    );
    says(
        capture!("kaifa-han"),
        Keys::default(),
        &[
            "date-time: 2017-09-12 Tuesday 23:18:42 (with a data tag that does not belong here)",
            "[0]: 1320",
            "\"KFM_001\"",
        ],
    );
    says(
        capture!("kamstrup-sweden"),
        Keys::default(),
        &["(active import energy): 32014158", "\"5706567331323526\""],
    );
}

#[test]
fn a_kaifa_sends_two_mbus_frames_of_one_ciphered_apdu() {
    says(
        capture!("kaifa-ma309-evn"),
        keys("36C66639E48A8CA4D6BC8B282A793BBB", ""),
        &[
            "control information: DLMS transport, segment 0, more follow",
            "system-title: 4B464D6750000009 (KFM)",
            "date-time: 2021-09-27 Monday 09:47:15 UTC+02:00 [DST]",
            "(active import energy): 12937 (double-long-unsigned) = 12937 Wh",
            "(voltage L1, instantaneous): 2337 (long-unsigned) = 233.7 V",
        ],
    );
    says(capture!("kaifa-ma309m"), Keys::default(), &["other transport addresses", "no key given"]);
    says(capture!("esys-kmswest"), Keys::default(), &["no key given"]);
}

#[test]
fn a_t210_sends_a_frame_whose_length_ran_over_its_byte() {
    says(
        capture!("sagemcom-t210d"),
        Keys::default(),
        &[
            "M-Bus frame: 257 bytes",
            "start: length 1, twice, which means 257: it ran over",
            "segment 1: 8 bytes, 260 so far",
            "system-title: 5341475905EADB83 (SAG)",
            "invocation-counter: 26569",
            "no key given",
        ],
    );
}

#[test]
fn an_am550_in_slovenia_is_read_from_the_log_of_its_reader() {
    says(
        capture!("iskra-am550-slovenia"),
        Keys::default(),
        &[
            "date-time: 2024-05-07 Tuesday 21:11:23 UTC+02:00 [DST]",
            "0-6:25.9.0*255 (push setup)",
            "[1]: 31313231333738333831313939 \"1121378381199\"",
            "[4]: 14370048 (double-long-unsigned)",
        ],
    );
}

#[test]
fn an_aidon_6540_is_found_in_a_line_of_prose() {
    says(
        capture!("aidon-6540"),
        Keys::default(),
        &["\"7359992902081206\"", "= 17 W", "= 15 var", "= 237.2 V", "= 237.9 V"],
    );
}

#[test]
fn bare_apdus_need_no_framing() {
    says(
        capture!("sagemcom-xt211"),
        Keys::default(),
        &[
            "0-0:96.1.1*255 (device identifier 2 (meter type)) Data.value [2]: 35313030303035313439 \"5100005149\"",
            "1-0:1.8.0*255 (active import energy) Register.value [2]: 4913794",
        ],
    );
    says(capture!("egd-example"), Keys::default(), &["Data.value [2]: 454744303132333435 \"EGD012345\""]);
    says(capture!("salzburg-netz"), Keys::default(), &["= 229.2 V", "= 1327456 Wh"]);
}

#[test]
fn a_damaged_capture_says_where_it_breaks_and_shows_what_came_before() {
    let explanation = explained(capture!("landis-gyr-zmf100"), Keys::default());
    let broken: Vec<_> = explanation.broken.iter().map(|(_, offset, why)| (*offset, why.as_str())).collect();
    assert_eq!(
        broken,
        [(0xB2, "07 is no data tag"), (0x189, "frame check sequence is 455A, the bytes give 38B9")]
    );
    assert!(lines(&explanation).iter().any(|line| line.contains("= 560 W")));
}

#[test]
fn every_cut_of_a_capture_is_broken_at_its_end_and_never_panics() {
    let whole = read_input(capture!("iskra-am550")).unwrap();
    for cut in 1..whole[0].bytes.len() {
        let mut stream = whole[0].clone();
        stream.bytes.truncate(cut);
        let explanation = explain(&[stream], Keys::default());
        // A cut between frames leaves no broken frame, but an APDU without its end.
        let last = explanation.broken.last().unwrap_or_else(|| panic!("cut at {cut} goes unnoticed"));
        assert!(last.1 <= cut, "cut at {cut}: {last:?}");
    }
}

#[test]
fn a_flipped_byte_is_found_in_its_frame() {
    let whole = read_input(capture!("aidon-1phase")).unwrap();
    let length = whole[0].bytes.len();
    for at in 0..length {
        let mut stream = whole[0].clone();
        stream.bytes[at] ^= 0x10;
        let explanation = explain(&[stream], Keys::default());
        assert!(!explanation.broken.is_empty(), "byte {at} of {length}");
    }
}

#[test]
fn a_session_is_explained_by_its_questions() {
    let text = "TX: 00 01 00 10 00 01 00 0D C0 01 C1 00 03 01 00 01 08 00 FF 03 00
                RX: 00 01 00 01 00 10 00 0A C4 01 C1 00 02 02 0F FF 16 1E
                TX: 00 01 00 10 00 01 00 0D C0 01 C1 00 03 01 00 01 08 00 FF 02 00
                RX: 00 01 00 01 00 10 00 09 C4 01 C1 00 06 00 00 30 39
                TX: 00 01 00 10 00 01 00 0D C0 01 C1 00 03 01 00 09 08 00 FF 02 00
                RX: 00 01 00 01 00 10 00 05 C4 01 C1 01 04";
    says(
        text.as_bytes(),
        Keys::default(),
        &[
            "attribute: 1-0:1.8.0*255 (active import energy) Register.value [2]",
            "result 1-0:1.8.0*255 (active import energy) Register.value [2]: 12345 (double-long-unsigned) = 1234.5 Wh",
            "result data-access-result: 4: object-undefined",
        ],
    );
}

#[test]
fn the_green_books_ciphered_get_is_opened_with_its_keys() {
    let keys = Keys {
        system_title: Some(*b"MMM\x00\x00\xBC\x61\x4E"),
        ..keys("000102030405060708090A0B0C0D0E0F", "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
    };
    let frame = b"C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B";
    says(frame, keys, &["glo-GET-Request", "verified", "attribute: 0-0:1.0.0*255 (clock) Clock.time [2]"]);
}

#[test]
fn the_published_association_example_is_read_field_by_field() {
    let aarq =
        "7EA02E0002002321107ECBE6E600601DA109060760857405080101BE10040E01000000065F1F040000301DFFFFD4C57E";
    says(
        aarq.as_bytes(),
        Keys::default(),
        &[
            "HDLC frame: 16 -> 1/17, I N(S)=0 N(R)=0 P/F",
            "application-context-name: 60857405080101 (logical names, no ciphering)",
            "conformance: 00301D: attribute0-get, block-transfer-get-or-read, get, set, selective-access, action",
            "client-max-receive-pdu-size: 65535",
        ],
    );
}

#[test]
fn a_capture_file_of_the_wrapper_port_is_followed_both_ways() {
    // Ethernet, IPv4, TCP; the request cut in two segments that arrive in the wrong order.
    let segment = |source: u16, destination: u16, sequence: u32, payload: &[u8]| {
        let mut packet = vec![0; 12];
        packet.extend([8, 0, 0x45, 0]);
        packet.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 1, 0, 1]);
        packet.extend(source.to_be_bytes());
        packet.extend(destination.to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    };
    let request = hex("000100100001000DC001C100030100010800FF0300");
    let answer = hex("000100010010000AC401C10002020FFF161E");
    let packets = [
        segment(50000, 4059, 1000, &request[..5]),
        segment(50000, 4059, 1010, &request[10..]),
        segment(50000, 4059, 1005, &request[5..10]),
        segment(50000, 4059, 1005, &request[5..10]),
        segment(4059, 50000, 77, &answer),
        segment(443, 50001, 1, b"something else"),
    ];
    let mut file = hex("D4C3B2A1020004000000000000000000FFFF000001000000");
    for packet in packets {
        file.extend([0; 8]);
        file.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
        file.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
        file.extend(packet);
    }
    says(
        &file,
        Keys::default(),
        &[
            "TCP 127.0.0.1:50000 -> 127.1.0.1:4059: 21 bytes",
            "attribute: 1-0:1.8.0*255 (active import energy) Register.scaler_unit [3]",
            "Register.scaler_unit [3]: structure of 2: x 10^-1 Wh",
        ],
    );
}

#[test]
fn a_wrong_length_is_named_with_its_offset_in_every_framing() {
    for (input, offset, why) in [
        ("00010010000100FFC001C1", 11, "the header says 255 bytes of APDU, 252 of them are missing"),
        ("68050568530001020316", 9, "checksum is 16, the bytes give 59"),
        ("7EA00A000200232193187A7E", 9, "frame check sequence is 187A, the bytes give 1871"),
        (
            "7EA00B00020023219318717E",
            12,
            "the input ends inside the frame: its length says 11 bytes and a flag, 11 are there",
        ),
        ("C001C10003010001", 8, "the bytes end inside the logical name: 6 needed, 3 there"),
        ("FF", 0, "1 byte belongs to no frame and begins no APDU"),
    ] {
        let explanation = explained(input.as_bytes(), Keys::default());
        assert!(
            explanation.broken.contains(&(Space::Input, offset, why.to_owned())),
            "{input}: {:?}",
            explanation.broken
        );
    }
}
