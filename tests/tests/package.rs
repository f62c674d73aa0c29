//! The Debian package: made from the program that is already built, looked into, unpacked, and its program run with its
//! configuration. `tests/install` puts cargo-deb into the build directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tests::process::{project_root, target_directory};
use tests::{Folder, Process, program};

const SOON: Duration = Duration::from_secs(300);

fn must(command: &mut Command) -> String {
    let (code, said) = Process::start(command).finish(SOON);
    assert_eq!(code, Some(0), "{command:?} said:\n{said}");
    said
}

/// Makes the package of the program of this profile.
fn package(folder: &Folder) -> PathBuf {
    let tool = target_directory().join("tools/bin/cargo-deb");
    assert!(tool.exists(), "{} is not installed: tests/install does that", tool.display());
    let built = program("meter-gateway").get_program().to_owned();
    let profile = Path::new(&built).parent().and_then(Path::file_name).expect("target/PROFILE/program");
    let profile = if profile == "debug" { "dev" } else { profile.to_str().expect("text") };
    let to = folder.path().join("meter-gateway.deb");
    must(
        Command::new(tool)
            .current_dir(project_root())
            .args(["--no-build", "--fast", "-Z", "gz", "--profile", profile, "-p", "gateway", "--output"])
            .arg(&to),
    );
    to
}

#[test]
fn deb_the_package_has_what_a_substation_needs_and_its_program_takes_its_configuration() {
    let folder = Folder::new("deb");
    let deb = package(&folder);
    let said = must(Command::new("dpkg-deb").arg("--info").arg(&deb));
    for field in
        ["Package: meter-gateway", "Section: net", "Depends: ", "systemd", "conffiles", "postinst", "postrm"]
    {
        assert!(said.contains(field), "{field} in\n{said}");
    }
    let list = must(Command::new("dpkg-deb").arg("--contents").arg(&deb));
    for (mode, path) in [
        ("-rwxr-xr-x", "./usr/bin/meter-gateway"),
        ("-rw-r-----", "./etc/meter-gateway/gateway.toml"),
        ("-rw-r--r--", "./usr/lib/sysusers.d/meter-gateway.conf"),
        ("-rw-r--r--", "./usr/share/doc/meter-gateway/operation.md"),
        ("-rw-r--r--", "./usr/share/doc/meter-gateway/models/reference-dlms.toml"),
    ] {
        let line = list.lines().find(|line| line.ends_with(&format!(" {path}")));
        let line = line.unwrap_or_else(|| panic!("{path} in\n{list}"));
        assert!(line.starts_with(mode) && line.contains(" 0/0 "), "{line}");
    }
    assert!(list.lines().any(|line| line.ends_with("/meter-gateway.service")), "{list}");
    assert!(
        !list.contains("/var/lib/"),
        "state is made by systemd, and none of it is the package's:\n{list}"
    );

    let (tree, control) = (folder.path().join("tree"), folder.path().join("control"));
    must(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&tree));
    must(Command::new("dpkg-deb").arg("--control").arg(&deb).arg(&control));
    let conffiles = std::fs::read_to_string(control.join("conffiles")).expect("a list");
    assert_eq!(conffiles.trim(), "/etc/meter-gateway/gateway.toml", "dpkg asks before it replaces this");
    for script in ["postinst", "postrm", "prerm"] {
        let text = std::fs::read_to_string(control.join(script)).expect("a script");
        assert!(!text.contains("#DEBHELPER#"), "{script} is filled in:\n{text}");
        must(Command::new("sh").arg("-n").arg(control.join(script)));
    }
    // A purge leaves what is money and keys.
    let purge = std::fs::read_to_string(control.join("postrm")).expect("a script");
    assert!(!purge.contains("/var/lib/meter-gateway"), "{purge}");

    let config = tree.join("etc/meter-gateway/gateway.toml");
    let said = must(
        Command::new(tree.join("usr/bin/meter-gateway")).arg("check-config").arg("--config").arg(config),
    );
    assert!(said.contains("good. 1 lines"), "{said}");
}

#[test]
fn deb_the_unit_is_one_that_systemd_takes_and_it_may_do_little() {
    let folder = Folder::new("unit");
    let unit = project_root().join("gateway/debian/meter-gateway.service");
    // Systemd looks for the program at its place: here it stands elsewhere.
    let program = program("meter-gateway").get_program().to_owned();
    let text = std::fs::read_to_string(&unit).expect("the unit");
    let here = text.replace("/usr/bin/meter-gateway", program.to_str().expect("text"));
    let unit = folder.file("meter-gateway.service", &here);
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        // A machine without systemd: the unit's own words are all there is to look at.
        for word in ["Type=notify", "WatchdogSec=60", "ProtectSystem=strict", "NoNewPrivileges=yes"] {
            assert!(text.lines().any(|line| line == word), "{word}");
        }
        return;
    }
    let (code, said) = Process::start(Command::new("systemd-analyze").arg("verify").arg(&unit)).finish(SOON);
    assert!(!said.contains("meter-gateway.service:"), "{code:?} {said}");
    let said =
        must(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&unit));
    let line = said.lines().find(|line| line.contains("Overall exposure level")).expect("a score");
    let score = line.split_whitespace().rev().nth(2).expect("the score, a word and a face");
    let (whole, tenths) = score.split_once('.').expect("like 1.5");
    let tenths: u32 = whole.parse::<u32>().expect("a number") * 10 + tenths.parse::<u32>().expect("a digit");
    assert!(tenths <= 15, "docs/operation.md says 1.5: {line}");
}
