//! A model of the STM32F405's program flash (RM0090 rev. 19, 3.3 and 3.6): whole sectors are erased, programming makes zeros of
//! ones and never ones of zeros, and a power cut in the middle leaves anything in the sector or the byte that it hits.

use core::cell::RefCell;
use hardware::drivers::sector_banks::{STM32F405_SECTORS, SectorFlash};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use crate::test_board::{Memory, NoPower, Power};

#[derive(Debug)]
pub struct Flash {
    pub bytes: Vec<u8>,
    /// Times that each sector was erased.
    pub erased: [u32; 12],
    /// Bits that no longer become one: worn cells.
    pub stuck: Option<(usize, u8)>,
    noise: u32,
    power: Rc<RefCell<Power>>,
}

impl Flash {
    /// Blank, on the supply of `memory`.
    pub fn new(memory: &Memory) -> Self {
        let bytes = STM32F405_SECTORS.iter().sum::<u32>() as usize;
        let power = memory.power.clone();
        Self { bytes: vec![0xFF; bytes], erased: [0; 12], stuck: None, noise: 1, power }
    }

    /// Without a byte: what stands in for one that is taken out.
    pub fn empty(of: &Self) -> Self {
        Self { bytes: Vec::new(), erased: [0; 12], stuck: None, noise: 1, power: of.power.clone() }
    }

    /// Puts bytes there as a programmer at the debug connector does.
    pub fn put(&mut self, at: u32, bytes: &[u8]) {
        self.bytes[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn noise(&mut self) -> u8 {
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.noise.to_be_bytes()[0]
    }

    fn wear(&mut self) {
        if let Some((at, bits)) = self.stuck {
            self.bytes[at] &= !bits;
        }
    }
}

impl SectorFlash for Flash {
    type Error = NoPower;

    fn read(&mut self, at: u32, out: &mut [u8]) {
        out.copy_from_slice(&self.bytes[at as usize..][..out.len()]);
    }

    fn erase(&mut self, sector: u8) -> Result<(), NoPower> {
        if self.power.borrow().off {
            return Err(NoPower);
        }
        let sector = usize::from(sector);
        let begin = STM32F405_SECTORS[..sector].iter().sum::<u32>() as usize;
        let size = STM32F405_SECTORS[sector] as usize;
        self.erased[sector] += 1;
        let done = self.power.borrow_mut().spend(size);
        for at in begin..begin + size {
            // Erased in part: the cells are neither one nor zero, and read as either.
            self.bytes[at] = if done == size { 0xFF } else { self.bytes[at] | self.noise() };
        }
        self.wear();
        if self.power.borrow().off { Err(NoPower) } else { Ok(()) }
    }

    fn program(&mut self, at: u32, bytes: &[u8]) -> Result<(), NoPower> {
        let arrived = self.power.borrow_mut().spend(bytes.len());
        for (n, byte) in bytes.iter().enumerate().take(arrived + 1) {
            let torn = n == arrived;
            let kept = if torn { self.noise() } else { 0 };
            if !torn || self.power.borrow().fresh_cut() {
                self.bytes[at as usize + n] &= byte | kept;
            }
        }
        self.wear();
        if self.power.borrow().off { Err(NoPower) } else { Ok(()) }
    }
}
