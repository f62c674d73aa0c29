//! What of an image transfer must survive, and the meter's side of it.

use hardware::board::{Bank, Board, Health, ImageBanks};
use heapless::Vec;
use protocol::codec::axdr::Data;
use protocol::codec::xdlms::ActionResult;
use protocol::cosem::FromData;
use protocol::cosem::events::Event;
use protocol::cosem::image_transfer::ImageTransferStatus as Status;
use serde::{Deserialize, Serialize};

use super::Trust;
use super::boot::{self, BootJournal, BootRecord, Outcome, Trial};
use super::format::{self, HEADER_BYTES, Header, Version};
use crate::journal::{Journal, JournalError};
use crate::layout::Layout;
use crate::meter::Meter;

/// Bytes of a block: with its envelope it fits the smallest APDU in use (a port takes 512 bytes).
pub(crate) const BLOCK_BYTES: u32 = 256;
/// Blocks of the largest image: 256 KiB.
const BLOCKS_MAX: u32 = 1_024;
/// One bit for each.
const BITMAP_BYTES: usize = 128;
/// Bytes of an image's name, at most; a bound of ours.
const NAME_MAX: usize = 32;
/// Bytes of one place of the transfer's journal.
pub(crate) const TRANSFER_PLACE_BYTES: usize = 192;
/// Samples that have to succeed before a new image confirms itself: metering, storage and calendar have worked by then.
const CONFIRM_SAMPLES: u8 = 10;

/// The transfer's journal record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// What the client calls the image.
    pub name: Vec<u8, NAME_MAX>,
    /// Bytes of it.
    pub size: u32,
    /// [`Status`] on the wire.
    status: u8,
    /// A bit for each block that is in the bank; block 0 is the top bit of byte 0.
    blocks: Vec<u8, BITMAP_BYTES>,
}

impl Transfer {
    pub(crate) fn begin(name: &[u8], size: u32) -> Option<Self> {
        let mut transfer = Self {
            name: Vec::from_slice(name).ok()?,
            size,
            status: Status::Initiated as u8,
            blocks: Vec::new(),
        };
        let bytes = transfer.count().div_ceil(8) as usize; // at most 128
        transfer.blocks.resize(bytes, 0).ok()?;
        Some(transfer)
    }

    pub(crate) fn status(&self) -> Status {
        Status::from_data(Data::Enum(self.status)).unwrap_or(Status::NotInitiated)
    }

    /// Blocks of the image.
    pub(crate) const fn count(&self) -> u32 {
        self.size.div_ceil(BLOCK_BYTES)
    }

    pub(crate) fn bitmap(&self) -> &[u8] {
        &self.blocks
    }

    fn has(&self, number: u32) -> bool {
        let byte = self.blocks.get((number / 8) as usize).copied().unwrap_or(0);
        byte & (0x80 >> (number % 8)) != 0
    }

    fn mark(&mut self, number: u32) {
        if let Some(byte) = self.blocks.get_mut((number / 8) as usize) {
            *byte |= 0x80 >> (number % 8);
        }
    }

    /// The first block that has not come; the number of blocks when all have.
    pub(crate) fn first_missing(&self) -> u32 {
        (0..self.count()).find(|n| !self.has(*n)).unwrap_or(self.count())
    }

    fn block_len(&self, number: u32) -> Option<u32> {
        let from = number.checked_mul(BLOCK_BYTES)?;
        let left = self.size.checked_sub(from)?;
        (left > 0).then_some(left.min(BLOCK_BYTES))
    }
}

/// Everything about new firmware that the meter holds.
#[derive(Debug)]
pub(crate) struct Update {
    pub transfer: Transfer,
    journal: Journal<Transfer, TRANSFER_PLACE_BYTES>,
    boot: BootRecord,
    boot_journal: BootJournal,
    /// The image that runs is on trial: samples that have succeeded so far.
    trial: Option<u8>,
    /// What runs.
    pub version: Version,
    /// The processor has to be reset.
    restart: bool,
}

