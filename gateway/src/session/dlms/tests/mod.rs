//! Sessions with small meters behind the server engine: what is asked, what is believed, and what a lost answer means.

mod habits;
mod image;
mod line;
mod meter;
mod quirks;
mod recorded;
mod replayed;
mod short_names;

use super::*;
use crate::clock::Clock;
use crate::driver::SerialEndpoint;
use crate::session::counters::{Counters, MemoryCounters};
use crate::session::directory::Directory;
use crate::session::meter_keys::MeterKeys;
use crate::session::model::{Model, Models};
use crate::session::work::{RelayState, Report, TokenDigits};
use crate::vault::{DlmsKeys, VaultError};
use line::{Attached, Shared, serve};
use meter::{AK, EK, Fault, TestMeter};
use protocol::cosem::account::PaymentMode;
use protocol::cosem::disconnect::{ControlMode, ControlState, RelayReason};
use std::sync::Mutex;
use std::time::Duration;

const SERIAL: &str = "01000000017";
const TOKEN: &str = "12345678901234567890";

/// Knows one set of keys, for every meter.
#[derive(Debug)]
struct TestKeys(DlmsKeys);

impl MeterKeys for TestKeys {
    fn dlms_keys(&self, _serial: &Serial) -> Result<DlmsKeys, VaultError> {
        Ok(self.0.clone())
    }
}

fn context() -> Context {
    context_with_key(EK)
}

fn context_with_key(encryption: [u8; 16]) -> Context {
    context_with(DlmsKeys::new(encryption, AK))
}

fn context_with(keys: DlmsKeys) -> Context {
    Context {
        directory: Directory::default(),
        models: Models::load(None).expect("built-in models"),
        keys: Arc::new(TestKeys(keys)),
        counters: Arc::new(MemoryCounters::default()),
        clock: Clock::real(),
        system_title: *b"MGW\xFE\0\0\0\x01",
        waits: crate::session::waits(),
        recordings: crate::session::record::Recordings::default(),
    }
}

fn shared(meter: TestMeter) -> Shared {
    Arc::new(Mutex::new(meter))
}

fn endpoint(serial: &str, address: &str, framing: Framing) -> MeterEndpoint {
    let (serial, address) = (Serial(serial.into()), address.into());
    MeterEndpoint { serial, line: "street".into(), address, framing, model: "reference-dlms".into() }
}

/// A talker on an in-memory connection to this meter.
fn connected(meter: &Shared, attached: Attached) -> DlmsTalker {
    let (ours, theirs) = tokio::io::duplex(4_096);
    tokio::spawn(serve(theirs, vec![(meter.clone(), attached)], Duration::ZERO));
    DlmsTalker::on(Pipe::new(ours, Arc::default(), None))
}

async fn perform(talker: &mut DlmsTalker, context: &Context, endpoint: &MeterEndpoint, work: Work) -> Report {
    let Some(Model::Dlms(model)) = context.models.find(&endpoint.model).map(|model| (*model).clone()) else {
        panic!("the reference model is a DLMS model")
    };
    perform_as(talker, context, endpoint, &model, work).await
}

async fn perform_as(
    talker: &mut DlmsTalker,
    context: &Context,
    endpoint: &MeterEndpoint,
    model: &DlmsModel,
    work: Work,
) -> Report {
    let mut attempt = Attempt::begin(context.clock, None);
    let outcome = talker.perform(context, &mut attempt, endpoint, model, &work).await;
    if let Err(trouble) = &outcome
        && trouble.breaks_session()
    {
        talker.abandon(trouble.breaks_pipe());
    }
    let report = attempt.end(outcome);
    // As whoever stores what was read does.
    if let Some(heard) = report.heard {
        context.counters.keep_heard(&endpoint.serial, heard.keys, heard.counter).await.expect("kept");
    }
    report
}

/// One meter, and one gateway's keys and counters.
struct Bench {
    meter: Shared,
    context: Context,
}

impl Bench {
    fn new(meter: TestMeter) -> Self {
        Self { meter: shared(meter), context: context() }
    }

