//! The transactions of one Modbus line, on tokio-modbus: each has a deadline, and no late answer is taken for the next one's.

use super::plan::ReadRequest;
use crate::driver::{self, ByteCounters, Endpoint, Pipe};
use crate::session::model::{Access, Point, Table};
use crate::session::trouble::Trouble;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_modbus::client::{Client, Context as Caller, rtu, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Request, Response};

/// How messages are framed on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Unit, message, CRC: no transaction number, so an answer is told from another only by its unit and function.
    Rtu,
    /// With a transaction number.
    Tcp,
}

/// An RTU unit whose answer was given up may still speak. It is left alone for this long, and what it says is thrown away.
const LATE_ANSWER_GRACE: Duration = Duration::from_secs(2);
/// A unit whose answer came damaged has spoken; what may be left of it is over within this time.
const DAMAGED_ANSWER_GRACE: Duration = Duration::from_millis(100);
/// The most bytes thrown away before a request: more than any answer has, so that a babbling peer cannot hold us here.
const DRAIN_MAX: usize = 4096;
/// Bytes of a request and of an answer besides its registers (unit, function, count, CRC).
const OVERHEAD_BYTES: u32 = 16;

/// The open pipe, shared between tokio-modbus (which owns what it is given) and the draining before each request.
#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<Pipe>>);

impl Shared {
    fn with<T>(&self, act: impl FnOnce(Pin<&mut Pipe>) -> T) -> T {
        act(Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|pipe| pipe.poll_read(cx, buf))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|pipe| pipe.poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|pipe| pipe.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|pipe| pipe.poll_shutdown(cx))
    }
}

