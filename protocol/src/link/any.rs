//! One type for whichever link a meter has.

use super::hdlc::Hdlc;
use super::wrapper::Wrapper;
use super::{Event, Link, SendError, Storage};
use crate::time::Instant;

/// HDLC or the wrapper, chosen at run time. `F` holds a frame (HDLC alone), `A` an APDU.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "no allocator to box with; an owner has one link per meter or bus"
)]
pub enum AnyLink<F, A> {
    /// HDLC.
    Hdlc(Hdlc<F, A>),
    /// TCP or UDP wrapper.
    Wrapper(Wrapper<A>),
}

macro_rules! each {
    ($self:expr, $link:ident => $call:expr) => {
        match $self {
            AnyLink::Hdlc($link) => $call,
            AnyLink::Wrapper($link) => $call,
        }
    };
}

impl<F: Storage, A: Storage> Link for AnyLink<F, A> {
    fn open(&mut self, now: Instant) {
        each!(self, link => link.open(now));
    }

    fn close(&mut self, now: Instant) {
        each!(self, link => link.close(now));
    }

    fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        each!(self, link => link.handle_bytes(now, bytes))
    }

    fn handle_timeout(&mut self, now: Instant) {
        each!(self, link => link.handle_timeout(now));
    }

    fn poll_event(&mut self) -> Option<Event<'_>> {
        each!(self, link => link.poll_event())
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        each!(self, link => link.poll_transmit(now, out))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        each!(self, link => link.poll_timeout())
    }

    fn send(&mut self, now: Instant, apdu: &[u8]) -> Result<(), SendError> {
        each!(self, link => link.send(now, apdu))
    }

    fn is_up(&self) -> bool {
        each!(self, link => link.is_up())
    }

    fn peer_sap(&self) -> Option<u16> {
        each!(self, link => link.peer_sap())
    }
}
