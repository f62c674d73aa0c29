//! Read and Write: the services of meters that address their objects by short names (Green Book 9.3.13, 9.3.14). An
//! attribute's name is its object's base name plus eight per attribute.

use core::ops::Range;

use super::answer::{Read, WriteResults};
use super::event::{Error, StartError};
use super::response::started;
use super::{Client, Happened, Pending};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Reader, Writer};
use crate::codec::xdlms::{ApduTag, Conformance, DataAccessResult, SelectiveAccess};
use crate::time::Instant;

/// Choices of `Variable-Access-Specification`.
const VARIABLE_NAME: u8 = 2;
const PARAMETERIZED: u8 = 4;
const BLOCK_NUMBER: u8 = 5;

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Reads the attribute with this short name, or the selected part of it.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn read(
        &mut self,
        now: Instant,
        name: u16,
        selection: Option<SelectiveAccess<'_>>,
    ) -> Result<(), StartError> {
        self.ready(match selection {
            None => Conformance::READ,
            Some(_) => Conformance::READ | Conformance::PARAMETERIZED_ACCESS,
        })?;
        self.start(now, Pending::Read { list: false, blocks: 0 }, |w| {
            w.write_bytes(&[ApduTag::ReadRequest.as_u8(), 1])?;
            w.write_u8(if selection.is_some() { PARAMETERIZED } else { VARIABLE_NAME })?;
            w.write_u16(name)?;
            selection.map_or(Ok(()), |selection| selection.encode(w))
        })
    }

    /// Reads several attributes; what comes is an encoded `List<GetDataResult>`.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn read_list(&mut self, now: Instant, names: &[u16]) -> Result<(), StartError> {
        self.ready(Conformance::READ | Conformance::MULTIPLE_REFERENCES)?;
        self.start(now, Pending::Read { list: true, blocks: 0 }, |w| {
            w.write_u8(ApduTag::ReadRequest.as_u8())?;
            w.write_length(names.len())?;
            names.iter().try_for_each(|name| {
                w.write_u8(VARIABLE_NAME)?;
                w.write_u16(*name)
            })
        })
    }

    /// Writes the attribute with this short name, or invokes the method with it.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn write(&mut self, now: Instant, name: u16, value: Data<'_>) -> Result<(), StartError> {
        self.ready(Conformance::WRITE)?;
        self.start(now, Pending::Write, |w| {
            w.write_bytes(&[ApduTag::WriteRequest.as_u8(), 1, VARIABLE_NAME])?;
            w.write_u16(name)?;
            w.write_u8(1)?;
            value.encode(w)
        })
    }

    pub(super) fn handle_read(&mut self, now: Instant, read: Read) {
        let Pending::Read { list, blocks } = self.pending else { return };
        match read {
            Read::Value(range) if blocks == 0 && !list => self.finish_value(range),
            // A list of one: its length and its choice are in front of the value.
            Read::Value(range) if blocks == 0 => self.finish_value(range.start.saturating_sub(2)..range.end),
            Read::List(range) if blocks == 0 && list => self.finish_value(range),
            // In a list it is the result of its attribute; as an answer to a block it ends the value.
            Read::Error(_, range) if blocks == 0 && list => self.finish_value(range),
            Read::Error(error, _) => self.fail(Error::DataAccess(error)),
            Read::Block { last, number, range } if Some(number) == blocks.checked_add(1) => {
                if last {
                    return self.finish_value(range);
                }
                if u32::from(number) >= self.config.blocks_max {
                    return self.fail(Error::TooLong);
                }
                match self.send_read_next(number) {
                    Ok(()) => {
                        self.wait(now, Pending::Read { list, blocks: number });
                        self.happened = Some(Happened::Value { range, last: false });
                    }
                    Err(error) => self.fail(started(error)),
                }
            }
            Read::Block { number, .. } if blocks > 0 && number == blocks => {}
            _ => self.fail(Error::Unexpected),
        }
    }

    pub(super) fn handle_write(&mut self, range: Range<usize>) {
        if self.pending != Pending::Write {
            return;
        }
        let mut r = Reader::new(self.rx.get(range).unwrap_or(&[]));
        match r.length().and_then(|count| WriteResults::next(&mut r).map(|result| (count, result))) {
            Ok((1, DataAccessResult::Success)) => self.finish(Happened::Done),
            Ok((1, error)) => self.fail(Error::DataAccess(error)),
            Ok(_) => self.fail(Error::Unexpected),
            Err(error) => self.fail(Error::Malformed(error)),
        }
    }

    fn send_read_next(&mut self, number: u16) -> Result<(), StartError> {
        self.tx
            .build(|w| {
                w.write_bytes(&[ApduTag::ReadRequest.as_u8(), 1, BLOCK_NUMBER])?;
                w.write_u16(number)
            })
            .map_err(|_| StartError::TooLong)?;
        self.send(self.service_form())
    }
}
