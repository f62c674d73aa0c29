//! The reference board's flash: banks in sectors, and the boot loader's copy to where programs run.

use super::image::{factory, newer};
use crate::image::boot::{InPlace, Trial, bring_up, recover};
use crate::image::format::HEADER_BYTES;
use crate::test_board::Memory;
use crate::test_flash::Flash;
use hardware::board::{Bank, ImageBanks, RunArea};
use hardware::drivers::sector_banks::{STM32F405, SectorBanks, SectorError};

const RUN: usize = STM32F405.run.at as usize;

/// A board from the factory: its image in bank A and where programs run, something else everywhere else.
fn from_the_factory() -> (Memory, SectorBanks<Flash>) {
    let memory = Memory::new(100_000);
    let mut flash = Flash::new(&memory);
    flash.put(0, &[0xB0; 1_000]);
    flash.put(STM32F405.provisioning.at, &[0x1D; 124]);
    flash.put(STM32F405.banks[0].at, &factory());
    flash.put(STM32F405.run.at, &factory()[HEADER_BYTES..]);
    (memory, SectorBanks::new(flash, &STM32F405, Bank::A))
}

/// The boot record says so, as the meter writes it.
fn wanted(memory: &mut Memory, trial: Trial) {
    let (mut journal, mut record) = recover(memory).unwrap();
    record.trial = trial;
    journal.write(memory, &record).unwrap();
}

fn runs(banks: &mut SectorBanks<Flash>, image: &[u8]) -> bool {
    banks.flash().bytes[RUN..].starts_with(&image[HEADER_BYTES..])
}

#[test]
fn a_bank_is_erased_by_whole_sectors_and_nothing_beside_it_changes() {
    let (_, mut banks) = from_the_factory();
    banks.flash().put(STM32F405.banks[1].at, &[0; 50_000]);
    let before = banks.flash().bytes.clone();
    banks.erase_idle().unwrap();
    assert_eq!(banks.flash().erased, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
    let bank = STM32F405.banks[1].at as usize..(STM32F405.banks[1].at + banks.bank_bytes()) as usize;
    let now = &banks.flash().bytes;
    assert!(now[bank.clone()].iter().all(|byte| *byte == 0xFF));
    assert!(now[..bank.start] == before[..bank.start] && now[bank.end..] == before[bank.end..]);
}

#[test]
fn a_place_takes_the_same_bytes_again_and_no_others_before_it_is_erased() {
    let (_, mut banks) = from_the_factory();
    banks.erase_idle().unwrap();
    banks.write_idle(256, &[0xA5; 256]).unwrap();
    banks.write_idle(256, &[0xA5; 256]).unwrap();
    assert_eq!(banks.write_idle(256, &[0x5A; 256]), Err(SectorError::NotHeld));
    banks.erase_idle().unwrap();
    banks.write_idle(256, &[0x5A; 256]).unwrap();
    let mut held = [0; 256];
    banks.read(Bank::B, 256, &mut held).unwrap();
    assert_eq!(held, [0x5A; 256]);
    for (at, length) in [(banks.bank_bytes(), 1), (banks.bank_bytes() - 1, 2), (u32::MAX, 2)] {
        assert_eq!(banks.write_idle(at, &held[..length]), Err(SectorError::OutOfRange));
        assert_eq!(banks.read(Bank::A, at, &mut [0; 2][..length]), Err(SectorError::OutOfRange));
        assert_eq!(banks.holds(Bank::A, at, length as u32), Err(SectorError::OutOfRange));
    }
}

#[test]
fn a_worn_cell_is_found_when_its_bank_is_erased() {
    let (_, mut banks) = from_the_factory();
    banks.flash().stuck = Some((STM32F405.banks[1].at as usize + 200_000, 0x10));
    assert_eq!(banks.erase_idle(), Err(SectorError::NotHeld));
}

#[test]
fn a_new_program_is_copied_once_and_the_old_one_comes_back_after_its_trial() {
    let (mut memory, mut banks) = from_the_factory();
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Of(Bank::A));
    assert_eq!(banks.flash().erased, [0; 12], "what runs is what the bank holds");
    banks.flash().put(STM32F405.banks[1].at, &newer());
    wanted(&mut memory, Trial::Wanted);
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Of(Bank::B));
    assert!(runs(&mut banks, &newer()));
    assert_eq!(banks.flash().erased[5..7], [1, 1]);
    // It was not confirmed.
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Of(Bank::A));
    assert!(runs(&mut banks, &factory()));
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Of(Bank::A));
    assert_eq!(banks.flash().erased[5..7], [2, 2], "and no sector is erased again");
    assert_eq!(banks.flash().bytes[0], 0xB0, "the boot loader is where it was");
}

