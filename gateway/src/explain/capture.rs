//! Network captures: classic pcap and pcapng, Ethernet, Linux cooked, raw IP and loopback; TCP put in order, UDP by datagram.

use super::input::Stream;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// DLMS/COSEM over TCP and UDP.
const DLMS_PORT: u16 = 4059;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    udp: bool,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

struct Segment {
    sequence: u32,
    payload: Vec<u8>,
}

type Flows = BTreeMap<Flow, Vec<Segment>>;

/// The streams of a capture; `None` when the bytes are none.
pub(super) fn read(bytes: &[u8]) -> Option<Result<Vec<Stream>, String>> {
    let magic = bytes.first_chunk::<4>()?;
    let packets = match *magic {
        [0xA1, 0xB2, 0xC3, 0xD4] | [0xA1, 0xB2, 0x3C, 0x4D] => classic(bytes, true),
        [0xD4, 0xC3, 0xB2, 0xA1] | [0x4D, 0x3C, 0xB2, 0xA1] => classic(bytes, false),
        [0x0A, 0x0D, 0x0D, 0x0A] => next_generation(bytes),
        _ => return None,
    };
    let mut flows = Flows::new();
    for (link, packet) in packets {
        let _ = add_packet(&mut flows, link, packet);
    }
    let streams = to_streams(flows);
    Some(if streams.is_empty() {
        Err("the capture holds no DLMS traffic: nothing on port 4059, no wrapper and no HDLC".into())
    } else {
        Ok(streams)
    })
}

fn number(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let four = *bytes.get(at..)?.first_chunk::<4>()?;
    Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

fn half(bytes: &[u8], at: usize, big: bool) -> Option<u16> {
    let two = *bytes.get(at..)?.first_chunk::<2>()?;
    Some(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
}

/// Packets with their link type.
fn classic(bytes: &[u8], big: bool) -> Vec<(u32, &[u8])> {
    let mut packets = Vec::new();
    let link = number(bytes, 20, big).unwrap_or(0) & 0xFFFF;
    let mut at = 24;
    while let Some(length) = number(bytes, at + 8, big) {
        let start = at + 16;
        let Some(packet) = bytes.get(start..start.saturating_add(length as usize)) else { break };
        packets.push((link, packet));
        at = start + packet.len();
    }
    packets
}

fn next_generation(bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut packets, mut links) = (Vec::new(), Vec::new());
    let (mut at, mut big) = (0, false);
    while let Some(kind) = number(bytes, at, big) {
        if kind == 0x0A0D_0D0A {
            big = number(bytes, at + 8, true) == Some(0x1A2B_3C4D);
            links.clear();
        }
        let Some(length) = number(bytes, at + 4, big).map(|n| n as usize).filter(|n| *n >= 12) else { break };
        let Some(block) = bytes.get(at..at.saturating_add(length)) else { break };
        match kind {
            1 => links.push(u32::from(half(block, 8, big).unwrap_or(0))),
            6 => {
                let interface = number(block, 8, big).unwrap_or(0) as usize;
                let captured = number(block, 20, big).unwrap_or(0) as usize;
                if let (Some(&link), Some(packet)) =
                    (links.get(interface), block.get(28..28_usize.saturating_add(captured)))
                {
                    packets.push((link, packet));
                }
            }
            3 => {
                if let (Some(&link), Some(packet)) = (links.first(), block.get(12..length - 4)) {
                    packets.push((link, packet));
                }
            }
            _ => {}
        }
        at += length;
    }
    packets
}

/// The IP packet inside, by link type (the registry of tcpdump.org).
fn network_layer(link: u32, packet: &[u8]) -> Option<&[u8]> {
    match link {
        0 | 108 => packet.get(4..),
        1 => {
            let mut at = 12;
            // 802.1Q tags.
            while half(packet, at, true)? == 0x8100 {
                at += 4;
            }
            matches!(half(packet, at, true)?, 0x0800 | 0x86DD).then(|| packet.get(at + 2..))?
        }
        12 | 14 | 101 | 228 | 229 => Some(packet),
        113 => packet.get(16..),
        276 => packet.get(20..),
        _ => None,
    }
}

fn add_packet(flows: &mut Flows, link: u32, packet: &[u8]) -> Option<()> {
    let ip = network_layer(link, packet)?;
    let (from, to, protocol, body) = match ip.first()? >> 4 {
        4 => {
            let header = usize::from(ip.first()? & 0x0F) * 4;
            let total = usize::from(half(ip, 2, true)?);
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<4>()?));
            // Zero: the network card had still to fill it in.
            let end = if total == 0 { ip.len() } else { total.min(ip.len()) };
            (address(12)?, address(16)?, *ip.get(9)?, ip.get(header..end)?)
        }
        6 => {
            let address = |at: usize| Some(IpAddr::from(*ip.get(at..)?.first_chunk::<16>()?));
            let end = (40 + usize::from(half(ip, 4, true)?)).min(ip.len());
            (address(8)?, address(24)?, *ip.get(6)?, ip.get(40..end)?)
        }
        _ => return None,
    };
    let ports = (half(body, 0, true)?, half(body, 2, true)?);
    let flow = Flow { udp: protocol == 17, from: (from, ports.0), to: (to, ports.1) };
    let (sequence, payload) = match protocol {
        6 => (number(body, 4, true)?, body.get(usize::from(*body.get(12)? >> 4) * 4..)?),
        17 => (0, body.get(8..)?),
        _ => return None,
    };
    if !payload.is_empty() {
        flows.entry(flow).or_default().push(Segment { sequence, payload: payload.to_vec() });
    }
    Some(())
}