/// One Modbus line: opens itself when it is used, and again after it broke.
pub struct Wire {
    endpoint: Endpoint,
    framing: Framing,
    counters: Arc<ByteCounters>,
    byte_time: Duration,
    open: Option<(Shared, Caller)>,
    given_up: HashMap<u8, Instant>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("endpoint", &self.endpoint)
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// A line that is not open yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, framing: Framing, counters: Arc<ByteCounters>) -> Self {
        let byte_time = endpoint.byte_time();
        Self { endpoint, framing, counters, byte_time, open: None, given_up: HashMap::new() }
    }

    /// A line on a pipe that is already open, for tests in virtual time.
    #[cfg(test)]
    pub(crate) fn on(pipe: Pipe, framing: Framing) -> Self {
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let timeout = Duration::from_millis(1);
        let tcp = driver::TcpEndpoint { address: nowhere, connect_timeout: timeout, source: None };
        let mut wire = Self::new(Endpoint::Tcp(tcp), framing, Arc::default());
        let pipe = Shared(Arc::new(Mutex::new(pipe)));
        wire.open = Some((pipe.clone(), wire.attach(&pipe)));
        wire
    }

    /// Closes the line; the next transaction opens it again.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Reads registers, or bits as registers of 0 and 1. Exactly as many as were asked for.
    ///
    /// # Errors
    /// [`Trouble`]; a Modbus exception is `Refused` with its code.
    pub async fn read(
        &mut self,
        unit: u8,
        request: ReadRequest,
        patience: Duration,
    ) -> Result<Vec<u16>, Trouble> {
        let ReadRequest { table, address, count } = request;
        let (call, what) = match table {
            Table::Coil => (Request::ReadCoils(address, count), "coils"),
            Table::Discrete => (Request::ReadDiscreteInputs(address, count), "discrete inputs"),
            Table::Holding => (Request::ReadHoldingRegisters(address, count), "holding registers"),
            Table::Input => (Request::ReadInputRegisters(address, count), "input registers"),
        };
        let what = format!(
            "a read of {what} {address} to {} of unit {unit}",
            address.saturating_add(count.saturating_sub(1))
        );
        let mut values = match self.call(unit, call, &what, patience, u32::from(count) * 2).await? {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                bits.into_iter().map(u16::from).collect()
            }
            Response::ReadHoldingRegisters(words) | Response::ReadInputRegisters(words) => words,
            _ => return Err(Trouble::Protocol(format!("{what} was answered by something else"))),
        };
        // Bits come in whole bytes, so there may be more; fewer values than asked for are no answer.
        if values.len() < usize::from(count) || (!table.is_bits() && values.len() > usize::from(count)) {
            let got = values.len();
            return Err(Trouble::Protocol(format!(
                "{what} was answered with {got} values instead of {count}"
            )));
        }
        values.truncate(usize::from(count));
        Ok(values)
    }

    /// Writes what commands a point, in the manner its model says. `about_to_send` is called when everything is ready, just before the request leaves.
    ///
    /// # Errors
    /// [`Trouble`]; a Modbus exception is `Refused` with its code.
    pub async fn write(
        &mut self,
        unit: u8,
        point: &Point,
        words: &[u16],
        patience: Duration,
        about_to_send: impl FnOnce(),
    ) -> Result<(), Trouble> {
        let (address, bits) = (point.address, point.table.is_bits());
        let what =
            format!("a write of {} {address} of unit {unit}", if bits { "coil" } else { "holding register" });
        let first = words.first().copied().unwrap_or(0);
        let (request, expected) = match (bits, point.access) {
            (_, Access::Read) => {
                return Err(Trouble::NotReady(format!("{what}: the model says it is only read")));
            }
            (true, Access::WriteSingle) => (
                Request::WriteSingleCoil(address, first != 0),
                Response::WriteSingleCoil(address, first != 0),
            ),
            (false, Access::WriteSingle) => {
                (Request::WriteSingleRegister(address, first), Response::WriteSingleRegister(address, first))
            }
            (true, Access::WriteMultiple) => {
                let coils: Vec<bool> = words.iter().map(|word| *word != 0).collect();
                (
                    Request::WriteMultipleCoils(address, coils.into()),
                    Response::WriteMultipleCoils(address, point.registers),
                )
            }
            (false, Access::WriteMultiple) => (
                Request::WriteMultipleRegisters(address, words.to_vec().into()),
                Response::WriteMultipleRegisters(address, point.registers),
            ),
        };
        self.ready(unit).await?;
        about_to_send();
        if self.call(unit, request, &what, patience, 0).await? == expected {
            return Ok(());
        }
        Err(Trouble::Protocol(format!("{what} was answered by something else")))
    }

    /// Opens the line if need be, and lets a unit whose answer was given up finish first.
    async fn ready(&mut self, unit: u8) -> Result<(), Trouble> {
        if let Some(until) = self.given_up.remove(&unit) {
            tokio::time::sleep_until(until).await;
        }
        if self.open.is_none() {
            let pipe =
                Shared(Arc::new(Mutex::new(driver::open(&self.endpoint, self.counters.clone()).await?)));
            let caller = self.attach(&pipe);
            self.open = Some((pipe, caller));
        }
        Ok(())
    }

    fn attach(&self, pipe: &Shared) -> Caller {
        match self.framing {
            Framing::Rtu => rtu::attach(pipe.clone()),
            Framing::Tcp => tcp::attach(pipe.clone()),
        }
    }

    /// After an answer that was late or wrong the framing may be out of step. A bus keeps its port, starts with clean
    /// framing and leaves the unit alone for `grace`; a TCP connection is closed, and what is late dies with it.
    fn give_up(&mut self, unit: u8, grace: Duration) {
        match (self.framing, self.open.take()) {
            (Framing::Rtu, Some((pipe, _))) => {
                let caller = self.attach(&pipe);
                self.open = Some((pipe, caller));
                self.given_up.insert(unit, Instant::now() + grace);
            }
            _ => self.close(),
        }
    }

    async fn call(
        &mut self,
        unit: u8,
        request: Request<'static>,
        what: &str,
        patience: Duration,
        answer_bytes: u32,
    ) -> Result<Response, Trouble> {
        self.ready(unit).await?;
        let Some((pipe, caller)) = &mut self.open else {
            return Err(Trouble::NotReady("the line did not stay open".into()));
        };
        let broken = |why: String| Trouble::Broken { waited_for: what.to_owned(), why };
        if let Err(error) = drain(pipe).await {
            self.close();
            return Err(broken(error.to_string()));
        }
        let pipe = pipe.clone();
        let heard = || pipe.with(|pipe| pipe.traffic().received_bytes);
        let heard_before = heard();
        caller.set_slave(Slave(unit));
        let patience = patience + self.byte_time * (OVERHEAD_BYTES + answer_bytes);
        let answer = tokio::time::timeout(patience, caller.call(request)).await;
        match answer {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Ok(Err(exception))) => {
                let code = u8::from(exception);
                Err(Trouble::Refused {
                    reason: format!("{what}: {exception} (exception {code})"),
                    code: Some(code),
                })
            }
            Ok(Err(tokio_modbus::Error::Transport(error))) if error.kind() != io::ErrorKind::InvalidData => {
                self.close();
                Err(broken(error.to_string()))
            }
            Ok(Err(tokio_modbus::Error::Transport(_))) => {
                self.give_up(unit, LATE_ANSWER_GRACE);
                Err(Trouble::Protocol(format!("{what} was answered by garbage")))
            }
            Ok(Err(tokio_modbus::Error::Protocol(_))) => {
                self.give_up(unit, LATE_ANSWER_GRACE);
                Err(Trouble::Protocol(format!("{what} was answered by another unit or function")))
            }
            // tokio-modbus goes on looking for a good frame in damaged bytes until the time is over.
            Err(_elapsed) if heard() > heard_before => {
                self.give_up(unit, DAMAGED_ANSWER_GRACE);
                Err(Trouble::Protocol(format!("{what} was answered by garbage")))
            }
            Err(_elapsed) => {
                self.give_up(unit, LATE_ANSWER_GRACE);
                Err(Trouble::Silent { waited_for: what.to_owned(), waited: patience })
            }
        }
    }
}

/// Throws away what has arrived unasked.
async fn drain(pipe: &Shared) -> io::Result<usize> {
    let mut scratch = [0; 256];
    let mut thrown_away = 0;
    std::future::poll_fn(|cx| {
        while thrown_away < DRAIN_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match pipe.with(|pipe| pipe.poll_read(cx, &mut buf)) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                Poll::Ready(Ok(())) => thrown_away += buf.filled().len(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(thrown_away))
    })
    .await
}
