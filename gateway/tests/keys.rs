//! The key ceremony on the command line, with the software vault and with a hardware token (SoftHSM2).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The vending key of the published vectors, which protects nothing.
const VENDING_KEY: &str = "abababababababab949494949494949401234567";
/// Its first component; the second is the xor of both.
const COMPONENT: &str = "00112233445566778899aabbccddeeff00112233";
const RECORD: &str = r#"{ "pan": "600727000000000009", "sgc": 123457, "ti": 1, "krn": 1, "kt": 2, "base_date": 2014, "ea": 11 }"#;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meter-gateway-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(folder: &Folder, vault: &str) -> PathBuf {
    folder.write(
        "gateway.toml",
        &format!(
            "[api]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"store.db\"\n[vault]\nmaster_key_file = \"master.key\"\n\
             {vault}[price]\ncurrency = \"EUR\"\nminor_per_kwh = \"25.34\"\n"
        ),
    )
}

/// Runs `meter-gateway key ARGS` with `input` on standard input.
fn key(config: &Path, env: &[(&str, &Path)], args: &[&str], input: &str) -> Output {
    run("key", config, env, &[&["--actor", "custodian"], args].concat(), input)
}

/// The same for any subcommand over keys.
fn run(subcommand: &str, config: &Path, env: &[(&str, &Path)], args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_meter-gateway"))
        .args([subcommand, "--config"])
        .arg(config)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child
        .stdin
        .take()
        .expect("standard input is a pipe")
        .write_all(input.as_bytes())
        .expect("it reads its input");
    child.wait_with_output().expect("the program ends")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn xor(a: &str, b: &str) -> String {
    let digit = |c: char| c.to_digit(16).expect("hexadecimal");
    a.chars().zip(b.chars()).map(|(a, b)| format!("{:x}", digit(a) ^ digit(b))).collect()
}

/// The components with their check values, and the key's check value, as the ceremony's papers have them.
fn papers(config: &Path) -> (String, String) {
    let check = |hex: &str| said(&key(config, &[], &["check-value"], hex)).trim().to_owned();
    let second = xor(COMPONENT, VENDING_KEY);
    let input = format!("{} {}\n{second} {}\n", COMPONENT, check(COMPONENT), check(&second));
    (input, check(VENDING_KEY))
}

fn import(config: &Path, env: &[(&str, &Path)], krn: &str) -> Output {
    let (input, check_value) = papers(config);
    key(config, env, &["import", "--sgc", "123457", "--krn", krn, "--check-value", &check_value], &input)
}

#[test]
fn a_ceremony_a_list_a_rotation_and_a_key_change() {
    let folder = Folder::new("ceremony");
    let config = config(&folder, "");
    let (input, check_value) = papers(&config);

    let one = input.lines().next().expect("two lines");
    let args = ["import", "--sgc", "123457", "--krn", "1", "--check-value", &check_value];
    assert!(refused(&key(&config, &[], &args, one)).contains("at least two components"));
    let wrong = ["import", "--sgc", "123457", "--krn", "1", "--check-value", "000000"];
    assert!(refused(&key(&config, &[], &wrong, &input)).contains("the key has the check value"));
    assert_eq!(
        said(&key(&config, &[], &["list", "--json"], "")).trim(),
        "[]",
        "nothing of a failed ceremony is kept"
    );

    assert!(said(&import(&config, &[], "1")).contains(&check_value));
    assert!(refused(&import(&config, &[], "1")).contains("already"));
    let rotate = ["rotate", "--sgc", "123457", "--krn", "1", "--to-krn", "2"];
    assert!(refused(&key(&config, &[], &rotate, "")).contains("import it first"));
    said(&import(&config, &[], "2"));
    said(&key(&config, &[], &rotate, ""));
    let listed = said(&key(&config, &[], &["list"], ""));
    assert!(listed.contains("EA07 tables: SAMPLE"));
    assert!(listed.contains("revision 1, DUTK, DKGA04, expiry number 255, expires never"));
    assert!(listed.contains("retired") && listed.contains("in use"));
    assert!(!listed.contains(&VENDING_KEY[..8]));
    let audit = said(&key(&config, &[], &["list", "--audit"], ""));
    assert_eq!(audit.lines().filter(|line| line.contains("custodian")).count(), 3, "{audit}");

    let record = folder.write("meter.json", RECORD);
    let record = record.to_str().expect("a UTF-8 path");
    let set = said(&key(&config, &[], &["change-set", "--record", record, "--krn", "2"], ""));
    assert_eq!(set.lines().count(), 4);
    assert!(set.lines().all(|token| token.len() == 20 && token.bytes().all(|c| c.is_ascii_digit())));
    assert!(refused(&key(&config, &[], &["change-set", "--record", record], "")).contains("nothing changes"));
    let kind = ["change-set", "--record", record, "--krn", "2", "--kind", "ditk"];
    assert!(refused(&key(&config, &[], &kind, "")).contains("DUTK to DITK"));

    let master = folder.0.join("new.key");
    let master_text = master.to_str().expect("a UTF-8 path");
    said(&key(&config, &[], &["rotate-master", "--new-master-key-file", master_text], ""));
    assert!(!key(&config, &[], &["list"], "").status.success(), "the old master key opens it no more");
    std::fs::rename(&master, folder.0.join("master.key")).expect("the new master key takes its place");
    let again = said(&key(&config, &[], &["change-set", "--record", record, "--krn", "2"], ""));
    assert_eq!(again, set);
}

/// Debian's places of SoftHSM2, or `SOFTHSM2_MODULE`.
#[cfg(feature = "pkcs11")]
fn softhsm() -> PathBuf {
    std::env::var_os("SOFTHSM2_MODULE")
        .map(PathBuf::from)
        .into_iter()
        .chain(
            ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"]
                .map(PathBuf::from),
        )
        .find(|path| path.exists())
        .expect("SoftHSM2 is not installed: apt-get install softhsm2, or set SOFTHSM2_MODULE")
}

#[cfg(feature = "pkcs11")]
#[test]
fn softhsm_derives_the_same_keys_and_never_gives_the_vending_key_out() {
    use std::os::unix::fs::PermissionsExt;
    let module = softhsm();
    let folder = Folder::new("softhsm");
    let tokens = folder.0.join("tokens");
    std::fs::create_dir_all(&tokens).expect("a directory can be made");
    let conf = folder.write("softhsm2.conf", &format!("directories.tokendir = {}\n", tokens.display()));
    let env = [("SOFTHSM2_CONF", conf.as_path())];
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "vending", "--so-pin", "12345678", "--pin", "87654321"])
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .expect("softhsm2-util is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let pin = folder.write("pin", "87654321\n");
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).expect("its mode can be set");
    let config = config(
        &folder,
        &format!(
            "pkcs11_module = \"{}\"\npkcs11_token = \"vending\"\npkcs11_pin_file = \"pin\"\n",
            module.display()
        ),
    );

    said(&import(&config, &env, "1"));
    said(&import(&config, &env, "2"));
    assert!(said(&key(&config, &env, &["list"], "")).contains("in the hardware token"));
    let record = folder.write("meter.json", RECORD);
    let change = ["change-set", "--record", record.to_str().expect("a UTF-8 path"), "--krn", "2"];
    let from_hardware = said(&key(&config, &env, &change, ""));

    // The software vault makes the same tokens of the same key.
    let soft = Folder::new("softhsm-twin");
    let soft_config = self::config(&soft, "");
    said(&import(&soft_config, &[], "1"));
    said(&import(&soft_config, &[], "2"));
    assert_eq!(said(&key(&soft_config, &[], &change, "")), from_hardware);

    // A 64-bit key would have to leave the token to be used, so it is not taken.
    let short = "abababababababab";
    let share = "0123456789abcdef";
    let other = xor(short, share);
    let check = |hex: &str| said(&key(&config, &env, &["check-value"], hex)).trim().to_owned();
    let input = format!("{share} {}\n{other} {}\n", check(share), check(&other));
    let args = ["import", "--sgc", "123456", "--krn", "1", "--check-value", &check(short)];
    assert!(refused(&key(&config, &env, &args, &input)).contains("DKGA02"));

    // Neither the sealed file nor the token's objects hold the key in clear.
    let key_bytes: Vec<u8> = (0..20)
        .map(|i| u8::from_str_radix(&VENDING_KEY[2 * i..2 * i + 2], 16).expect("hexadecimal"))
        .collect();
    let mut seen = 0;
    for directory in [folder.0.clone(), tokens.clone()].into_iter().chain(
        std::fs::read_dir(&tokens)
            .expect("the directory is there")
            .map(|entry| entry.expect("readable").path()),
    ) {
        for entry in std::fs::read_dir(directory).expect("the directory is there") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                seen += 1;
                let content = std::fs::read(&path).expect("readable");
                assert!(!content.windows(20).any(|window| window == key_bytes), "{}", path.display());
            }
        }
    }
    assert!(seen > 5, "the token has files");

    let wrong_pin = folder.write("pin", "00000000\n");
    std::fs::set_permissions(&wrong_pin, std::fs::Permissions::from_mode(0o600))
        .expect("its mode can be set");
    let closed = key(&config, &env, &["list"], "");
    assert!(!closed.status.success());
    assert!(String::from_utf8_lossy(&closed.stderr).contains("hardware token"));
}

