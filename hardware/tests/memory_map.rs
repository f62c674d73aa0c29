//! The reference board's memory map is the same wherever it is written down: in the driver, for the linker, for the factory's
//! script, and for people.

use hardware::drivers::sector_banks::{Area, STM32F405};

const IMAGE: &str = include_str!("../../firmware/images/stm32f405/memory.x");
const BOOT: &str = include_str!("../../firmware/images/stm32f405-boot/memory.x");
const FACTORY: &str = include_str!("../../firmware/factory_image.py");
const PAGE: &str = include_str!("../stm32f405.md");
/// Where flash is in the processor's address space.
const FLASH: u32 = 0x0800_0000;

/// Origin and length in KiB of the region of that name.
fn region(script: &str, name: &str) -> (u32, u32) {
    let line = script.lines().find(|line| line.trim_start().starts_with(name)).expect("the region");
    let (origin, length) =
        line.split_once("ORIGIN = 0x").expect("an origin").1.split_once(',').expect("both");
    let length = length.trim().strip_prefix("LENGTH = ").and_then(|text| text.trim().strip_suffix('K'));
    (
        u32::from_str_radix(origin.trim(), 16).expect("hexadecimal"),
        length.and_then(|text| text.parse().ok()).expect("KiB"),
    )
}

#[test]
fn the_linker_puts_the_image_where_programs_run_and_the_boot_loader_into_the_first_sector() {
    let (origin, kib) = region(IMAGE, "FLASH");
    assert_eq!(origin, FLASH + STM32F405.run.at);
    assert!(kib == 192 && kib * 1024 <= STM32F405.run.bytes && kib * 1024 + 128 <= STM32F405.banks[0].bytes);
    assert_eq!(region(BOOT, "FLASH"), (FLASH, 16));
    // The boot loader hands over in the last word of RAM: neither image has it.
    for script in [IMAGE, BOOT] {
        let (origin, kib) = region(script, "RAM");
        assert!(origin == 0x2000_0000 && kib * 1024 < 0x2_0000);
    }
}

#[test]
fn the_factorys_script_puts_programs_and_bank_a_where_the_boot_loader_looks() {
    let number = |name: &str| {
        let hex = FACTORY.split_once(name).expect("the constant").1;
        let hex: String = hex.chars().skip_while(|c| *c != 'x').skip(1).take_while(|c| *c != '\n').collect();
        hex.split(", 0x")
            .map(|hex| u32::from_str_radix(&hex.replace('_', ""), 16).expect("hexadecimal"))
            .collect::<Vec<_>>()
    };
    let (run, a) = (STM32F405.run, STM32F405.banks[0]);
    assert_eq!(number("RUN, BANK_A, BANK_BYTES"), [run.at, a.at, a.bytes]);
    assert_eq!(number("BOOT_BYTES"), [16 * 1024]);
}

#[test]
fn the_page_for_people_says_the_same() {
    let areas: [(Area, &str); 4] = [
        (STM32F405.run, "where programs run"),
        (STM32F405.banks[0], "bank A"),
        (STM32F405.banks[1], "bank B"),
        (STM32F405.provisioning, "provisioning record"),
    ];
    for (area, what) in areas {
        let at = FLASH + area.at;
        let row = format!("| 0x{:04X}_{:04X} | {} KiB | {what}", at >> 16, at & 0xFFFF, area.bytes / 1024);
        assert!(PAGE.contains(&row), "{row}");
        let last = area.first_sector + area.sectors - 1;
        let line = PAGE.lines().find(|line| line.starts_with(&row)).expect("found before");
        assert!(line.contains(&last.to_string()), "{line}");
    }
}
