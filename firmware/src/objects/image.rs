//! Image transfer (class 18).

use hardware::board::Board;
use protocol::codec::codec::Writer;
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::image_transfer::{
    ImageBlock, ImageToActivateInfo, ImageTransfer, ImageTransferInitiate, ImageTransferStatus,
};
use protocol::dlms::model::Piece;

use super::full;
use crate::image::BLOCK_BYTES;
use crate::meter::Meter;

/// The meter as its only object of the class.
pub(super) struct ImageObject<'m, B: Board> {
    meter: &'m mut Meter<B>,
    /// Of the image that waits.
    signature: [u8; 64],
}

impl<'m, B: Board> ImageObject<'m, B> {
    pub(super) const fn of(meter: &'m mut Meter<B>) -> Self {
        Self { meter, signature: [0; 64] }
    }
}

impl<B: Board> ImageTransfer for ImageObject<'_, B> {
    fn image_block_size(&mut self) -> Access<u32> {
        Ok(BLOCK_BYTES)
    }

    fn image_transferred_blocks_status(&mut self, _piece: u32, out: &mut dyn Writer) -> Access<Piece> {
        let transfer = &self.meter.update.transfer;
        // At most 1,024 bits: tag, length in bits, 128 bytes.
        let write = |out: &mut dyn Writer| {
            out.write_u8(4)?;
            out.write_length(transfer.count() as usize)?;
            out.write_bytes(transfer.bitmap())
        };
        write(out).map_err(full)?;
        Ok(Piece::Last)
    }

    fn image_first_not_transferred_block_number(&mut self) -> Access<u32> {
        Ok(self.meter.update.transfer.first_missing())
    }

    fn image_transfer_enabled(&mut self) -> Access<bool> {
        Ok(self.meter.takes_images())
    }

    fn image_transfer_status(&mut self) -> Access<ImageTransferStatus> {
        Ok(self.meter.update.transfer.status())
    }

    fn image_to_activate_info(&mut self) -> Access<impl ExactSizeIterator<Item = ImageToActivateInfo<'_>>> {
        let waiting = self.meter.waiting_image();
        if let Some(header) = waiting {
            self.signature = header.signature;
        }
        let transfer = &self.meter.update.transfer;
        let info = ImageToActivateInfo {
            image_to_activate_size: transfer.size,
            image_to_activate_identification: &transfer.name,
            image_to_activate_signature: &self.signature,
        };
        Ok(waiting.map(|_| info).into_iter())
    }

    fn image_transfer_initiate(&mut self, image: ImageTransferInitiate<'_>) -> Invoked {
        self.meter.begin_image(image.image_identifier, image.image_size)
    }

    fn image_block_transfer(&mut self, block: ImageBlock<'_>) -> Invoked {
        self.meter.take_block(block.image_block_number, block.image_block_value)
    }

    fn image_verify(&mut self, _: Nothing) -> Invoked {
        self.meter.verify_image()
    }

    fn image_activate(&mut self, _: Nothing) -> Invoked {
        self.meter.activate_image()
    }
}
