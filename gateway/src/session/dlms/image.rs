//! A new firmware image for a DLMS meter (class 18): sent in slices, so that a line is never busy with it for long; gone on with by
//! the meter's own bitmap of blocks; verified, activated, and believed when the meter says its new version.

use super::meter::{Meter, present};
use crate::session::order::ImageOrder;
use crate::session::trouble::Trouble;
use crate::session::work::{Ending, ImageProgress};
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::cosem::class::{Nothing, ToData};
use protocol::cosem::data;
use protocol::cosem::image_transfer::{
    IMAGE_ACTIVATE, IMAGE_BLOCK_SIZE, IMAGE_BLOCK_TRANSFER, IMAGE_TRANSFER_ENABLED, IMAGE_TRANSFER_INITIATE,
    IMAGE_TRANSFER_STATUS, IMAGE_TRANSFERRED_BLOCKS_STATUS, IMAGE_VERIFY, ImageBlock, ImageTransferInitiate,
    ImageTransferStatus,
};
use protocol::dlms::model::{Attribute, Method};
use std::time::Duration;
use tokio::time::Instant;

/// How long one slice keeps its line busy: a relay command that comes meanwhile waits for no more.
const SLICE: Duration = Duration::from_secs(2);
/// A slice ends before the association's invocation counters do: so many are kept for what follows its last block. New ones are
/// reserved between two jobs.
const COUNTERS_KEPT: u32 = 32;
/// How often a meter is asked whether its check of the whole image is over.
const VERIFY_POLL: Duration = Duration::from_millis(500);
/// Blocks larger than this are nobody's: the most that a request of ours carries.
const BLOCK_MAX: u32 = 512;