#[test]
fn power_cut_at_every_step_of_the_copy_leaves_a_copy_to_be_made_anew() {
    let mut cuts = 0;
    for after in 0.. {
        let mut finished = false;
        for torn in [0, 1, 200, 60_000, 1_000_000] {
            let (mut memory, mut banks) = from_the_factory();
            banks.flash().put(STM32F405.banks[1].at, &newer());
            wanted(&mut memory, Trial::Wanted);
            memory.cut_after_writes(after, torn);
            let placed = bring_up(&mut memory, &mut banks);
            finished = !memory.is_off();
            let program = if runs(&mut banks, &newer()) { newer() } else { factory() };
            if let InPlace::Of(_) = placed {
                assert!(runs(&mut banks, &program), "cut after {after}, {torn}: half a program is started");
            }
            memory.power_up();
            // The next start takes it back from its trial, or tries it if that was not written yet.
            let placed = bring_up(&mut memory, &mut banks);
            let InPlace::Of(bank) = placed else { panic!("cut after {after}, {torn}: {placed:?}") };
            let program = if bank == Bank::A { factory() } else { newer() };
            assert!(runs(&mut banks, &program), "cut after {after}, {torn}");
            cuts += 1;
        }
        if finished {
            break;
        }
    }
    std::println!("{cuts} cuts in the boot loader");
    assert!(cuts > 30);
}

#[test]
fn a_damaged_bank_is_not_started_and_nothing_that_nobody_verified_in_its_place() {
    // The one on trial is damaged: the confirmed one goes on.
    let (mut memory, mut banks) = from_the_factory();
    let mut damaged = newer();
    *damaged.last_mut().unwrap() ^= 1;
    banks.flash().put(STM32F405.banks[1].at, &damaged);
    wanted(&mut memory, Trial::Wanted);
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Of(Bank::A));
    assert!(runs(&mut banks, &factory()));

    // The confirmed one is damaged, and another one lies there that was only transferred: what runs goes on.
    let (mut memory, mut banks) = from_the_factory();
    banks.flash().put(STM32F405.banks[1].at, &newer());
    banks.flash().bytes[STM32F405.banks[0].at as usize + HEADER_BYTES + 5] ^= 1;
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::AsBefore(Bank::A));
    assert!(runs(&mut banks, &factory()));

    // No image anywhere: a program that was put where programs run, without banks.
    let memory_of_none = &mut Memory::new(100_000);
    let mut bare = SectorBanks::new(Flash::new(memory_of_none), &STM32F405, Bank::A);
    assert_eq!(bring_up(memory_of_none, &mut bare), InPlace::AsBefore(Bank::A));
}

#[test]
fn a_flash_that_no_longer_takes_the_copy_starts_nothing_that_is_half() {
    let (mut memory, mut banks) = from_the_factory();
    banks.flash().put(STM32F405.banks[1].at, &newer());
    banks.flash().stuck = Some((RUN + 70, 0xFF));
    wanted(&mut memory, Trial::Wanted);
    assert_eq!(bring_up(&mut memory, &mut banks), InPlace::Nothing);
}