impl Update {
    pub(crate) fn recover<B: Board>(board: &mut B, layout: &Layout) -> Result<Self, JournalError> {
        let (journal, transfer) =
            Journal::recover(board.storage(), layout.transfer_base, Layout::TRANSFER_PLACES)?;
        let (boot_journal, boot) = boot::recover(board.storage())?;
        let (mut version, mut running) = (Version::built(), None);
        if let Some(banks) = board.images() {
            let bank = banks.running();
            running = Some(bank);
            // What the factory put there has no header.
            if let Ok(header) = format::header_of(banks, bank) {
                version = header.version;
            }
        }
        let on_trial = boot.trial == Trial::Started && running == Some(boot.confirmed().other());
        Ok(Self {
            transfer: transfer.unwrap_or_default(),
            journal,
            boot,
            boot_journal,
            trial: on_trial.then_some(0),
            version,
            restart: false,
        })
    }
}

impl<B: Board> Meter<B> {
    /// The processor has to be reset, as soon as what waits to be sent is out: a new image was activated.
    #[must_use]
    pub const fn restart_wanted(&self) -> bool {
        self.update.restart
    }

    /// The version of the image that runs.
    #[must_use]
    pub const fn firmware_version(&self) -> Version {
        self.update.version
    }

    /// Whether this meter takes images: the board has banks, and somebody's signature counts.
    pub(crate) fn takes_images(&mut self) -> bool {
        self.who.options.images.is_some() && self.board.images().is_some()
    }

    fn trust(&mut self) -> Result<Trust, ActionResult> {
        let allowed = self.takes_images();
        self.who.options.images.filter(|_| allowed).ok_or(ActionResult::ReadWriteDenied)
    }

    fn banks(&mut self) -> Result<&mut B::Images, ActionResult> {
        self.board.images().ok_or(ActionResult::ReadWriteDenied)
    }

    /// Brings the transfer's status to what the boot record says happened since. Called once at start.
    pub(crate) fn settle_update(&mut self) {
        if self.update.transfer.status() != Status::ActivationInitiated || self.update.trial.is_some() {
            return;
        }
        let status = match self.update.boot.outcome {
            Outcome::Confirmed => Status::ActivationSuccessful,
            Outcome::RolledBack => {
                self.note(Event::FirmwareRolledBack, self.update.version.detail());
                Status::ActivationFailed
            }
            // Cut before the boot record was written: nothing was tried.
            Outcome::None => Status::VerificationSuccessful,
        };
        if self.update.boot.trial == Trial::None {
            let _ = self.set_transfer_status(status);
        }
    }

    /// Counts the samples of an image on trial; after enough of them it confirms itself.
    pub(crate) fn confirm_when_sound(&mut self) {
        let Some(samples) = self.update.trial else { return };
        if self.conditions.measurement_failed || self.conditions.storage_failed {
            return;
        }
        if samples + 1 < CONFIRM_SAMPLES {
            self.update.trial = Some(samples + 1);
            return;
        }
        let mut boot = self.update.boot;
        boot.confirm();
        // What cannot be stored is tried again with the next sample.
        if self.write_boot(boot).is_err() {
            return;
        }
        self.update.trial = None;
        self.note(Event::FirmwareActivated, self.update.version.detail());
        let _ = self.set_transfer_status(Status::ActivationSuccessful);
    }

    /// Method 1: the idle bank is blanked for a new image.
    pub(crate) fn begin_image(&mut self, name: &[u8], size: u32) -> Result<(), ActionResult> {
        self.trust()?;
        // Nothing is touched while an image is about to start or on trial: the idle bank is the way back then.
        if self.update.boot.trial != Trial::None {
            return Err(ActionResult::TemporaryFailure);
        }
        let room = self.banks()?.bank_bytes().min(BLOCKS_MAX * BLOCK_BYTES);
        if size <= HEADER_BYTES as u32 || size > room {
            return Err(ActionResult::OtherReason);
        }
        let begun = Transfer::begin(name, size).ok_or(ActionResult::OtherReason)?;
        self.write_transfer(Transfer::default())?;
        self.write_boot(BootRecord { outcome: Outcome::None, ..self.update.boot })?;
        self.banks()?.erase_idle().map_err(|_| ActionResult::HardwareFault)?;
        self.write_transfer(begun)
    }

    /// Method 2: a block goes to the bank, and then into the bitmap.
    pub(crate) fn take_block(&mut self, number: u32, bytes: &[u8]) -> Result<(), ActionResult> {
        self.trust()?;
        let transfer = &self.update.transfer;
        let expected = transfer.block_len(number).filter(|_| transfer.status() == Status::Initiated);
        if expected.is_none_or(|len| len as usize != bytes.len()) {
            return Err(ActionResult::OtherReason);
        }
        if transfer.has(number) {
            // Sent again because an answer was lost.
            return Ok(());
        }
        let mut next = transfer.clone();
        let at = number * BLOCK_BYTES; // below the size
        self.banks()?.write_idle(at, bytes).map_err(|_| ActionResult::HardwareFault)?;
        next.mark(number);
        self.write_transfer(next)
    }