#[test]
fn a_secret_is_taken_in_listed_without_it_replaced_and_removed() {
    let folder = Folder::new("secret");
    let config = config(&folder, "");
    let secret = |args: &[&str], input: &str| {
        run("secret", &config, &[], &[&["--actor", "custodian"], args].concat(), input)
    };
    let text = "the till's own secret\n";
    assert!(refused(&secret(&["import", "till"], "short")).contains("16 to 256 bytes"));
    let said_import = said(&secret(&["import", "till"], text));
    assert!(refused(&secret(&["import", "till"], text)).contains("already"));
    said(&secret(&["import", "till", "--replace"], "another secret of the till"));
    let listed = said(&secret(&["list"], ""));
    assert!(listed.starts_with("till, check value "), "{listed}");
    let json = said(&secret(&["list", "--json"], ""));
    for shown in [&said_import, &listed, &json] {
        assert!(!shown.contains("own secret") && !shown.contains("another"), "{shown}");
    }
    said(&secret(&["remove", "till"], ""));
    assert_eq!(said(&secret(&["list", "--json"], "")).trim(), "[]");
    let audit = said(&key(&config, &[], &["list", "--audit"], ""));
    assert_eq!(audit.lines().filter(|line| line.contains("secret till")).count(), 3, "{audit}");
}

#[test]
fn a_backup_is_restored_where_there_is_nothing_and_opens_with_the_master_key_only() {
    let folder = Folder::new("backup");
    let config = config(&folder, "");
    said(&import(&config, &[], "1"));
    let copy = folder.0.join("copy");
    let copy_text = copy.to_str().expect("a UTF-8 path");
    assert!(
        refused(&run("backup", &config, &[], &[copy_text], "")).contains("store.db"),
        "there is no store yet"
    );
    // The gateway's first start would make it.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(gateway::store::Store::open(&folder.0.join("store.db")))
        .map(drop)
        .expect("a new store opens");
    said(&run("backup", &config, &[], &[copy_text], ""));
    assert!(!copy.join("master.key").exists());
    assert!(refused(&run("backup", &config, &[], &[copy_text], "")).contains("exists already"));
    assert!(refused(&run("restore", &config, &[], &[copy_text], "")).contains("move it away"));
    for name in ["vault.sealed", "store.db", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(folder.0.join(name));
    }
    assert!(said(&run("restore", &config, &[], &[copy_text], "")).contains("new system title"));
    assert!(said(&key(&config, &[], &["list"], "")).contains("supply group 123457, revision 1"));
}
