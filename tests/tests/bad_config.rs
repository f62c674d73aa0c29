//! Configurations that are refused: an exact message with its line, exit code 78, and nothing started.

use std::time::Duration;
use tests::{Folder, Process, program};

const HEAD: &str = "\
[api]
listen = \"127.0.0.1:0\"
[store]
path = \"store.db\"
[vault]
master_key_file = \"master.key\"
[price]
currency = \"EUR\"
minor_per_kwh = \"25.34\"
";

const EX_CONFIG: i32 = 78;

/// What follows the head of the file, and the refusal after the file's name.
const REFUSED: &[(&str, &str)] = &[
    ("colour = \"red\"\n", ":10: unknown field `colour`"),
    ("[schedule]\nread_intervall_s = 5\n", ":11: unknown field `read_intervall_s`"),
    (
        "[[line]]\nname = \"a\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:502\"\n\
         [[line]]\nname = \"b\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:502\"\n",
        ":17: address 127.0.0.1:502 already belongs to line \"a\" (line 13); a wire has one owner",
    ),
    (
        "[[line]]\nname = \"a\"\nkind = \"tcp\"\n[[line]]\nname = \"a\"\nkind = \"tcp\"\n",
        ":14: line name \"a\" is already used on line 11",
    ),
    (
        "[[line]]\nname = \"a\"\nkind = \"serial\"\nprotocol = \"modbus-rtu\"\nport = \"/dev/no-such-port\"\n",
        ":14: serial port /dev/no-such-port does not exist",
    ),
    (
        "[[line]]\nname = \"a\"\nkind = \"tcp\"\nbaud = 9600\n",
        ":13: baud belongs to lines of kind serial or serial-over-tcp, this one is tcp",
    ),
];

#[test]
fn a_wrong_configuration_is_refused_with_its_line_and_starts_nothing() {
    for command in ["check-config", "run"] {
        for (rest, message) in REFUSED {
            let folder = Folder::new("config");
            let file = folder.file("gateway.toml", &format!("{HEAD}{rest}"));
            let (code, said) =
                Process::start(program("meter-gateway").arg(command).arg("--config").arg(&file))
                    .finish(Duration::from_secs(20));
            let refusal = format!("meter-gateway: {}{message}", file.display());
            assert!(said.starts_with(&refusal), "{command} should say\n  {refusal}\nand said\n  {said}");
            assert_eq!(code, Some(EX_CONFIG), "{command}: {said}");
            let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the directory is there").collect();
            assert_eq!(left.len(), 1, "{command} left something behind: {left:?}");
        }
    }
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let folder = Folder::new("config");
    let file = folder.path().join("none.toml");
    let (code, said) =
        Process::start(program("meter-gateway").arg("check-config").arg("--config").arg(&file))
            .finish(Duration::from_secs(20));
    assert_eq!(code, Some(EX_CONFIG));
    assert!(said.starts_with(&format!("meter-gateway: {}: cannot be read: ", file.display())), "{said}");
}

#[test]
fn a_wrong_model_file_is_refused_with_its_line_and_starts_nothing() {
    for command in ["check-config", "run"] {
        let folder = Folder::new("models");
        std::fs::create_dir(folder.path().join("models")).expect("a directory");
        folder.file("models/legacy.toml", "protocol = \"dlms\"\ndescription = \"old\"\nclient_sap = 200\n");
        let file = folder.file("gateway.toml", &format!("models = \"models\"\n{HEAD}"));
        let (code, said) = Process::start(program("meter-gateway").arg(command).arg("--config").arg(&file))
            .finish(Duration::from_secs(20));
        assert!(said.starts_with("meter-gateway: legacy.toml:"), "{command}: {said}");
        assert_eq!(code, Some(EX_CONFIG), "{command}: {said}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("the directory is there").collect();
        assert_eq!(left.len(), 2, "{command} left something behind: {left:?}");
    }
}
