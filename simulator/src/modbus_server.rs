//! Modbus TCP and RTU around the firmware: addresses, transaction numbers, checksums, and faults.

use crate::bus::Bus;
use crate::faults::Damage;
use crate::meter::SimMeter;
use protocol::wire::crc16;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, sleep, timeout};

/// Longest frame on a serial line (MODBUS over Serial Line V1.02, 2.5.1).
const RTU_MAX: usize = 256;
/// Longest PDU (MODBUS Application Protocol V1.1b3, 4.1).
const PDU_MAX: usize = 253;
/// Header of Modbus TCP: transaction, protocol, length, unit.
const MBAP: usize = 7;
/// A TCP client that says nothing for so long is disconnected.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A meter at its unit address.
pub type Station = (u8, Arc<SimMeter>);

/// An answer to somebody else: the number at the beginning (of the transaction, or of the unit) is one more.
fn to_somebody_else(frame: &mut [u8], rtu: bool) {
    let number = usize::from(!rtu);
    if let Some(byte) = frame.get_mut(number) {
        *byte = byte.wrapping_add(1);
    }
    if let Some(check) = frame.len().checked_sub(2).filter(|_| rtu) {
        let sum = crc16(&frame[..check]).to_le_bytes();
        frame[check..].copy_from_slice(&sum);
    }
}

/// An answer with what may befall it, and how much longer it takes.
#[derive(Debug)]
struct Answer {
    frame: Vec<u8>,
    damage: Option<Damage>,
    slow_ms: u32,
    rtu: bool,
}

/// What goes on the wire of a frame that something may have befallen, and after which delay.
fn damaged(Answer { mut frame, damage, slow_ms, rtu }: Answer) -> (Duration, Vec<u8>) {
    let mut delay = Duration::from_millis(u64::from(slow_ms));
    match damage {
        None => {}
        Some(Damage::Lost) => frame.clear(),
        Some(Damage::Late { delay_ms }) => delay += Duration::from_millis(u64::from(delay_ms)),
        Some(Damage::Corrupted) => {
            let middle = frame.len() / 2;
            frame[middle] ^= 0x10;
        }
        Some(Damage::WrongTransaction) => to_somebody_else(&mut frame, rtu),
        Some(Damage::Truncated) => frame.truncate(frame.len() / 2),
        Some(Damage::Duplicated) => frame.extend_from_within(..),
    }
    (delay, frame)
}

/// Serves the stations of one serial line. A frame ends with a silence.
///
/// # Errors
/// The line failed or ended.
pub async fn serve_rtu(
    mut bus: Bus<impl AsyncRead + AsyncWrite + Unpin>,
    stations: &[Station],
    baud: u32,
) -> io::Result<()> {
    // 3.5 characters of 11 bits (MODBUS over Serial Line V1.02, 2.5.1.1), and some for a system that is no UART.
    let silence = Duration::from_micros(u64::from(38_500_000 / baud.max(1))) + Duration::from_millis(4);
    let mut frame = Vec::with_capacity(RTU_MAX);
    let mut buffer = [0; RTU_MAX];
    loop {
        let within = if frame.is_empty() { Duration::MAX } else { silence };
        match bus.hear(within, &mut buffer).await? {
            Some(taken) => frame.extend_from_slice(&buffer[..taken]),
            None => {
                if let Some((station, answer)) = rtu_answer(&frame, stations) {
                    let (delay, bytes) = damaged(answer);
                    bus.say(station, delay, bytes);
                }
                frame.clear();
            }
        }
        if frame.len() > RTU_MAX {
            frame.clear();
        }
    }
}

/// The answer to a frame, and the place of the station that gives it.
fn rtu_answer(frame: &[u8], stations: &[Station]) -> Option<(usize, Answer)> {
    let (body, sum) = frame.split_at_checked(frame.len().checked_sub(2)?)?;
    if sum != crc16(body).to_le_bytes() {
        return None;
    }
    let (unit, pdu) = body.split_first()?;
    let (place, (_, meter)) = stations.iter().enumerate().find(|(_, (address, _))| address == unit)?;
    let (answer, damage) = meter.modbus(pdu)?;
    let mut frame = vec![*unit];
    frame.extend(answer);
    frame.extend(crc16(&frame).to_le_bytes());
    Some((place, Answer { frame, damage, slow_ms: meter.slow_ms(), rtu: true }))
}