/// Whether a flow carries DLMS: by its port, or by how it begins.
fn is_dlms(flow: &Flow, segments: &[Segment]) -> bool {
    let begins = segments.first().map_or(&[][..], |s| &s.payload);
    let framed = matches!(begins, [0x7E, 0xA0..=0xAF, ..] | [0, 1, _, _, _, _, _, _, 0x0F | 0x60.., ..]);
    flow.from.1 == DLMS_PORT || flow.to.1 == DLMS_PORT || framed
}

fn to_streams(flows: Flows) -> Vec<Stream> {
    let mut streams = Vec::new();
    for (flow, segments) in flows {
        if !is_dlms(&flow, &segments) {
            continue;
        }
        let kind = if flow.udp { "UDP" } else { "TCP" };
        let end = |(address, port)| std::net::SocketAddr::new(address, port);
        let title = format!("{kind} {} -> {}", end(flow.from), end(flow.to));
        let mut stream = Stream { title, bytes: Vec::new(), datagrams: Vec::new() };
        if flow.udp {
            for segment in segments {
                stream.datagrams.push(stream.bytes.len());
                stream.bytes.extend(segment.payload);
            }
        } else {
            put_in_order(segments, &mut stream);
        }
        streams.push(stream);
    }
    // Questions before answers: the association's titles and the attributes asked for come from the client.
    streams.sort_by_key(|s| s.title.split(" -> ").next().is_some_and(|from| from.ends_with(":4059")));
    streams
}

/// TCP: by sequence number relative to the first seen, repeated bytes once. After a hole the rest follows all the same.
fn put_in_order(mut segments: Vec<Segment>, stream: &mut Stream) {
    let Some(base) = segments.first().map(|s| s.sequence) else { return };
    let relative = |sequence: u32| sequence.wrapping_sub(base).cast_signed();
    segments.sort_by_key(|s| relative(s.sequence));
    let mut next = i64::MIN;
    for segment in segments {
        let at = i64::from(relative(segment.sequence));
        let overlap = usize::try_from(next.saturating_sub(at)).unwrap_or(0);
        if let Some(fresh) = segment.payload.get(overlap..) {
            stream.bytes.extend_from_slice(fresh);
            next = at + i64::try_from(segment.payload.len()).unwrap_or(0);
        }
    }
}