    /// Method 3: everything there, whole, for this meter, not older, signed.
    pub(crate) fn verify_image(&mut self) -> Result<(), ActionResult> {
        let checked = self.check_image()?;
        let status =
            if checked.is_some() { Status::VerificationSuccessful } else { Status::VerificationFailed };
        self.set_transfer_status(status)?;
        checked.map(|_| ()).ok_or(ActionResult::OtherReason)
    }

    /// Method 4: the image starts at the reset that follows.
    pub(crate) fn activate_image(&mut self) -> Result<(), ActionResult> {
        if self.update.boot.trial != Trial::None {
            return Err(ActionResult::TemporaryFailure);
        }
        // Checked again: it may have lain in its bank for months.
        let Some(header) = self.check_image()? else {
            self.set_transfer_status(Status::VerificationFailed)?;
            return Err(ActionResult::OtherReason);
        };
        self.set_transfer_status(Status::ActivationInitiated)?;
        self.write_boot(BootRecord { trial: Trial::Wanted, ..self.update.boot })?;
        self.note(Event::FirmwareReady, header.version.detail());
        self.update.restart = true;
        Ok(())
    }

    /// The header of the image that waits, once it was verified.
    pub(crate) fn waiting_image(&mut self) -> Option<Header> {
        let verified = self.update.transfer.status() == Status::VerificationSuccessful;
        let banks = self.board.images().filter(|_| verified)?;
        let idle: Bank = banks.running().other();
        format::header_of(banks, idle).ok()
    }

    /// `None`: it was looked at and refused.
    fn check_image(&mut self) -> Result<Option<Header>, ActionResult> {
        let trust = self.trust()?;
        let transfer = &self.update.transfer;
        let complete =
            transfer.status() != Status::NotInitiated && transfer.first_missing() == transfer.count();
        if !complete {
            return Err(ActionResult::OtherReason);
        }
        let (size, running) = (transfer.size, self.update.version);
        // The check takes a second or two on a small processor.
        self.board.health().feed_watchdog();
        match format::check(self.banks()?, size, &trust, running) {
            Ok(header) => Ok(Some(header)),
            Err(why) => {
                self.note(Event::FirmwareRefused, why as i32);
                Ok(None)
            }
        }
    }

    fn set_transfer_status(&mut self, status: Status) -> Result<(), ActionResult> {
        let mut next = self.update.transfer.clone();
        next.status = status as u8;
        self.write_transfer(next)
    }

    fn write_transfer(&mut self, next: Transfer) -> Result<(), ActionResult> {
        let written = self.update.journal.write(self.board.storage(), &next);
        written.map_err(|_| ActionResult::HardwareFault)?;
        self.update.transfer = next;
        Ok(())
    }

    fn write_boot(&mut self, next: BootRecord) -> Result<(), ActionResult> {
        let written = self.update.boot_journal.write(self.board.storage(), &next);
        written.map_err(|_| ActionResult::HardwareFault)?;
        self.update.boot = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_transfer_fits_its_place() {
        let mut transfer = Transfer::begin(&[0xFF; NAME_MAX], BLOCKS_MAX * BLOCK_BYTES).unwrap();
        for block in 0..BLOCKS_MAX {
            transfer.mark(block);
        }
        assert_eq!(transfer.first_missing(), BLOCKS_MAX);
        let mut place = [0; TRANSFER_PLACE_BYTES];
        assert!(protocol::wire::seal(u32::MAX, &transfer, &mut place).is_ok());
    }

    #[test]
    fn the_first_missing_block_is_found_wherever_it_is() {
        let mut transfer = Transfer::begin(b"image", 10 * BLOCK_BYTES + 1).unwrap();
        assert_eq!((transfer.count(), transfer.block_len(10), transfer.block_len(11)), (11, Some(1), None));
        for block in [0, 1, 2, 4, 10] {
            transfer.mark(block);
        }
        assert_eq!(transfer.first_missing(), 3);
        assert_eq!(transfer.bitmap(), [0b1110_1000, 0b0010_0000]);
    }
}
