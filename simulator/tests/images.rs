//! New firmware for simulated meters: sent over the wire, checked, started on trial, confirmed or rolled back; power cut in
//! every write of it; and kept with the street's state.
#![expect(clippy::unwrap_used, reason = "a test")]

use firmware::image::format::Version;
use protocol::cosem::events::Event;
use protocol::cosem::image_transfer::{self, ImageTransferStatus as Status};
use protocol::cosem::obis;
use simulator::client::{As, End, MeterClient};
use simulator::clock::SimClock;
use simulator::fault_entry::{FaultEntry, FaultName};
use simulator::identity::StreetKeys;
use simulator::meter::SimMeter;
use simulator::session::Framing;
use simulator::street::{Street, StreetConfig};
use simulator::vendor::{credit_token, firmware_image};
use std::path::PathBuf;
use std::sync::Arc;

/// 2026-01-05T18:00:00Z.
const START_UTC_S: u32 = 1_767_636_000;
const NEWER: Version = Version(1, 2, 3);
const NAME: &[u8] = b"MGW-SIM 1.2.3";
/// A tick a second, so that a new image takes its samples.
const TICK_MS: u64 = 1_000;

struct Bench {
    street: Street,
    counters: u32,
}

impl Bench {
    async fn new(state: Option<PathBuf>) -> Self {
        let clock = SimClock::held_at(START_UTC_S);
        let config = StreetConfig {
            line_meters: 1,
            clock,
            past_rows: 0,
            profile_rows: 4,
            credit_wh: Some(50_000),
            state,
            ..StreetConfig::default()
        };
        Self { street: Street::start(config).await.unwrap(), counters: 1 }
    }

    fn meter(&self) -> &Arc<SimMeter> {
        self.street.meter(1).unwrap()
    }

    fn pass(&self, seconds: u64) {
        self.street.advance(seconds * 1_000, TICK_MS);
    }

    fn version(&self) -> Version {
        self.meter().truth().firmware.unwrap()
    }

    /// A management client, associated; `None` when the meter does not answer.
    fn visit(&mut self) -> Option<MeterClient> {
        let keys = StreetKeys::default();
        let mut client =
            MeterClient::connect(self.meter(), Framing::Wrapper, As::Management, &keys, self.counters);
        self.counters = client.next_counters();
        (client.associate() == End::Open).then_some(client)
    }

    fn send(&mut self, image: &[u8]) -> Option<End> {
        Some(self.visit()?.carry_image_on(NAME, image))
    }

    fn status(&mut self) -> Status {
        let at = image_transfer::IMAGE_TRANSFER_STATUS.of(obis::IMAGE_TRANSFER);
        self.visit().unwrap().read(at).unwrap()
    }

    fn logged(&mut self, event: Event) -> bool {
        self.visit().unwrap().event_log().unwrap().iter().any(|row| row.code == event as u8)
    }
}

/// Six blocks.
fn newer() -> Vec<u8> {
    firmware_image(NEWER, &[0x42; 1_300]).unwrap()
}

#[tokio::test]
async fn an_image_is_sent_checked_started_and_confirms_itself() {
    let mut bench = Bench::new(None).await;
    let built = bench.version();
    assert_eq!(bench.send(&newer()), Some(End::Done));
    assert_eq!(bench.version(), built, "until it restarts");
    bench.pass(2);
    assert_eq!((bench.version(), bench.status()), (NEWER, Status::ActivationInitiated));
    assert_eq!(bench.meter().truth().lives, 2);
    bench.pass(12);
    assert_eq!(bench.status(), Status::ActivationSuccessful);
    assert!(bench.logged(Event::FirmwareActivated));
    bench.street.ask(&FaultEntry::new(FaultName::Reboot)).unwrap();
    assert_eq!(bench.version(), NEWER, "for good");
}

#[tokio::test]
async fn an_image_that_hangs_before_it_confirmed_itself_is_rolled_back() {
    let mut bench = Bench::new(None).await;
    let built = bench.version();
    bench.send(&newer());
    bench.pass(3);
    assert_eq!(bench.version(), NEWER);
    bench.street.ask(&FaultEntry::new(FaultName::Hang)).unwrap();
    bench.pass(60);
    bench.meter().end(FaultName::Hang);
    assert_eq!((bench.version(), bench.status()), (built, Status::ActivationFailed));
    assert!(bench.logged(Event::FirmwareRolledBack));
    bench.send(&newer());
    bench.pass(15);
    assert_eq!(
        (bench.version(), bench.status()),
        (NEWER, Status::ActivationSuccessful),
        "it may be sent again"
    );
}

