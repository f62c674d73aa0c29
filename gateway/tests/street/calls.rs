//! Meters that dial in, each behind a modem that passes its bytes on.

use super::{Bench, endpoint};
use gateway::config::{Hello, LineConfig, LineKind};
use gateway::session::directory::{Endpoint, Framing};
use gateway::session::work::{Ending, Report, Serial, Work};
use simulator::faults::Fault;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A meter's modem: dials the gateway, says this first, and passes on what comes; again and again.
fn modem(gateway: SocketAddr, says: &[u8], meter: &str) -> JoinHandle<()> {
    let (says, meter) = (says.to_vec(), meter.to_owned());
    tokio::spawn(async move {
        loop {
            if let (Ok(mut up), Ok(mut down)) =
                (TcpStream::connect(gateway).await, TcpStream::connect(&meter).await)
                && up.write_all(&says).await.is_ok()
            {
                let _ = tokio::io::copy_bidirectional(&mut up, &mut down).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
}

/// A connection to the gateway, as soon as it listens.
async fn call(gateway: SocketAddr) -> TcpStream {
    for _ in 0..600 {
        if let Ok(stream) = TcpStream::connect(gateway).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens on {gateway}");
}

/// A line where meters dial in, instead of all others.
async fn line(bench: &Bench, hello: Hello) -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let idle = Duration::from_secs(600);
    let kind = LineKind::TcpIn { address, hello, connections_max: 8, idle };
    bench.router.change_to(&[LineConfig { name: "calls".into(), kind, area: None }]).await;
    address
}

/// Enters meter `index` under this name; gives its serial number and where it really is.
fn enter(bench: &Bench, index: usize, name: &str) -> (String, String) {
    let at = endpoint(&bench.entries()[index]);
    let (serial, place) = (at.serial.0.clone(), at.address.clone());
    bench.directory.put(Endpoint { line: "calls".into(), address: name.into(), ..at });
    (serial, place)
}

/// Does it as soon as the meter has called.
async fn once_it_called(bench: &Bench, serial: &str, work: Work) -> Report {
    for _ in 0..600 {
        let report = bench.perform(serial, work.clone()).await;
        match &report.ending {
            Ending::NotSent { reason } if reason.ends_with("has not called") => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            _ => return report,
        }
    }
    panic!("{serial} did not call within half a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_that_dial_in_are_worked_on_over_their_own_connections() {
    let bench = Bench::start(1).await;
    let address = line(&bench, Hello::Line).await;
    let mut arrivals = bench.router.arrivals();
    // One with the wrapper, one with HDLC.
    for index in [0, 2] {
        let name = format!("modem-{index}");
        let (serial, place) = enter(&bench, index, &name);
        for _ in 0..5 {
            let missing = bench.perform(&serial, Work::Read).await;
            let reason = format!("the meter {name:?} has not called");
            assert_eq!(missing.ending, Ending::NotSent { reason }, "nothing is held against it");
        }
        let dialling = modem(address, format!("{name}\r\n").as_bytes(), &place);
        let arrival = arrivals.recv().await.expect("a line");
        assert_eq!((arrival.serial.0, arrival.notification), (serial.clone(), None));
        for work in [Work::Commission, Work::Disconnect, Work::Reconnect, Work::Read] {
            let report = bench.perform(&serial, work).await;
            assert_eq!(report.ending, Ending::Done, "{index}: {:?}", report.evidence);
        }
        // Between two pieces of work the association is released, and the connection kept.
        tokio::time::sleep(Duration::from_millis(800)).await;
        let report = bench.perform(&serial, Work::Read).await;
        assert_eq!(report.ending, Ending::Done, "{index}: {:?}", report.evidence);
        assert!(arrivals.try_recv().is_err(), "it called once");
        dialling.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_says_nothing_is_asked_for_its_logical_device_name() {
    let bench = Bench::start(1).await;
    // What the meters call themselves, asked over their own lines.
    let mut names = Vec::new();
    for index in [0, 1, 2] {
        let asked = bench.perform(&bench.entries()[index].serial, Work::Identify).await;
        names.push(asked.facts.device_name.unwrap_or_else(|| panic!("{:?}", asked.evidence)));
    }
    for (index, framing) in [(0, Framing::Wrapper), (2, Framing::Hdlc)] {
        let address = line(&bench, Hello::Name { model: "reference-dlms".into(), framing }).await;
        let (serial, place) = enter(&bench, index, &names[index]);
        let dialling = modem(address, &[], &place);
        let report = once_it_called(&bench, &serial, Work::Disconnect).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
        dialling.abort();
        if index == 0 {
            // Its neighbour is not entered here: it is hung up on whenever it calls.
            let stranger = endpoint(&bench.entries()[1]).address;
            let mut up = call(address).await;
            let mut down = TcpStream::connect(stranger).await.expect("a meter");
            let passed = tokio::io::copy_bidirectional(&mut up, &mut down);
            let passed = tokio::time::timeout(Duration::from_secs(30), passed).await;
            assert!(passed.is_ok(), "the gateway hung up");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_is_known_by_the_system_title_of_the_notification_that_it_sends_first() {
    let bench = Bench::start(1).await;
    let meter = bench.street.meter(1).expect("meter 1");
    assert!(meter.push_to(([127, 0, 0, 1], 9).into()));
    while meter.next_push().is_some() {}
    assert!(bench.street.inject(1, Fault::Cover { open: true }));
    let mut push = None;
    for _ in 0..500 {
        push = meter.next_push();
        if push.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let bytes = push.expect("an opened cover is an alarm").bytes;
    let title: String = bytes[10..18].iter().map(|byte| format!("{byte:02x}")).collect();
    let address = line(&bench, Hello::Title).await;
    let mut arrivals = bench.router.arrivals();
    let (serial, place) = enter(&bench, 0, &title);
    // Somebody who speaks otherwise is hung up on.
    let mut babbler = call(address).await;
    babbler.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("said");
    let mut rest = Vec::new();
    let heard = tokio::time::timeout(Duration::from_secs(30), babbler.read_to_end(&mut rest)).await;
    assert!(heard.is_ok() && rest.is_empty());
    let dialling = modem(address, &bytes, &place);
    let arrival = arrivals.recv().await.expect("a line");
    assert_eq!((&arrival.serial.0, arrival.notification.as_deref()), (&serial, Some(&bytes[8..])));
    let known = bench.directory.of_title(bytes[10..18].try_into().expect("eight bytes"));
    assert_eq!(known.map(|known| known.serial), Some(Serial(serial.clone())), "what it said can be judged");
    for work in [Work::Disconnect, Work::Reconnect] {
        let report = bench.perform(&serial, work).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    }
    dialling.abort();
}

/// The first connection goes dead with an association open on it: nothing comes through, and nobody closes it. The meter calls
/// again, and what is said on the new connection is not mixed with what was said on the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_of_a_meter_takes_the_place_of_one_that_is_dead() {
    let bench = Bench::start(1).await;
    let address = line(&bench, Hello::Line).await;
    let (serial, place) = enter(&bench, 0, "meter");
    let mut arrivals = bench.router.arrivals();
    let mut dead = Vec::new();
    for round in 0..3 {
        let mut up = call(address).await;
        up.write_all(b"meter\n").await.expect("said");
        let mut down = TcpStream::connect(&place).await.expect("a meter");
        arrivals.recv().await.expect("a line");
        let work = if round % 2 == 0 { Work::Disconnect } else { Work::Reconnect };
        {
            let passing = tokio::io::copy_bidirectional(&mut up, &mut down);
            tokio::select! {
                report = bench.perform(&serial, work) => {
                    assert_eq!(report.ending, Ending::Done, "round {round}: {:?}", report.evidence);
                }
                ended = passing => panic!("the gateway hung up: {ended:?}"),
            }
        }
        // From here on nobody passes anything on.
        dead.push((up, down));
    }
    // On the last one nothing was sent that changes anything: the meter is asked, in vain, and then it is over.
    let silent = bench.perform(&serial, Work::Read).await;
    assert!(matches!(silent.ending, Ending::NotSent { .. }), "{silent:?}");
    let gone = bench.perform(&serial, Work::Read).await;
    assert_eq!(gone.ending, Ending::NotSent { reason: "the meter \"meter\" has not called".into() });
}
