//! A firmware image on its way into a meter that takes its time to check it.

use super::*;
use crate::session::order::{ImageBytes, ImageOrder, Order};
use crate::session::work::ImageProgress;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::FromData;
use protocol::cosem::image_transfer::{ImageBlock, ImageTransferStatus};
use protocol::dlms::model::{Attribute, Method};
use tokio::time::Instant;

/// Bytes of a block.
const BLOCK: usize = 64;
const OLD: &str = "1.0";
const NEW: &str = "2.0";

/// The image transfer of a meter.
#[derive(Debug)]
pub(super) struct Image {
    status: ImageTransferStatus,
    /// Blocks that have come, of those that are to come.
    come: Vec<bool>,
    /// How long it checks, and since when it does.
    check: Duration,
    since: Option<Instant>,
    /// How often it was told to begin, and got a block.
    begun: u32,
    blocks: u32,
}

impl Image {
    /// Of a meter that checks for so long.
    pub(super) fn checked_in(check: Duration) -> Self {
        let status = ImageTransferStatus::NotInitiated;
        Self { status, come: Vec::new(), check, since: None, begun: 0, blocks: 0 }
    }

    pub(super) fn write(&self, at: Attribute, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let status = match self.since {
            Some(since)
                if since.elapsed() >= self.check && self.is(ImageTransferStatus::VerificationInitiated) =>
            {
                ImageTransferStatus::VerificationSuccessful
            }
            _ => self.status,
        };
        match (at.class_id, at.index) {
            (1, 2) => {
                let runs = if self.is(ImageTransferStatus::ActivationSuccessful) { NEW } else { OLD };
                Data::OctetString(runs.as_bytes()).encode(out)
            }
            (18, 2) => Data::DoubleLongUnsigned(BLOCK as u32).encode(out),
            (18, 3) => {
                let bits = self.come.chunks(8).map(|eight| {
                    eight.iter().enumerate().fold(0u8, |bits, (at, come)| bits | u8::from(*come) << (7 - at))
                });
                let bits: Vec<u8> = bits.collect();
                let count = u8::try_from(self.come.len()).expect("a short image");
                out.write_bytes(&[4, count]).and_then(|()| out.write_bytes(&bits))
            }
            (18, 5) => Data::Boolean(true).encode(out),
            (18, 6) => status.encode(out),
            _ => return Err(DataAccessResult::ObjectUndefined),
        }
        .map_err(|_| DataAccessResult::OtherReason)
    }

    fn is(&self, status: ImageTransferStatus) -> bool {
        self.status == status
    }

    pub(super) fn act(&mut self, at: Method, parameter: Option<Data<'_>>) -> Result<bool, ActionResult> {
        match (at.index, parameter) {
            (1, Some(Data::Structure(_))) => {
                (self.status, self.begun) = (ImageTransferStatus::Initiated, self.begun + 1);
                self.come = vec![false; IMAGE.len().div_ceil(BLOCK)];
            }
            (2, Some(block)) => {
                let block = ImageBlock::from_data(block).map_err(|_| ActionResult::TypeUnmatched)?;
                self.come[block.image_block_number as usize] = true;
                self.blocks += 1;
            }
            (3, _) => {
                assert!(self.come.iter().all(|come| *come), "checked before it is whole");
                (self.status, self.since) =
                    (ImageTransferStatus::VerificationInitiated, Some(Instant::now()));
                return Err(ActionResult::TemporaryFailure);
            }
            (4, _) => self.status = ImageTransferStatus::ActivationSuccessful,
            _ => return Err(ActionResult::ObjectUndefined),
        }
        Ok(false)
    }
}

const IMAGE: [u8; 300] = [7; 300];

#[tokio::test(start_paused = true)]
async fn a_meter_that_checks_an_image_for_a_minute_does_not_hold_its_line_meanwhile() {
    let image = Image::checked_in(Duration::from_secs(60));
    // Images are the management client's.
    let habits = habits::Habits { client_sap: 1, ..habits::Habits::default() };
    let meter = shared(TestMeter { image, habits, ..TestMeter::new(SERIAL) });
    let (ours, theirs) = tokio::io::duplex(4_096);
    tokio::spawn(serve(theirs, vec![(meter.clone(), Attached::Bus(17))], Duration::ZERO));
    let (context, at) = (context(), endpoint(SERIAL, "17", Framing::Hdlc));
    let mut talker = DlmsTalker::bus_on(Pipe::new(ours, Arc::default(), None));
    let order = || {
        Work::Carry(Order::UpdateImage(ImageOrder {
            identifier: "meter-2.0".into(),
            version: NEW.into(),
            bytes: ImageBytes(IMAGE.as_slice().into()),
        }))
    };
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        let slice = Instant::now();
        let report = perform(&mut talker, &context, &at, order()).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
        assert!(slice.elapsed() < Duration::from_secs(4), "{:?}", slice.elapsed());
        match report.facts.image {
            Some(ImageProgress::Checking) => looks += 1,
            Some(ImageProgress::Activated) => break,
            other => panic!("{other:?}: {:?}", report.evidence),
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert!(looks >= 6 && begun.elapsed() >= Duration::from_secs(60), "{looks} looks");
    let after = perform(&mut talker, &context, &at, order()).await;
    assert_eq!(after.facts.image, Some(ImageProgress::Runs));
    let meter = meter.lock().expect("not poisoned");
    assert_eq!((meter.image.begun, meter.image.blocks), (1, 5), "each block went once");
}