#[tokio::test]
async fn an_image_that_somebody_changed_is_refused() {
    let mut bench = Bench::new(None).await;
    let built = bench.version();
    let mut image = newer();
    image[400] ^= 1;
    assert!(matches!(bench.send(&image), Some(End::Failed(_))));
    assert_eq!(bench.status(), Status::VerificationFailed);
    assert!(bench.logged(Event::FirmwareRefused));
    bench.pass(15);
    assert_eq!(bench.version(), built);
}

/// In every write to the memory and to the bank, as the fault does it: half of the write arrives.
#[tokio::test]
async fn power_cut_in_any_write_of_an_update_bricks_nothing_and_the_client_finishes_it() {
    let (mut cuts, mut resumed) = (0, 0);
    for writes in 0..200 {
        let mut bench = Bench::new(None).await;
        let token = credit_token(&StreetKeys::default(), 1, 50, i64::from(START_UTC_S)).unwrap();
        bench.meter().at_panel(|meter| meter.type_token(&token)).unwrap();
        bench
            .street
            .ask(&FaultEntry { writes: Some(writes), ..FaultEntry::new(FaultName::PowerCutAtWrite) })
            .unwrap();
        let whole = bench.send(&newer()) == Some(End::Done);
        bench.pass(15);
        if !bench.meter().faults().is_empty() {
            assert!(whole && bench.version() == NEWER, "the update was over before the cut came");
            break;
        }
        let finished = bench.version() == NEWER;
        for _ in 0..3 {
            if bench.status() != Status::ActivationSuccessful {
                bench.send(&newer());
                bench.pass(15);
            }
        }
        assert_eq!(
            (bench.version(), bench.status()),
            (NEWER, Status::ActivationSuccessful),
            "after {writes} writes"
        );
        assert_eq!(bench.meter().truth().credited_wh, Some(5_000), "after {writes} writes");
        drop(bench);
        // The tasks of its line end.
        tokio::task::yield_now().await;
        cuts += 1;
        resumed += u32::from(!whole && !finished);
    }
    println!("{cuts} cuts in an update, {resumed} of them carried on by the client");
    assert!(cuts > 20 && resumed > 10, "{cuts} cuts, {resumed} resumed");
}

#[tokio::test]
async fn a_restart_in_mid_transfer_loses_no_block() {
    let mut bench = Bench::new(None).await;
    let restart = FaultEntry { requests: Some(7), ..FaultEntry::new(FaultName::RebootInTransfer) };
    let mut client = bench.visit().unwrap();
    bench.street.ask(&restart).unwrap();
    assert!(matches!(client.carry_image_on(NAME, &newer()), End::Failed(_) | End::Silence));
    let at = image_transfer::IMAGE_FIRST_NOT_TRANSFERRED_BLOCK_NUMBER.of(obis::IMAGE_TRANSFER);
    let missing: u32 = bench.visit().unwrap().read(at).unwrap();
    assert!((1..6).contains(&missing), "{missing}");
    assert_eq!(bench.send(&newer()), Some(End::Done));
    bench.pass(15);
    assert_eq!(bench.version(), NEWER);
}

#[tokio::test]
async fn images_are_kept_with_the_streets_state_and_a_new_meter_has_none() {
    let folder = std::env::temp_dir().join(format!("meter-simulator-images-{}", std::process::id()));
    let built = {
        let mut bench = Bench::new(Some(folder.clone())).await;
        let built = bench.version();
        bench.send(&newer());
        bench.pass(15);
        assert_eq!(bench.version(), NEWER);
        built
    };
    let bench = Bench::new(Some(folder.clone())).await;
    assert_eq!(bench.version(), NEWER);
    bench.street.ask(&FaultEntry::new(FaultName::MeterExchanged)).unwrap();
    assert_eq!(bench.version(), built);
    drop(bench);
    let bench = Bench::new(Some(folder.clone())).await;
    assert_eq!(bench.version(), built);
    std::fs::remove_dir_all(folder).unwrap();
}