    /// One piece of work over a fresh in-memory connection with the wrapper.
    async fn once(&self, work: Work) -> Report {
        let mut talker = connected(&self.meter, Attached::Wrapper);
        let at = endpoint(SERIAL, "127.0.0.1:1", Framing::Wrapper);
        let report = perform(&mut talker, &self.context, &at, work).await;
        talker.release().await;
        report
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, TestMeter> {
        self.meter.lock().expect("not poisoned")
    }
}

fn token() -> TokenDigits {
    TokenDigits::new(TOKEN).expect("twenty digits")
}

#[tokio::test(start_paused = true)]
async fn a_meter_is_commissioned_over_wrapper_and_over_hdlc() {
    for (attached, framing) in [(Attached::Wrapper, Framing::Wrapper), (Attached::HdlcTcp, Framing::Hdlc)] {
        let meter = shared(TestMeter::new(SERIAL));
        let (context, mut talker) = (context(), connected(&meter, attached));
        let at = endpoint(SERIAL, "127.0.0.1:1", framing);
        let report = perform(&mut talker, &context, &at, Work::Commission).await;
        assert_eq!(report.ending, Ending::Done, "{attached:?}: {:?}", report.evidence);
        let facts = report.facts;
        assert_eq!(facts.serial.as_deref(), Some(SERIAL));
        assert_eq!(facts.prepaid, Some(true));
        assert_eq!(facts.import_wh, Some(987_650), "the scaler counts in tens");
        assert_eq!((facts.power_w, facts.credit_wh), (Some(742), Some(12_300)));
        assert_eq!(facts.relay, Some(RelayState { output_closed: true, control_state: Some(1) }));
        assert!(facts.clock_offset_s.is_some_and(|offset| offset.abs() <= 2), "{:?}", facts.clock_offset_s);
        let read = perform(&mut talker, &context, &at, Work::Read).await;
        assert_eq!(read.ending, Ending::Done, "the association serves the next job too: {:?}", read.evidence);
        talker.release().await;
        assert!(talker.open_meter().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_meter_with_another_serial_number_is_rejected_and_not_touched() {
    let bench = Bench::new(TestMeter::new("01000000025"));
    let before = bench.meter().utc_s;
    for work in [Work::Commission, Work::Disconnect, Work::DeliverToken(token())] {
        let report = bench.once(work).await;
        let reason = "the meter says it is \"01000000025\", expected 01000000017".to_owned();
        assert_eq!(report.ending, Ending::Rejected { reason, code: None });
    }
    let meter = bench.meter();
    assert_eq!((meter.utc_s, meter.entered, meter.closed), (before, 0, true));
}

#[tokio::test(start_paused = true)]
async fn a_meter_in_credit_mode_is_not_commissioned() {
    let bench = Bench::new(TestMeter { mode: PaymentMode::Credit, ..TestMeter::new(SERIAL) });
    let report = bench.once(Work::Commission).await;
    assert_eq!(report.facts.prepaid, Some(false));
    let reason = "the meter is not in prepayment mode".to_owned();
    assert_eq!(report.ending, Ending::Rejected { reason, code: None });
}

#[tokio::test(start_paused = true)]
async fn a_token_is_entered_once_and_read_back() {
    let bench = Bench::new(TestMeter::new(SERIAL));
    let report = bench.once(Work::DeliverToken(token())).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert_eq!(report.facts.credit_wh, Some(17_300));
    assert_eq!((report.facts.token_status, report.facts.token_is_ours), (Some((3, 1)), Some(true)));
    assert!(report.evidence.iter().all(|line| !line.contains(TOKEN)), "token digits are never shown");
    // Again: the meter has it already, and is left alone.
    let again = bench.once(Work::DeliverToken(token())).await;
    assert_eq!((again.ending, again.facts.credit_wh), (Ending::Done, Some(17_300)));
    assert_eq!(bench.meter().entered, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_for_another_meter_is_refused_with_the_reason() {
    let bench = Bench::new(TestMeter::new(SERIAL));
    let other = TokenDigits::new("99999999999999999999").expect("twenty digits");
    let report = bench.once(Work::DeliverToken(other)).await;
    let reason = "STS result 13: refused: the token is for another meter, or a digit is wrong".to_owned();
    assert_eq!(report.ending, Ending::Rejected { reason, code: Some(13) });
    assert_eq!(report.facts.credit_wh, Some(12_300));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_and_asking_finds_the_token_accepted() {
    let bench = Bench::new(TestMeter { fault: Fault::LosesTokenAnswer, ..TestMeter::new(SERIAL) });
    let lost = bench.once(Work::DeliverToken(token())).await;
    assert_eq!(lost.ending, Ending::Unknown { reason: "no answer to the token within 3000 ms".into() });
    bench.meter().mute = false;
    let asked = bench.once(Work::AskToken(token())).await;
    assert_eq!(asked.ending, Ending::Done, "{:?}", asked.evidence);
    assert_eq!(asked.facts.credit_wh, Some(17_300));
    assert_eq!(bench.meter().entered, 1, "asking enters nothing");
}

#[tokio::test(start_paused = true)]
async fn asking_about_a_token_the_meter_never_saw_says_that_nothing_was_sent() {
    let bench = Bench::new(TestMeter::new(SERIAL));
    let asked = bench.once(Work::AskToken(token())).await;
    assert!(matches!(asked.ending, Ending::NotSent { .. }), "{:?}", asked.ending);
    assert_eq!(asked.facts.token_is_ours, Some(false));
    assert_eq!(bench.meter().entered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_ends_with_contact_logic_and_power_read_back() {
    let bench = Bench::new(TestMeter::new(SERIAL));
    let off = bench.once(Work::Disconnect).await;
    assert_eq!(off.ending, Ending::Done, "{:?}", off.evidence);
    assert_eq!(off.facts.relay, Some(RelayState { output_closed: false, control_state: Some(0) }));
    assert_eq!((off.facts.power_w, off.facts.relay_reason.as_deref()), (Some(0), Some("remote")));
    let on = bench.once(Work::Reconnect).await;
    assert_eq!(on.ending, Ending::Done, "{:?}", on.evidence);
    assert_eq!(on.facts.relay, Some(RelayState { output_closed: true, control_state: Some(1) }));
}

#[tokio::test(start_paused = true)]
async fn a_mode_that_arms_ends_with_the_relay_ready_for_the_customer() {
    let bench = Bench::new(TestMeter {
        control_mode: ControlMode::new(3).expect("a mode"),
        control: ControlState::Disconnected,
        closed: false,
        reason: RelayReason::Remote,
        ..TestMeter::new(SERIAL)
    });
    let report = bench.once(Work::Reconnect).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert_eq!(report.facts.relay, Some(RelayState { output_closed: false, control_state: Some(2) }));
    assert!(report.evidence.iter().any(|line| line.contains("armed: in mode 3")), "{:?}", report.evidence);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_acknowledges_and_stays_is_found_out() {
    let bench = Bench::new(TestMeter { fault: Fault::StuckRelay, ..TestMeter::new(SERIAL) });
    let report = bench.once(Work::Disconnect).await;
    let reason = "the meter answered, but 5 s later the contact is sensed closed (reason: none)".to_owned();
    assert_eq!(report.ending, Ending::Rejected { reason, code: None });
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_no_association_and_nothing_is_sent() {
    let meter = shared(TestMeter::new(SERIAL));
    let mut talker = connected(&meter, Attached::Wrapper);
    let at = endpoint(SERIAL, "127.0.0.1:1", Framing::Wrapper);
    let report = perform(&mut talker, &context_with_key([7; 16]), &at, Work::DeliverToken(token())).await;
    assert!(
        matches!(&report.ending, Ending::NotSent { reason } if reason.starts_with("no association")),
        "{report:?}"
    );
    assert_eq!(meter.lock().expect("not poisoned").entered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_garbage_or_nothing_ends_within_its_time() {
    for garbage in [
        &b""[..],
        &[0x7E; 4_000][..],
        &[0x00, 0x01, 0x00, 0x01, 0xFF, 0xFF, 0xFF, 0xFF][..],
        &[0xAA; 9_000][..],
    ] {
        for framing in [Framing::Wrapper, Framing::Hdlc] {
            use tokio::io::AsyncWriteExt;
            let (ours, mut theirs) = tokio::io::duplex(1_000);
            let flood = garbage.to_vec();
            tokio::spawn(async move {
                while !flood.is_empty() && theirs.write_all(&flood).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                std::future::pending::<()>().await;
            });
            let mut talker = DlmsTalker::on(Pipe::new(ours, Arc::default(), None));
            let began = tokio::time::Instant::now();
            let at = endpoint(SERIAL, "127.0.0.1:1", framing);
            let report = perform(&mut talker, &context(), &at, Work::DeliverToken(token())).await;
            assert!(matches!(report.ending, Ending::NotSent { .. }), "{framing:?}: {:?}", report.ending);
            assert!(began.elapsed() < Duration::from_secs(8), "{framing:?}: {:?}", began.elapsed());
        }
    }
}

#[tokio::test]
async fn a_gateway_that_lost_its_counters_goes_above_what_the_meter_has_seen() {
    let meter = shared(TestMeter { seen: 5_000, ..TestMeter::new(SERIAL) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let served = meter.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, vec![(served.clone(), Attached::Wrapper)], Duration::ZERO).await;
        }
    });
    let mut talker = DlmsTalker::network(Arc::default());
    let at = endpoint(SERIAL, &address, Framing::Wrapper);
    let report = perform(&mut talker, &context(), &at, Work::Read).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert!(meter.lock().expect("not poisoned").seen > 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_hides_its_contact_is_disconnected_and_nobody_says_that_it_did_it() {
    let habits = habits::Habits { hides_contact: true, ..habits::Habits::default() };
    let bench = Bench::new(TestMeter { habits, ..TestMeter::new(SERIAL) });
    let report = bench.once(Work::Disconnect).await;
    let Ending::Unknown { reason } = report.ending else { panic!("{:?}", report.ending) };
    assert!(reason.contains("does not say where its relay is"), "{reason}");
    assert!(!bench.meter().closed, "the command reached the meter");
    let report = bench.once(Work::Reconnect).await;
    assert!(matches!(report.ending, Ending::NotSent { .. }), "{:?}", report.ending);
    assert!(!bench.meter().closed, "supply is not restored by somebody who cannot see what he does");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_mid_frame_ends_within_its_time() {
    // A wrapper header that promises 80 bytes, and an HDLC frame that promises 32, each with a few of them.
    let wrapper = [0, 1, 0, 1, 0, 18, 0, 80, 0x61, 0x29].as_slice();
    let hdlc = [0x7E, 0xA0, 0x20, 0x25, 0x03, 0x73].as_slice();
    for (framing, part) in [(Framing::Wrapper, wrapper), (Framing::Hdlc, hdlc)] {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(1_000);
        tokio::spawn(async move {
            let mut request = [0; 200];
            while theirs.read(&mut request).await.is_ok_and(|read| read > 0) {
                theirs.write_all(part).await.expect("part of an answer");
            }
        });
        let mut talker = DlmsTalker::on(Pipe::new(ours, Arc::default(), None));
        let began = tokio::time::Instant::now();
        let at = endpoint(SERIAL, "127.0.0.1:1", framing);
        let report = perform(&mut talker, &context(), &at, Work::DeliverToken(token())).await;
        assert!(matches!(report.ending, Ending::NotSent { .. }), "{framing:?}: {:?}", report.ending);
        assert!(began.elapsed() < Duration::from_secs(8), "{framing:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_meter_behind_udp_is_read_and_takes_a_token_and_a_datagram_that_is_none_disturbs_nobody() {
    let meter = shared(TestMeter::new(SERIAL));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("bound").to_string();
    let theirs = meter.clone();
    tokio::spawn(async move {
        let mut first = [0; 16];
        let (_, peer) = socket.peek_from(&mut first).await.expect("a caller");
        socket.connect(peer).await.expect("one caller");
        // Noise of the network: neither a header nor an APDU.
        socket.send(&[0xFF; 3]).await.expect("sent");
        socket.send(&[0, 1, 0, 1, 0, 18, 0, 200]).await.expect("sent");
        serve(driver::Datagrams::on(socket), vec![(theirs, Attached::Wrapper)], Duration::ZERO).await;
    });
    let (context, mut talker) = (context(), DlmsTalker::datagrams(Arc::default()));
    let at = endpoint(SERIAL, &address, Framing::Wrapper);
    for work in [Work::Commission, Work::DeliverToken(token())] {
        let report = perform(&mut talker, &context, &at, work).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    }
    assert_eq!(meter.lock().expect("not poisoned").credit_wh, 17_300);
}

/// A pty behind a name of its own, as an adapter's device file is: unplugging takes the name away.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_vanished_comes_back_by_itself() {
    use tokio_serial::{SerialPort, SerialStream};
    let meter = shared(TestMeter::new(SERIAL));
    let name = std::env::temp_dir().join(format!("adapter-{}", std::process::id()));
    let plug_in = || {
        let (bus, ours) = SerialStream::pair().expect("a pty pair");
        let _ = std::fs::remove_file(&name);
        std::os::unix::fs::symlink(ours.name().expect("a pty has a name"), &name).expect("a link");
        let task = tokio::spawn(serve(bus, vec![(meter.clone(), Attached::Bus(17))], Duration::ZERO));
        (task, ours)
    };
    let serial = SerialEndpoint {
        port: name.to_string_lossy().into_owned(),
        baud: 115_200,
        parity: driver::Parity::None,
        stop_bits: 1,
        turnaround: Duration::from_millis(1),
    };
    let (context, mut talker) = (context(), DlmsTalker::bus(Endpoint::Serial(serial), Arc::default()));
    let at = endpoint(SERIAL, "17", Framing::Hdlc);
    let plugged = plug_in();
    let report = perform(&mut talker, &context, &at, Work::Read).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    plugged.0.abort();
    let _ = plugged.0.await;
    drop(plugged.1);
    std::fs::remove_file(&name).expect("the name");
    let broken = perform(&mut talker, &context, &at, Work::Read).await;
    assert!(matches!(broken.ending, Ending::NotSent { .. }), "{:?}", broken.ending);
    let gone = perform(&mut talker, &context, &at, Work::Read).await;
    let reason = format!("serial port {} does not exist", name.display());
    assert_eq!(gone.ending, Ending::NotSent { reason });
    let _plugged = plug_in();
    let back = perform(&mut talker, &context, &at, Work::Read).await;
    assert_eq!(back.ending, Ending::Done, "{:?}", back.evidence);
    std::fs::remove_file(&name).expect("the name");
}

/// Real time: a pty is no stream of virtual time. Two meters and a dead third share a 9,600-baud bus.
#[tokio::test(flavor = "multi_thread")]
async fn two_meters_share_a_bus_and_a_dead_third_costs_only_its_timeout() {
    use tokio_serial::{SerialPort, SerialStream};
    let (bus, ours) = SerialStream::pair().expect("a pty pair");
    let port = ours.name().expect("a pty has a name");
    let first = shared(TestMeter::new("01000000017"));
    let second = shared(TestMeter::new("01000000025"));
    let byte_time = Duration::from_micros(1_041);
    let meters = vec![(first.clone(), Attached::Bus(17)), (second.clone(), Attached::Bus(18))];
    tokio::spawn(serve(bus, meters, byte_time));
    let serial = SerialEndpoint {
        port,
        baud: 9_600,
        parity: driver::Parity::None,
        stop_bits: 1,
        turnaround: Duration::from_millis(4),
    };
    let (context, mut talker) = (context(), DlmsTalker::bus(Endpoint::Serial(serial), Arc::default()));
    for (serial, address, work) in [
        ("01000000017", "17", Work::Commission),
        ("01000000025", "18", Work::Disconnect),
        ("01000000017", "17", Work::DeliverToken(token())),
    ] {
        let report = perform(&mut talker, &context, &endpoint(serial, address, Framing::Hdlc), work).await;
        assert_eq!(report.ending, Ending::Done, "{serial}: {:?}", report.evidence);
    }
    let began = std::time::Instant::now();
    let dead =
        perform(&mut talker, &context, &endpoint("01000000033", "19", Framing::Hdlc), Work::Read).await;
    assert!(matches!(dead.ending, Ending::NotSent { .. }), "{:?}", dead.ending);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let alive =
        perform(&mut talker, &context, &endpoint("01000000025", "18", Framing::Hdlc), Work::Read).await;
    assert_eq!(alive.ending, Ending::Done, "{:?}", alive.evidence);
    assert!(!second.lock().expect("not poisoned").closed);
    assert_eq!(first.lock().expect("not poisoned").credit_wh, 17_300);
}