impl Meter<'_> {
    /// One slice of the way of an image into the meter.
    pub(super) async fn update_image(&mut self, order: &ImageOrder) -> Result<Ending, Trouble> {
        if self.runs(order).await? {
            return Ok(Ending::Done);
        }
        let name = present(self.model.objects.image_transfer)?;
        let enabled = self.typed::<bool>(IMAGE_TRANSFER_ENABLED.of(name), "whether images are taken").await?;
        if !enabled {
            return Ok(Ending::Rejected { reason: "the meter takes no images now".into(), code: None });
        }
        let size = self.typed::<u32>(IMAGE_BLOCK_SIZE.of(name), "the block size").await?;
        if !(1..=BLOCK_MAX).contains(&size) {
            return Ok(Ending::Rejected {
                reason: format!("the meter wants blocks of {size} bytes"),
                code: None,
            });
        }
        let blocks = order.bytes.0.len().div_ceil(size as usize);
        let status = self.image_status().await?;
        let missing = match status {
            ImageTransferStatus::VerificationSuccessful | ImageTransferStatus::ActivationInitiated => {
                Vec::new()
            }
            ImageTransferStatus::Initiated | ImageTransferStatus::VerificationInitiated => {
                self.missing(blocks).await?.unwrap_or_else(|| (0..blocks).collect())
            }
            _ => (0..blocks).collect(),
        };
        let begins = missing.len() == blocks;
        self.attempt
            .note(format!("image status {status:?}, {} of {blocks} blocks are missing", missing.len()));
        if begins && let Some(refusal) = self.initiate(order).await? {
            return Ok(refusal);
        }
        if !missing.is_empty() {
            let sent = match self.send_blocks(order, size as usize, &missing).await? {
                Ok(sent) => sent,
                Err(refusal) => return Ok(refusal),
            };
            let done = blocks - missing.len() + sent;
            self.attempt.facts.image = Some(ImageProgress::Transferred { done, blocks });
            if sent < missing.len() {
                return Ok(Ending::Done);
            }
        }
        self.verify_and_activate().await
    }

    /// Whether the meter says the version that the image brings.
    async fn runs(&mut self, order: &ImageOrder) -> Result<bool, Trouble> {
        let name = present(self.model.objects.firmware_version)?;
        let said = self
            .value_of(data::VALUE.of(name), "the firmware version", |value| {
                Ok(value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()))
            })
            .await?
            .unwrap_or_default();
        self.attempt.note(format!("GET {name} firmware version: {said}"));
        let runs = said == order.version;
        if runs {
            self.attempt.facts.image = Some(ImageProgress::Runs);
        }
        Ok(runs)
    }

    /// Looks whether the meter runs the image; changes nothing.
    pub(super) async fn image_difference(&mut self, order: &ImageOrder) -> Result<Option<String>, Trouble> {
        let runs = self.runs(order).await?;
        Ok((!runs).then(|| format!("the meter does not run {} (yet)", order.version)))
    }

    async fn image_status(&mut self) -> Result<ImageTransferStatus, Trouble> {
        let name = present(self.model.objects.image_transfer)?;
        self.typed::<ImageTransferStatus>(IMAGE_TRANSFER_STATUS.of(name), "the image status").await
    }

    /// The blocks that have not come, by the meter's own bitmap; `None` when the image it waits for is of another length.
    async fn missing(&mut self, blocks: usize) -> Result<Option<Vec<usize>>, Trouble> {
        let name = present(self.model.objects.image_transfer)?;
        self.value_of(IMAGE_TRANSFERRED_BLOCKS_STATUS.of(name), "the blocks that have come", |value| {
            let Data::BitString(bits) = value else { return Ok(None) };
            Ok((bits.len() == blocks).then(|| (0..blocks).filter(|block| !bits.bit(*block)).collect()))
        })
        .await
    }

    async fn initiate(&mut self, order: &ImageOrder) -> Result<Option<Ending>, Trouble> {
        let name = present(self.model.objects.image_transfer)?;
        let image_size = u32::try_from(order.bytes.0.len())
            .map_err(|_| Trouble::NotReady("the image is longer than its size can be said".into()))?;
        let begin = ImageTransferInitiate { image_identifier: order.identifier.as_bytes(), image_size };
        self.attempt
            .note(format!("ACTION {name} initiate {} of {image_size} bytes: sending", order.identifier));
        self.invoke(IMAGE_TRANSFER_INITIATE.of(name), &begin, "the image's initiation").await
    }

    /// Sends missing blocks until the slice is over: how many, or the meter's refusal.
    async fn send_blocks(
        &mut self,
        order: &ImageOrder,
        size: usize,
        missing: &[usize],
    ) -> Result<Result<usize, Ending>, Trouble> {
        let name = present(self.model.objects.image_transfer)?;
        let begun = Instant::now();
        let mut sent = 0;
        for block in missing {
            let from = block * size;
            let until = (from + size).min(order.bytes.0.len());
            let Some(value) = order.bytes.0.get(from..until) else { break };
            let number = u32::try_from(*block)
                .map_err(|_| Trouble::NotReady("more blocks than can be counted".into()))?;
            let block = ImageBlock { image_block_number: number, image_block_value: value };
            let what = format!("image block {number}");
            if let Some(refusal) = self.invoke(IMAGE_BLOCK_TRANSFER.of(name), &block, &what).await? {
                return Ok(Err(refusal));
            }
            sent += 1;
            let used_up =
                self.model.security.needs_keys() && self.association.counters_left() < COUNTERS_KEPT;
            if used_up || begun.elapsed() >= SLICE {
                break;
            }
        }
        self.attempt.note(format!("ACTION {name} block transfer: {sent} blocks taken"));
        Ok(Ok(sent))
    }

    /// Has the meter check the whole, and start it. What it runs afterwards is for a later look: it restarts first.
    async fn verify_and_activate(&mut self) -> Result<Ending, Trouble> {
        let name = present(self.model.objects.image_transfer)?;
        let begun = Instant::now();
        if self.image_status().await? == ImageTransferStatus::Initiated {
            self.attempt.note(format!("ACTION {name} verify: sending"));
            // A check that takes time answers temporary-failure; the status says what came of it.
            let _ = self.invoke(IMAGE_VERIFY.of(name), &Nothing, "the image's check").await?;
        }
        loop {
            match self.image_status().await? {
                ImageTransferStatus::VerificationSuccessful => break,
                ImageTransferStatus::ActivationInitiated => {
                    self.attempt.facts.image = Some(ImageProgress::Activated);
                    return Ok(Ending::Done);
                }
                ImageTransferStatus::VerificationInitiated if begun.elapsed() < SLICE => {
                    tokio::time::sleep(VERIFY_POLL).await;
                }
                // Some check for a minute: others on the line have their turn meanwhile.
                ImageTransferStatus::VerificationInitiated => {
                    self.attempt.note("the meter checks the image");
                    self.attempt.facts.image = Some(ImageProgress::Checking);
                    return Ok(Ending::Done);
                }
                other => {
                    let reason = format!("the meter's check of the image ended with {other:?}");
                    self.attempt.note(&reason);
                    return Ok(Ending::Rejected { reason, code: Some(other as u8) });
                }
            }
        }
        self.attempt.note(format!("ACTION {name} activate: sending"));
        if let Some(refusal) =
            self.invoke(IMAGE_ACTIVATE.of(name), &Nothing, "the image's activation").await?
        {
            return Ok(refusal);
        }
        self.attempt.facts.image = Some(ImageProgress::Activated);
        Ok(Ending::Done)
    }

    /// ACTION with a parameter; a refusal by the meter is an ending.
    pub(super) async fn invoke(
        &mut self,
        method: Method,
        parameter: &impl ToData,
        what: &str,
    ) -> Result<Option<Ending>, Trouble> {
        let mut room = [0; 2 * BLOCK_MAX as usize];
        let mut writer = SliceWriter::new(&mut room);
        parameter.put(&mut writer).map_err(|error| Trouble::NotReady(format!("{what}: {error}")))?;
        self.attempt.about_to_send();
        match self.act(method, writer.as_slice(), what).await {
            Ok(()) => Ok(None),
            Err(Trouble::Refused { reason, code }) => {
                self.attempt.note(&reason);
                Ok(Some(Ending::Rejected { reason, code }))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// One attribute of an engineer's choice, as it came.
    pub(super) async fn raw(&mut self, at: Attribute) -> Result<Vec<u8>, Trouble> {
        let what = format!("class {} {} attribute {}", at.class_id, at.logical_name, at.index);
        self.association.get(self.pipe, at, &what).await.map(<[u8]>::to_vec)
    }
}
