//! The vault as its users see it.

use super::ceremony::{CeremonyError, Component, KeyBytes, combine};
use super::*;
use jiff::Timestamp;
use protocol::sts::{KeyType, Management, Service, TableSet};
use std::path::{Path, PathBuf};

/// The vending keys of the published vectors: they protect nothing.
const LONG: &str = "abababababababab949494949494949401234567";
const SHORT: &str = "abababababababab";

/// A directory that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut name = [0u8; 8];
        getrandom::fill(&mut name).unwrap();
        let path = std::env::temp_dir().join(format!("vault-{:016x}", u64::from_ne_bytes(name)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("vault.sealed")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn master() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

fn actor() -> Actor {
    Actor { name: "custodian".into(), at: Timestamp::UNIX_EPOCH }
}

fn import(sgc: u32, krn: u8, key_type: KeyType, key: &str) -> VendingKeyImport {
    VendingKeyImport {
        sgc,
        krn,
        key_type,
        ken: 255,
        expires_at: None,
        utc_offset_minutes: None,
        key: KeyBytes::from_hex(key).unwrap(),
    }
}

fn open(path: &Path) -> SoftVault {
    SoftVault::open_file(path, &master()).unwrap()
}

fn vault(folder: &Folder) -> SoftVault {
    let vault = open(&folder.file());
    vault.import_vending_key(&import(123_457, 1, KeyType::Dutk, LONG), &actor()).unwrap();
    vault
}

fn meter() -> StsIdentity {
    StsIdentity {
        iin: "600727".into(),
        drn: "00000000000".into(),
        sgc: 123_457,
        ti: 1,
        krn: 1,
        kt: 2,
        ken: 255,
        base_year: 1993,
        ea: 11,
    }
}

fn credit(meter: &StsIdentity, tid: u32, units: u32) -> TokenRequest {
    TokenRequest {
        meter: meter.clone(),
        tid,
        action: TokenAction::Credit { service: Service::Electricity, units },
    }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, VaultError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn a_token_of_the_vault_is_one_of_the_sixteen_with_that_content() {
    let folder = Folder::new();
    let vault = vault(&folder);
    let key =
        protocol::sts::DecoderKey::from_bytes(&0xf94b_6ed3_53c3_bfdb_113e_2d3a_7ea3_c41d_u128.to_be_bytes())
            .unwrap();
    let cipher = protocol::sts::TokenCipher::new(&key, &protocol::sts::SAMPLE);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let digits = vault.encode(&credit(&meter(), 5_871_660, 1)).unwrap();
        let number = protocol::sts::TokenNumber::parse(digits.reveal().as_bytes()).unwrap();
        match protocol::sts::Token::decode(number, &cipher).unwrap() {
            protocol::sts::Token::Credit { amount, tid, rnd, .. } => {
                assert_eq!((amount.units(), tid.minutes()), (1, 5_871_660));
                seen.insert(rnd.get());
            }
            other => panic!("{other:?}"),
        }
    }
    // RND comes from the system's generator: 300 draws miss one of sixteen values with probability below 1e-7.
    assert_eq!(seen.len(), 16);
}

#[test]
fn the_file_survives_a_restart_and_opens_only_under_its_master_key() {
    let folder = Folder::new();
    let first = vault(&folder);
    let serial = Serial("00000000000".into());
    let keys = DlmsKeys::new([1; 16], [2; 16]);
    first.set_dlms_keys(&[(serial.clone(), keys.clone())]).unwrap();
    drop(first);
    let again = open(&folder.file());
    let kept = again.dlms_keys(&serial).unwrap();
    assert_eq!((kept.encryption, kept.master), (Some([1; 16].into()), None));
    assert!(again.can_vend(&meter(), 5_000_000).is_ok());
    assert_eq!(again.audit().len(), 2);
    let other = SoftVault::open_file(&folder.file(), &MasterKey::from_bytes([8; 32]));
    assert!(refusal(other).contains("belongs to another key"));
    let mut bytes = std::fs::read(folder.file()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(folder.file(), bytes).unwrap();
    assert!(refusal(SoftVault::open_file(&folder.file(), &master())).contains("damaged"));
}

#[test]
fn nothing_on_disk_or_in_listings_shows_a_key() {
    let folder = Folder::new();
    let vault = vault(&folder);
    let bytes = std::fs::read(folder.file()).unwrap();
    let key: Vec<u8> = (0..20).map(|i| u8::from_str_radix(&LONG[2 * i..2 * i + 2], 16).unwrap()).collect();
    assert!(!bytes.windows(8).any(|window| window == &key[..8] || window == &LONG.as_bytes()[..8]));
    let shown = format!("{vault:?} {:?} {:?}", vault.vending_keys(), vault.audit());
    assert!(!shown.contains("abab") && !shown.contains("9494"));
    assert_eq!(vault.vending_keys()[0].key_type, "DUTK");
}

#[cfg(unix)]
#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(vault(&folder));
    assert_eq!(mode(&folder.file()), 0o600);
    let path = folder.0.join("master.key");
    let source = MasterKeySource::File(path.clone());
    MasterKey::load(&source).unwrap();
    assert_eq!(mode(&path), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(MasterKey::load(&source)).contains("chmod 600"));
}

#[test]
fn a_key_that_another_process_brings_in_is_found_without_a_restart() {
    let folder = Folder::new();
    let service = vault(&folder);
    let other = StsIdentity { sgc: 201_457, base_year: 2014, ..meter() };
    assert!(
        refusal(service.can_vend(&other, 5_000_000))
            .contains("supply group 201457, key revision 1, type DUTK")
    );
    open(&folder.file()).import_vending_key(&import(201_457, 1, KeyType::Dutk, LONG), &actor()).unwrap();
    assert!(service.can_vend(&other, 5_000_000).is_ok());
    // And a write of the first process keeps it.
    service.set_dlms_keys(&[(Serial("1".into()), DlmsKeys::new([1; 16], [2; 16]))]).unwrap();
    assert_eq!(open(&folder.file()).vending_keys().len(), 2);
}

#[test]
fn new_keys_that_another_process_began_are_seen_at_once_whoever_wrote_last() {
    let folder = Folder::new();
    let serial = Serial("00000000000".into());
    let service = vault(&folder);
    let keys = DlmsKeys { master: Some([3; 16].into()), ..DlmsKeys::new([1; 16], [2; 16]) };
    service.set_dlms_keys(&[(serial.clone(), keys)]).unwrap();
    let pending = || service.pending_dlms_keys(&serial).unwrap().map(|keys| keys.mark());
    assert_eq!((pending(), pending()), (None, None), "its own file, unchanged");
    let new = open(&folder.file()).begin_key_rotation(&serial).unwrap();
    assert_eq!((pending(), pending()), (Some(new.mark()), Some(new.mark())));
    open(&folder.file()).finish_key_rotation(&serial).unwrap();
    assert_eq!(pending(), None);
}

#[test]
fn vending_refuses_with_the_reason() {
    let folder = Folder::new();
    let vault = vault(&folder);
    for kt in [0, 1, 3] {
        vault
            .import_vending_key(&import(123_457, 1, KeyType::from_code(kt).unwrap(), LONG), &actor())
            .unwrap();
    }
    let with = |change: &dyn Fn(&mut StsIdentity)| {
        let mut meter = meter();
        change(&mut meter);
        refusal(vault.encode(&credit(&meter, 5_871_660, 1)))
    };
    assert!(with(&|m| m.kt = 0).contains("DITK"));
    assert!(with(&|m| m.kt = 1).contains("DDTK"));
    assert!(with(&|m| m.kt = 3).contains("erasable magnetic cards"));
    assert!(with(&|m| m.krn = 2).contains("no vending key"));
    assert!(with(&|m| m.ken = 85).contains("expired"));
    assert!(with(&|m| m.ea = 9).contains("EA09"));
    assert!(with(&|m| m.ea = 8).contains("no algorithm"));
    assert!(with(&|m| m.drn = "00000000001".into()).contains("check digit"));
    assert!(with(&|m| m.iin = "0000".into()).contains("issuer"));
    assert!(with(&|m| m.base_year = 2000).contains("base date"));
    assert!(refusal(vault.encode(&credit(&meter(), 5_871_660, 0))).contains("nothing"));
    assert!(refusal(vault.encode(&credit(&meter(), 5_871_660, 16_385))).contains("16384"));
    assert!(refusal(vault.encode(&credit(&meter(), 1 << 24, 1))).contains("16777216"));
    assert!(refusal(vault.encode(&credit(&meter(), 1_441, 1))).contains("00:01"));
    // A default key still takes management tokens.
    let clear = TokenRequest {
        meter: StsIdentity { kt: 1, ..meter() },
        tid: 5_871_660,
        action: TokenAction::Management(Management::ClearTamper),
    };
    assert!(vault.encode(&clear).is_ok());
}

#[test]
fn a_key_expires_by_date_and_by_expiry_number_and_its_successor_can_still_be_reached() {
    let folder = Folder::new();
    let vault = open(&folder.file());
    let mut old = import(123_457, 1, KeyType::Dutk, LONG);
    // 5,871,660 minutes after 1993: 2004-03-01T13:00.
    old.expires_at = Some("2004-03-01T13:00:00Z".parse().unwrap());
    vault.import_vending_key(&old, &actor()).unwrap();
    vault.import_vending_key(&import(123_457, 2, KeyType::Dutk, LONG), &actor()).unwrap();
    assert!(vault.encode(&credit(&meter(), 5_871_659, 1)).is_ok());
    assert!(
        refusal(vault.encode(&credit(&meter(), 5_871_660, 1))).contains("not to be used from 2004-03-01")
    );
    vault.retire_vending_key(123_457, 1, KeyType::Dutk, &actor()).unwrap();
    assert!(refusal(vault.encode(&credit(&meter(), 5_871_659, 1))).contains("no vending key"));
    let to = StsIdentity { krn: 2, ..meter() };
    let change = KeyChangeRequest { from: meter(), to, rollover: false, with_supply_group: false };
    assert_eq!(vault.key_change(&change).unwrap().len(), 4);
}

#[test]
fn key_changes_take_two_three_or_four_tokens_and_forbidden_ones_none() {
    let folder = Folder::new();
    let vault = vault(&folder);
    vault.import_vending_key(&import(123_456, 1, KeyType::Dutk, SHORT), &actor()).unwrap();
    let short = StsIdentity { sgc: 123_456, ea: 7, ..meter() };
    let change = |from: &StsIdentity, to: &dyn Fn(&mut StsIdentity), rollover, with_supply_group| {
        let mut new = from.clone();
        to(&mut new);
        vault.key_change(&KeyChangeRequest { from: from.clone(), to: new, rollover, with_supply_group })
    };
    assert_eq!(change(&short, &|m| m.ti = 2, false, false).unwrap().len(), 2);
    assert_eq!(change(&short, &|m| m.ti = 2, false, true).unwrap().len(), 3);
    assert_eq!(change(&meter(), &|m| m.base_year = 2014, true, false).unwrap().len(), 4);
    assert!(refusal(change(&meter(), &|m| m.base_year = 2014, false, false)).contains("RO"));
    assert!(refusal(change(&meter(), &|m| m.ti = 3, true, false)).contains("RO"));
    assert!(refusal(change(&meter(), &|m| m.kt = 0, false, false)).contains("DUTK to DITK"));
    assert!(refusal(change(&meter(), &|m| m.kt = 3, false, false)).contains("DUTK to DCTK"));
    assert!(refusal(change(&meter(), &|m| m.ea = 7, false, false)).contains("algorithm"));
    assert!(refusal(change(&meter(), &|m| m.drn = "11111111115".into(), false, false)).contains("one meter"));
}

#[test]
fn a_support_desk_learns_which_parameter_does_not_fit() {
    let folder = Folder::new();
    let vault = vault(&folder);
    vault.import_vending_key(&import(201_457, 2, KeyType::Dutk, LONG), &actor()).unwrap();
    let neighbour = StsIdentity { drn: "11111111115".into(), ..meter() };
    let explain = |made_for: &dyn Fn(&mut StsIdentity)| {
        let mut other = meter();
        made_for(&mut other);
        let digits = vault.encode(&credit(&other, 5_871_660, 15)).unwrap();
        vault.explain(&meter(), digits.reveal(), std::slice::from_ref(&neighbour)).unwrap()
    };
    let what = || String::from("credit of 1.5 units of Electricity");
    assert_eq!(explain(&|_| ()), Explanation::ForThisMeter { what: what(), tid: Some(5_871_660) });
    assert_eq!(
        explain(&|m| m.ti = 7),
        Explanation::Mismatch {
            differences: vec![Difference::TariffIndex { meter: 1, token: 7 }],
            what: what()
        }
    );
    assert_eq!(
        explain(&|m| *m = neighbour.clone()),
        Explanation::Mismatch {
            differences: vec![Difference::Meter { token: "11111111115".into() }],
            what: what()
        }
    );
    assert_eq!(
        explain(&|m| (m.sgc, m.krn) = (201_457, 2)),
        Explanation::Mismatch {
            differences: vec![
                Difference::SupplyGroup { meter: 123_457, token: 201_457 },
                Difference::KeyRevision { meter: 1, token: 2 }
            ],
            what: what()
        }
    );
    assert_eq!(
        vault.explain(&meter(), "1234", &[]).unwrap().to_string(),
        "not a token: a token has 20 digits, this has 4 characters"
    );
    let any = vault.explain(&meter(), "56493153725450313471", &[]).unwrap();
    assert_eq!(any.to_string(), "a test or display token, for any meter");
}

#[test]
fn tables_come_from_provisioning_and_the_vault_says_which_are_in_use() {
    let folder = Folder::new();
    let vault = vault(&folder);
    assert_eq!(vault.table_set(), TableSet::Sample);
    let s: [u8; 16] = std::array::from_fn(|i| 15 - i as u8);
    let p: [u8; 64] = std::array::from_fn(|i| 63 - i as u8);
    assert!(refusal(vault.load_tables([1; 16], s, &p, &actor())).contains("permutation"));
    vault.load_tables(s, s, &p, &actor()).unwrap();
    assert_eq!(vault.table_set(), TableSet::Loaded);
    assert_eq!(open(&folder.file()).table_set(), TableSet::Loaded);
}

#[test]
fn what_is_sealed_for_one_context_does_not_open_in_another() {
    let folder = Folder::new();
    let vault = vault(&folder);
    let sealed = vault.seal("token 1", b"secret").unwrap();
    assert_eq!(Vault::open(&vault, "token 1", &sealed).unwrap(), b"secret");
    assert!(Vault::open(&vault, "token 2", &sealed).is_err());
    assert!(Vault::open(&vault, "token 1", &sealed[..11]).is_err());
}

#[test]
fn a_key_comes_of_its_components_and_of_nothing_less() {
    let share = |text: &str| {
        let bytes = KeyBytes::from_hex(text).unwrap();
        Component { check_value: bytes.check_value(), bytes }
    };
    // The third is the xor of the first two and the key.
    let (a, b) = ("00112233445566778899aabbccddeeff00112233", "0f0e0d0c0b0a09080706050403020100a1b2c3d4");
    let xor = |x: &str, y: &str| -> String {
        x.bytes()
            .zip(y.bytes())
            .map(|(x, y)| {
                let digit = |c: u8| char::from(c).to_digit(16).unwrap();
                char::from_digit(digit(x) ^ digit(y), 16).unwrap()
            })
            .collect()
    };
    let c = xor(&xor(a, b), LONG);
    let check = KeyBytes::from_hex(LONG).unwrap().check_value();
    let all = [share(a), share(b), share(&c)];
    assert_eq!(combine(&all, &check).unwrap(), KeyBytes::from_hex(LONG).unwrap());
    assert_eq!(combine(&all[..1], &check), Err(CeremonyError::TooFew));
    assert!(matches!(combine(&all[..2], &check), Err(CeremonyError::KeyCheckValue { .. })));
    assert_eq!(combine(&[share(a), share(a)], &check), Err(CeremonyError::Repeated(1, 2)));
    assert_eq!(combine(&[share(a), share(SHORT)], &check), Err(CeremonyError::Lengths));
    let mut mistyped = all.to_vec();
    mistyped[1].bytes = KeyBytes::from_hex("0f0e0d0c0b0a09080706050403020100a1b2c3d5").unwrap();
    assert!(matches!(combine(&mistyped, &check), Err(CeremonyError::CheckValue { number: 2, .. })));
    assert!(KeyBytes::from_hex("abc").is_err() && KeyBytes::from_hex("xx").is_err());
    // Two shares of a DES key whose xor has even parity.
    let even = [share("0101010101010101"), share("0202020202020202")];
    let check = KeyBytes::from_hex("0303030303030303").unwrap().check_value();
    assert!(matches!(combine(&even, &check), Err(CeremonyError::NotAKey(_))));
}

#[test]
fn a_secret_signs_inside_the_vault_and_never_comes_out() {
    const SECRET: &str = "the till's own secret";
    let folder = Folder::new();
    let vault = open(&folder.file());
    assert!(matches!(vault.verify_signature("till", b"m", b""), Err(VaultError::NoKey(_))));
    assert!(refusal(vault.import_secret("till", "short", false, &actor())).contains("16 to 256 bytes"));
    for name in ["", "a b", "../x", &"x".repeat(65)] {
        assert!(refusal(vault.import_secret(name, SECRET, false, &actor())).contains("no name of a secret"));
    }
    // An editor's line end does not belong to it.
    let check_value = vault.import_secret("till", &format!("{SECRET}\n"), false, &actor()).unwrap();
    assert_eq!(check_value.len(), 6);
    // printf '1' | openssl dgst -sha256 -hmac "the till's own secret"
    let tag = unhex(TAG).unwrap();
    assert_eq!(vault.verify_signature("till", b"1", &tag), Ok(true));
    assert_eq!(vault.verify_signature("till", b"2", &tag), Ok(false));
    assert_eq!(vault.verify_signature("till", b"1", &tag[..16]), Ok(false));
    assert!(refusal(vault.import_secret("till", SECRET, false, &actor())).contains("already"));
    let listed = vault.secrets();
    assert_eq!((listed.len(), listed[0].name.as_str(), &listed[0].check_value), (1, "till", &check_value));
    let shown = format!("{listed:?} {vault:?} {:?}", vault.audit());
    assert!(!shown.contains(SECRET) && !shown.contains(&*super::contents::hex(SECRET.as_bytes())));
    let sealed = std::fs::read(folder.file()).unwrap();
    assert!(!sealed.windows(8).any(|window| SECRET.as_bytes().starts_with(window)));

    let reopened = open(&folder.file());
    assert_eq!(reopened.verify_signature("till", b"1", &tag), Ok(true));
    reopened.import_secret("till", "another secret of the till", true, &actor()).unwrap();
    assert_eq!(reopened.verify_signature("till", b"1", &tag), Ok(false));
    reopened.remove_secret("till", &actor()).unwrap();
    assert!(refusal(reopened.remove_secret("till", &actor())).contains("no secret till"));
    let verbs: Vec<String> = reopened.audit().into_iter().map(|entry| entry.action).collect();
    assert_eq!(verbs, ["import", "replace", "remove"]);
}

const TAG: &str = "50355073b5ea20b0441ff9ed5d9652dd768ea545e51e55409039e89975a79a41";

#[test]
fn a_supply_group_keeps_its_offset_and_a_keys_end_is_in_its_time() {
    let folder = Folder::new();
    let vault = open(&folder.file());
    let end: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let first = VendingKeyImport {
        utc_offset_minutes: Some(120),
        expires_at: Some(end),
        ..import(123_457, 1, KeyType::Dutk, LONG)
    };
    let nowhere = VendingKeyImport { utc_offset_minutes: Some(901), ..first.clone() };
    assert!(refusal(vault.import_vending_key(&nowhere, &actor())).contains("no offset from UTC"));
    vault.import_vending_key(&first, &actor()).unwrap();
    let second = import(123_457, 2, KeyType::Dutk, LONG);
    let moved = VendingKeyImport { utc_offset_minutes: Some(60), ..second.clone() };
    assert!(refusal(vault.import_vending_key(&moved, &actor())).contains("another offset would repeat ids"));
    vault.import_vending_key(&second, &actor()).unwrap();
    vault.import_vending_key(&import(201_457, 1, KeyType::Dutk, LONG), &actor()).unwrap();
    let offsets: Vec<i16> = vault.vending_keys().iter().map(|key| key.utc_offset_minutes).collect();
    assert_eq!(offsets, [120, 120, 0]);
    assert_eq!((vault.utc_offset_minutes(123_457), vault.utc_offset_minutes(201_457)), (120, 0));
    // The key ends at midnight UTC, which is 02:00 in the group's time: 12 years and 3 leap days of minutes, and 120.
    let last = (12 * 365 + 3) * 1440 + 119;
    let meter = StsIdentity { base_year: 2014, ..meter() };
    assert_eq!(vault.can_vend(&meter, last), Ok(()));
    let late = refusal(vault.can_vend(&meter, last + 1));
    assert!(late.contains("not to be used from 2026-01-01T00:00:00Z on: import a newer revision"), "{late}");
}

#[test]
fn a_key_rotation_keeps_old_and_new_keys_over_a_restart_until_the_new_ones_are_proved() {
    let folder = Folder::new();
    let serial = Serial("00000000000".into());
    let first = vault(&folder);
    let old = DlmsKeys::new([1; 16], [2; 16]);
    first.set_dlms_keys(&[(serial.clone(), old.clone())]).unwrap();
    assert!(refusal(first.begin_key_rotation(&serial)).contains("no master key"));
    assert!(refusal(first.finish_key_rotation(&serial)).contains("no new DLMS keys"));
    let old = DlmsKeys { master: Some([3; 16].into()), ..old };
    first.set_dlms_keys(&[(serial.clone(), old.clone())]).unwrap();
    let new = first.begin_key_rotation(&serial).unwrap();
    drop(first);
    let again = open(&folder.file());
    assert_eq!(again.dlms_keys(&serial).unwrap().encryption, old.encryption, "the old keys are in force");
    assert_eq!(again.pending_dlms_keys(&serial).unwrap().unwrap().mark(), new.mark());
    assert_eq!(again.begin_key_rotation(&serial).unwrap().mark(), new.mark(), "the meter may have these");
    again.finish_key_rotation(&serial).unwrap();
    drop(again);
    let last = open(&folder.file());
    let kept = last.dlms_keys(&serial).unwrap();
    assert_eq!((kept.mark(), kept.master), (new.mark(), old.master.clone()));
    assert_ne!((new.encryption, new.authentication), (old.encryption, old.authentication));
    assert!(last.pending_dlms_keys(&serial).unwrap().is_none());
}
