//! What a token costs the meter, as `firmware/sts-cost` counts it.

use std::process::Command;
use tests::process::project_root;

/// The number that stands before `after` in a line that begins with `line`.
fn figure(said: &str, line: &str, after: &str) -> u32 {
    let line =
        said.lines().find(|text| text.trim_start().starts_with(line)).unwrap_or_else(|| panic!("{said}"));
    let words = line.split(after).next().unwrap_or_default();
    words
        .split_whitespace()
        .next_back()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("{said}"))
}

/// The bounds are a third above what was measured: a second look is due when one is passed.
#[test]
fn qemu_counts_the_instructions_of_one_token_and_the_flash_of_the_part_that_judges_it() {
    let output = Command::new(project_root().join("firmware/sts-cost")).output().expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert_eq!(
        figure(&said, "a loop of 2000000", "\n"),
        2_000_000,
        "the counter counts each instruction once"
    );
    assert!(figure(&said, "EA11:", " instructions") < 4_300, "{said}");
    assert!(figure(&said, "EA07:", " instructions") < 29_500, "{said}");
    assert!(figure(&said, "flash of 8protocol3sts", " bytes of code") < 2_600, "{said}");
}
