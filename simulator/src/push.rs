//! What meters send by themselves: each alarm goes in the wrapper, over a connection of its own, from the meter's address to the
//! destination that its push setup names.

use crate::meter::{Firmware, SimMeter};
use firmware::{Port, client};
use protocol::codec::axdr::Data;
use protocol::codec::codec::SliceWriter;
use protocol::cosem::class::ToData;
use protocol::cosem::obis::PUSH_ON_ALARM;
use protocol::cosem::push_setup::{CLASS, MessageType, SEND_DESTINATION_AND_METHOD};
use protocol::cosem::push_setup::{SendDestinationAndMethod, TransportService};
use protocol::dlms::model::{Caller, ObjectModel};
use protocol::link::wrapper::{Config, HEADER_LEN, Wrapper};
use protocol::time::Instant;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

/// How often meters are asked whether they have something to say, in real time.
const LOOK: Duration = Duration::from_millis(50);
/// How long a head-end may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// The logical device that speaks, and the client that it speaks to.
const LOGICAL_DEVICE: u16 = 1;

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Where to.
    pub destination: SocketAddr,
    /// What goes over the wire.
    pub bytes: Vec<u8>,
}

/// The next alarm that is due, as it goes over the wire. It counts as sent.
pub(crate) fn next(meter: &mut Firmware, now: Instant) -> Option<Push> {
    meter.due_alarm(now)?;
    let destination = std::str::from_utf8(meter.push_destination()).ok().and_then(|text| text.parse().ok());
    let config = Config::client(LOGICAL_DEVICE, u16::from(client::VENDING));
    let mut port =
        Port::new(Wrapper::new(config, vec![0; firmware::APDU_MAX], vec![0; firmware::APDU_MAX]), now);
    let sent = port.push_due(now, meter);
    let (mut out, mut bytes) = ([0; firmware::APDU_MAX + HEADER_LEN], Vec::new());
    while let Some(n) = port.poll_transmit(now, &mut out) {
        bytes.extend_from_slice(&out[..n]);
    }
    // Nobody listens outside this machine.
    let destination: SocketAddr = destination.filter(|to: &SocketAddr| to.ip().is_loopback())?;
    sent.then_some(Push { destination, bytes })
}

/// Has management name the destination of a meter's alarms. False when the meter refuses.
pub(crate) fn direct(meter: &mut Firmware, destination: SocketAddr) -> bool {
    let text = destination.to_string();
    let to = SendDestinationAndMethod {
        transport_service: TransportService::Tcp,
        destination: text.as_bytes(),
        message: MessageType::AXdr,
    };
    let mut buffer = [0; 80];
    let mut w = SliceWriter::new(&mut buffer);
    if to.put(&mut w).is_err() {
        return false;
    }
    let management = Caller { client_sap: client::MANAGEMENT, authenticated: true };
    let at = SEND_DESTINATION_AND_METHOD.of(PUSH_ON_ALARM);
    debug_assert_eq!(at.class_id, CLASS);
    Data::from_bytes_in(w.as_slice()).is_ok_and(|value| meter.set(management, at, None, value).is_ok())
}

/// Sends what meters have to say, each from its own address, until the task is dropped.
pub async fn serve(meters: Vec<(Ipv4Addr, Arc<SimMeter>)>) {
    loop {
        for (address, meter) in &meters {
            while let Some(push) = meter.next_push() {
                let from = *address;
                tokio::spawn(async move {
                    let to = push.destination;
                    match tokio::time::timeout(PATIENCE, send(from, push)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::info!(%from, %to, %error, "an alarm was not delivered"),
                        Err(_) => tracing::info!(%from, %to, "nobody took an alarm"),
                    }
                });
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn send(from: Ipv4Addr, push: Push) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(push.destination).await?;
    stream.write_all(&push.bytes).await?;
    stream.shutdown().await
}