/// Serves Modbus TCP until the task is dropped.
pub async fn serve_tcp(listener: TcpListener, stations: Arc<[Station]>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if peer.ip().is_loopback() => {
                let stations = Arc::clone(&stations);
                tokio::spawn(async move {
                    // A client that goes away in the middle is nothing to tell anybody about.
                    let _ = converse(stream, &stations).await;
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a Modbus connection was not accepted");
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn converse(mut stream: TcpStream, stations: &[Station]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = [0; MBAP];
        timeout(IDLE_TIMEOUT, stream.read_exact(&mut head)).await??;
        let [t0, t1, p0, p1, l0, l1, unit] = head;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        // Neither Modbus nor a length that Modbus has: the stream can't be followed any further.
        if (p0, p1) != (0, 0) || !(2..=PDU_MAX + 1).contains(&length) {
            return Ok(());
        }
        let mut pdu = vec![0; length - 1];
        timeout(IDLE_TIMEOUT, stream.read_exact(&mut pdu)).await??;
        let station = stations.iter().find(|(address, _)| *address == unit);
        let answered = match station {
            Some((_, meter)) => meter.modbus(&pdu),
            // Gateway target device failed to respond.
            None => Some((vec![pdu[0] | 0x80, 0x0B], None)),
        };
        let slow_ms = station.map_or(0, |(_, meter)| meter.slow_ms());
        let Some((answer, damage)) = answered else { continue };
        let [l0, l1] = ((answer.len() + 1) as u16).to_be_bytes(); // at most 254
        let mut frame = vec![t0, t1, 0, 0, l0, l1, unit];
        frame.extend(answer);
        let (delay, bytes) = damaged(Answer { frame, damage, slow_ms, rtu: false });
        sleep(delay).await;
        stream.write_all(&bytes).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Flow, VirtualBoard};
    use crate::clock::SimClock;
    use crate::faults::{Fault, On};
    use crate::identity::{self, StreetKeys};
    use crate::load::Household;
    use crate::nvm::Nvm;
    use tokio::time::Instant;

    /// Serial number 01000000016 behind unit 1.
    fn station() -> Station {
        let who = identity::modbus_personalisation(1, &StreetKeys::default(), true).unwrap();
        let nvm = Nvm::blank(firmware::Layout::bytes_for(1));
        let clock = SimClock::starting_at(1_767_636_000, 1);
        let flow = Flow::Household(Household::of(1, 1));
        let board = VirtualBoard::new(clock.clone(), flow, nvm, 1, Arc::default());
        (1, Arc::new(SimMeter::start(1, clock, board, who, 0).unwrap()))
    }

    #[test]
    fn the_coil_opens_the_relay_and_the_input_senses_it() {
        let (_, meter) = station();
        let ask = |pdu: &[u8]| meter.modbus(pdu).unwrap().0;
        assert_eq!(ask(&[2, 0, 0, 0, 1]), [2, 1, 1]);
        assert_eq!(ask(&[5, 0, 0, 0, 0]), [5, 0, 0, 0, 0]);
        assert_eq!(ask(&[2, 0, 0, 0, 1]), [2, 1, 0]);
        assert_eq!(ask(&[1, 0, 0, 0, 1]), [1, 1, 0]);
        assert_eq!(ask(&[5, 0, 0, 0xFF, 0]), [5, 0, 0, 0xFF, 0]);
        assert_eq!(ask(&[2, 0, 0, 0, 1]), [2, 1, 1]);
        assert_eq!(ask(&[4, 0, 0, 0, 2]), [4, 4, b'0', b'1', b'0', b'0']);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_ends_with_a_silence_and_half_a_frame_is_forgotten() {
        let (near, mut far) = tokio::io::duplex(1024);
        let stations = [station()];
        let request = [1, 4, 0, 0, 0, 1, 0x31, 0xCA];
        let client = async {
            far.write_all(&request[..3]).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            far.write_all(&request).await.unwrap();
            let mut answer = [0; 7];
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..5], [1, 4, 2, b'0', b'1']);
            assert_eq!(crc16(&answer[..5]).to_le_bytes(), answer[5..]);
        };
        tokio::select! {
            () = client => {}
            end = serve_rtu(Bus::new(near, 9600), &stations, 9600) => panic!("{end:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_unit_is_late_another_answers_and_the_late_answer_comes_when_it_comes() {
        let (near, mut far) = tokio::io::duplex(1024);
        let stations = [station(), (2, station().1)];
        stations[0].1.inject(Fault::Answer {
            damage: Damage::Late { delay_ms: 1_500 },
            on: On::Any,
            count: 1,
        });
        let client = async {
            let request = |unit: u8| {
                let mut frame = vec![unit, 4, 0, 0, 0, 1];
                frame.extend(crc16(&frame).to_le_bytes());
                frame
            };
            let began = Instant::now();
            far.write_all(&request(1)).await.unwrap();
            let mut answer = [0; 7];
            assert!(
                timeout(Duration::from_millis(500), far.read_exact(&mut answer)).await.is_err(),
                "it gives up"
            );
            far.write_all(&request(2)).await.unwrap();
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..5], [2, 4, 2, b'0', b'1']);
            assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
            far.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[..5], [1, 4, 2, b'0', b'1']);
            assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
        };
        tokio::select! {
            () = client => {}
            end = serve_rtu(Bus::new(near, 9600), &stations, 9600) => panic!("{end:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_stations_frames_and_wrong_checksums_get_no_answer() {
        let stations = [station()];
        assert!(rtu_answer(&[1, 4, 0, 0, 0, 1, 0x31, 0xCB], &stations).is_none());
        let mut other = vec![2, 4, 0, 0, 0, 1];
        other.extend(crc16(&other).to_le_bytes());
        assert!(rtu_answer(&other, &stations).is_none());
        assert!(rtu_answer(&[], &stations).is_none());
        assert!(rtu_answer(&[1], &stations).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_is_lost_once() {
        let stations = [station()];
        let fault = Fault::Answer { damage: Damage::Lost, on: On::Any, count: 1 };
        stations[0].1.inject(fault);
        let request = [1, 4, 0, 0, 0, 1, 0x31, 0xCA];
        assert!(damaged(rtu_answer(&request, &stations).unwrap().1).1.is_empty());
        assert_eq!(damaged(rtu_answer(&request, &stations).unwrap().1).1.len(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_somebody_else_has_another_unit_and_a_check_that_fits() {
        let stations = [station()];
        let fault = Fault::Answer { damage: Damage::WrongTransaction, on: On::Any, count: 1 };
        stations[0].1.inject(fault);
        let request = [1, 4, 0, 0, 0, 1, 0x31, 0xCA];
        let (_, frame) = damaged(rtu_answer(&request, &stations).unwrap().1);
        assert_eq!(frame[0], 2);
        assert_eq!(crc16(&frame[..5]).to_le_bytes(), frame[5..]);
    }

    #[tokio::test]
    async fn a_wrong_transaction_number_and_a_slow_meter_on_modbus_tcp() {
        let station = station();
        let meter = Arc::clone(&station.1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(serve_tcp(listener, Arc::new([station])));
        let mut client = TcpStream::connect(at).await.unwrap();
        let mut ask = async |transaction: u8| {
            client.write_all(&[0, transaction, 0, 0, 0, 6, 1, 4, 0, 0, 0, 1]).await.unwrap();
            let mut answer = [0; 11];
            client.read_exact(&mut answer).await.unwrap();
            answer
        };
        assert_eq!(ask(7).await[1], 7);
        meter.inject(Fault::Answer { damage: Damage::WrongTransaction, on: On::Any, count: 1 });
        assert_eq!(ask(8).await[1], 9);
        meter.inject(Fault::Slow { delay_ms: 50 });
        let before = std::time::Instant::now();
        assert_eq!(ask(10).await[1], 10);
        assert!(before.elapsed() >= Duration::from_millis(50));
        server.abort();
    }
}
