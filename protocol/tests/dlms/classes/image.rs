//! Class 18.

use protocol::codec::codec::Writer;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Nothing};
use protocol::cosem::image_transfer::*;
use protocol::dlms::model::Piece;

use super::{Desk, agrees};
use crate::meter::served;

const BLOCK: usize = 200;

#[derive(Default)]
struct Image {
    enabled: bool,
    name: Vec<u8>,
    bytes: Vec<u8>,
    come: Vec<bool>,
}
served!(Image, image_transfer);

impl ImageTransfer for Image {
    fn image_block_size(&mut self) -> Access<u32> {
        Ok(BLOCK as u32)
    }
    fn image_transferred_blocks_status(&mut self, piece: u32, out: &mut dyn Writer) -> Access<Piece> {
        let full = |_| DataAccessResult::OtherReason;
        let bits =
            self.come.chunks(8).map(|c| c.iter().enumerate().map(|(i, b)| u8::from(*b) << (7 - i)).sum());
        match piece.checked_sub(1) {
            None => out.write_u8(4).and_then(|()| out.write_length(self.come.len())).map_err(full)?,
            Some(n) => {
                let bytes: Vec<u8> = bits.skip(n as usize * 100).take(100).collect();
                out.write_bytes(&bytes).map_err(full)?;
            }
        }
        Ok(if piece as usize * 800 >= self.come.len() { Piece::Last } else { Piece::More })
    }
    fn image_first_not_transferred_block_number(&mut self) -> Access<u32> {
        Ok(self.come.iter().position(|b| !b).unwrap_or(self.come.len()) as u32)
    }
    fn image_transfer_enabled(&mut self) -> Access<bool> {
        Ok(self.enabled)
    }
    fn set_image_transfer_enabled(&mut self, value: bool) -> Access<()> {
        self.enabled = value;
        Ok(())
    }
    fn image_transfer_status(&mut self) -> Access<ImageTransferStatus> {
        Ok(ImageTransferStatus::Initiated)
    }
    fn image_to_activate_info(&mut self) -> Access<impl ExactSizeIterator<Item = ImageToActivateInfo<'_>>> {
        Ok(core::iter::once(ImageToActivateInfo {
            image_to_activate_size: self.bytes.len() as u32,
            image_to_activate_identification: &self.name,
            image_to_activate_signature: &[1, 2, 3, 4],
        }))
    }
    fn image_transfer_initiate(&mut self, parameter: ImageTransferInitiate<'_>) -> Invoked {
        if !self.enabled {
            return Err(ActionResult::TemporaryFailure);
        }
        self.name = parameter.image_identifier.to_vec();
        self.bytes = vec![0; parameter.image_size as usize];
        self.come = vec![false; self.bytes.len().div_ceil(BLOCK)];
        Ok(())
    }
    fn image_block_transfer(&mut self, parameter: ImageBlock<'_>) -> Invoked {
        let number = parameter.image_block_number as usize;
        let to =
            self.bytes.chunks_mut(BLOCK).nth(number).filter(|b| b.len() == parameter.image_block_value.len());
        to.ok_or(ActionResult::OtherReason)?.copy_from_slice(parameter.image_block_value);
        self.come[number] = true;
        Ok(())
    }
}

#[test]
fn an_image_goes_over_block_by_block_and_the_map_of_blocks_says_which_are_missing() {
    let mut desk = Desk::new(Image::default());
    let initiate =
        ImageTransferInitiate { image_identifier: b"meter-1.2.3", image_size: 1000 * BLOCK as u32 - 7 };
    assert_eq!(desk.invoke(IMAGE_TRANSFER_INITIATE, &initiate), Err(ActionResult::TemporaryFailure));
    desk.write(IMAGE_TRANSFER_ENABLED, &true).unwrap();
    desk.invoke(IMAGE_TRANSFER_INITIATE, &initiate).unwrap();
    for number in (0..1000).filter(|n| *n != 613) {
        let len = if number == 999 { BLOCK - 7 } else { BLOCK };
        let value = vec![number as u8; len];
        let block = ImageBlock { image_block_number: number, image_block_value: &value };
        desk.invoke(IMAGE_BLOCK_TRANSFER, &block).unwrap();
    }
    let bytes = desk.read(IMAGE_TRANSFERRED_BLOCKS_STATUS);
    let map = IMAGE_TRANSFERRED_BLOCKS_STATUS.decode_bytes(&bytes).unwrap();
    assert_eq!(map.len(), 1000);
    assert!((0..1000).all(|n| map.bit(n) == (n != 613)));
    let bytes = desk.read(IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER);
    assert_eq!(IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER.decode_bytes(&bytes).unwrap(), 613);
    let wrong = ImageBlock { image_block_number: 613, image_block_value: &[0; 5] };
    assert_eq!(desk.invoke(IMAGE_BLOCK_TRANSFER, &wrong), Err(ActionResult::OtherReason));
    let bytes = desk.read(IMAGE_TO_ACTIVATE_INFO);
    let info = IMAGE_TO_ACTIVATE_INFO.decode_bytes(&bytes).unwrap().iter().next().unwrap().unwrap();
    assert_eq!(info.image_to_activate_identification, b"meter-1.2.3");
    // What this meter leaves out is refused, not made up.
    assert_eq!(desk.invoke(IMAGE_ACTIVATE, &Nothing), Err(ActionResult::ObjectUnavailable));
    assert_eq!(desk.write(IMAGE_BLOCK_SIZE, &1), Err(DataAccessResult::ReadWriteDenied));
}

#[test]
fn its_values_are_the_other_implementations() {
    let mut desk = Desk::new(Image {
        enabled: true,
        name: b"meter-1.2.3".to_vec(),
        bytes: vec![0; 1234],
        come: vec![true, true, false, true, false, false, false],
    });
    agrees(&mut desk, IMAGE_BLOCK_SIZE);
    agrees(&mut desk, IMAGE_TRANSFERRED_BLOCKS_STATUS);
    agrees(&mut desk, IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER);
    agrees(&mut desk, IMAGE_TRANSFER_ENABLED);
    agrees(&mut desk, IMAGE_TRANSFER_STATUS);
    agrees(&mut desk, IMAGE_TO_ACTIVATE_INFO);
}
