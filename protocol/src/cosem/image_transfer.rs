//! Class 18, image transfer (version 0; Blue Book, image transfer): a new firmware image comes block by block, is verified,
//! and is activated.

use super::class::{Bits, Nothing, class, structure};
use super::credit::wire_enum;
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};

structure! {
    /// Attribute 7: an image that was transferred and waits to be activated.
    ImageToActivateInfo<'a> {
        /// Bytes.
        image_to_activate_size: u32,
        /// What the client called it when it began.
        image_to_activate_identification: &'a [u8],
        /// Over the image, by the manufacturer's scheme.
        image_to_activate_signature: &'a [u8],
    }
}

structure! {
    /// Parameter of method 1.
    ImageTransferInitiate<'a> {
        /// What the image is called.
        image_identifier: &'a [u8],
        /// Its bytes.
        image_size: u32,
    }
}

structure! {
    /// Parameter of method 2. Every block but the last has the size of attribute 2.
    ImageBlock<'a> {
        /// From 0.
        image_block_number: u32,
        /// The bytes.
        image_block_value: &'a [u8],
    }
}

wire_enum! {
    /// Attribute 6.
    ImageTransferStatus {
        /// Nothing was begun.
        NotInitiated = 0,
        /// Blocks are awaited.
        Initiated = 1,
        /// The check takes place.
        VerificationInitiated = 2,
        /// The image is whole and genuine.
        VerificationSuccessful = 3,
        /// It is not.
        VerificationFailed = 4,
        /// The activation takes place.
        ActivationInitiated = 5,
        /// The image is the one that runs.
        ActivationSuccessful = 6,
        /// It could not be activated; the former one runs.
        ActivationFailed = 7,
    }
}

class! {
    /// Image transfer.
    ImageTransfer = 18, version 0;
    attributes {
        /// Bytes of a block.
        2 IMAGE_BLOCK_SIZE: (u32), image_block_size;
        /// One bit a block, the first block first: set when the block has come.
        3 IMAGE_TRANSFERRED_BLOCKS_STATUS: {Bits}, image_transferred_blocks_status;
        /// The first block that has not come; the number of blocks when all have.
        4 IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER: (u32), image_first_not_transferred_block_number;
        /// Whether methods 1 to 4 may be used.
        5 IMAGE_TRANSFER_ENABLED: (bool), image_transfer_enabled, set_image_transfer_enabled;
        /// How far it is.
        6 IMAGE_TRANSFER_STATUS: (ImageTransferStatus), image_transfer_status;
        /// What would be activated.
        7 IMAGE_TO_ACTIVATE_INFO: [ImageToActivateInfo<'static>], image_to_activate_info;
    }
    methods {
        /// Begins anew.
        1 IMAGE_TRANSFER_INITIATE: (ImageTransferInitiate<'static>), image_transfer_initiate;
        /// One block.
        2 IMAGE_BLOCK_TRANSFER: (ImageBlock<'static>), image_block_transfer;
        /// Checks the whole. A check that takes time answers temporary-failure until it is done.
        3 IMAGE_VERIFY: (Nothing), image_verify;
        /// Makes it the image that runs.
        4 IMAGE_ACTIVATE: (Nothing), image_activate;
    }
}
