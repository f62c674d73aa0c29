//! A plain APDU of a server, reduced to what the engine acts on. Values stay where they are: only their ranges are kept.

use core::ops::Range;

use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, ErrorKind, Reader, Result};
use crate::codec::xdlms::{
    AccessRequestSpecification, AccessResponseSpecification, ActionResponse, ActionResult, ApduTag,
    ConfirmedServiceError, DataAccessResult, DataNotification, EventNotification, ExceptionResponse,
    GetDataResult, GetResponse, List, OptionalDateTime, SetResponse,
};

/// What came. The number is the invoke-id, 0 to 15.
pub(super) enum Answer {
    Get(u8, Get),
    Set(u8, Set),
    Action(u8, Action),
    /// The whole long invoke-id, and where the two lists are.
    Access(u32, Range<usize>, Range<usize>),
    Read(Read),
    /// The encoded list of results.
    Write(Range<usize>),
    Exception(ExceptionResponse),
    ServiceError(ConfirmedServiceError),
    Notification,
    EventNotification,
    /// Nothing a client waits for.
    Other,
}

/// A block of a value.
pub(super) struct Block {
    pub last: bool,
    pub number: u32,
    pub range: Range<usize>,
}

pub(super) enum Get {
    Value(Range<usize>),
    List(Range<usize>),
    Block(Block),
    Error(DataAccessResult),
}

pub(super) enum Set {
    Result(DataAccessResult),
    /// The encoded list of results.
    List(Range<usize>),
    /// A block was taken, the next is wanted.
    Taken(u32),
}

/// An answer to a Read.
pub(super) enum Read {
    /// One value.
    Value(Range<usize>),
    /// The whole encoded list, its length included.
    List(Range<usize>),
    /// One block of a value or of a list.
    Block { last: bool, number: u16, range: Range<usize> },
    /// An error, and the whole encoded list of one that it came in.
    Error(DataAccessResult, Range<usize>),
}

/// The results of a Write: per entry 0, or 1 and a data-access-result.
pub(super) struct WriteResults;

impl WriteResults {
    /// Passes over the list.
    fn skip(r: &mut Reader<'_>) -> Result<()> {
        for _ in 0..r.length()? {
            Self::next(r)?;
        }
        Ok(())
    }

    /// The next result.
    pub fn next(r: &mut Reader<'_>) -> Result<DataAccessResult> {
        match r.u8()? {
            0 => Ok(DataAccessResult::Success),
            1 => Ok(DataAccessResult::from_u8(r.u8()?)),
            other => Err(r.err_back(ErrorKind::InvalidTag(other), 1)),
        }
    }
}

/// `Read-Response ::= SEQUENCE OF CHOICE { data [0], data-access-error [1], data-block-result [2], block-number [3] }`
fn read(r: &mut Reader<'_>) -> Result<Answer> {
    let from = r.offset();
    let count = r.length()?;
    if count != 1 {
        for _ in 0..count {
            GetDataResult::decode(r)?;
        }
        return Ok(Answer::Read(Read::List(from..r.offset())));
    }
    Ok(Answer::Read(match r.peek_u8()? {
        2 => {
            r.skip(1)?;
            let last = r.u8()? != 0;
            let number = r.u16()?;
            let raw = r.length_prefixed()?;
            Read::Block { last, number, range: r.offset().saturating_sub(raw.len())..r.offset() }
        }
        // The value alone, and the list of one that a list request may have.
        _ => match GetDataResult::decode(r)? {
            GetDataResult::Data(_) => Read::Value(from.saturating_add(2)..r.offset()),
            GetDataResult::Error(error) => Read::Error(error, from..r.offset()),
        },
    }))
}

pub(super) enum Action {
    Result(ActionResult, Returned),
    List(Range<usize>),
    Block(Block),
    /// A block was taken, the next is wanted.
    Taken(u32),
}

/// What a method returned.
pub(super) enum Returned {
    Nothing,
    Value(Range<usize>),
    Refused(DataAccessResult),
}

impl Answer {
    /// Parses a plain APDU, tag included.
    ///
    /// # Errors
    /// When it is of a kind we know and does not parse.
    pub fn parse(plain: &[u8]) -> Result<Self> {
        let Some((&tag, body)) = plain.split_first() else { return Ok(Self::Other) };
        let mut r = Reader::with_base(body, 1);
        Ok(match ApduTag::from_u8(tag) {
            Some(ApduTag::GetResponse) => get(&mut r)?,
            Some(ApduTag::SetResponse) => set(&mut r)?,
            Some(ApduTag::ActionResponse) => action(&mut r)?,
            Some(ApduTag::AccessResponse) => access(&mut r)?,
            Some(ApduTag::ReadResponse) => read(&mut r)?,
            Some(ApduTag::WriteResponse) => {
                let from = r.offset();
                WriteResults::skip(&mut r)?;
                Self::Write(from..r.offset())
            }
            Some(ApduTag::ExceptionResponse) => Self::Exception(ExceptionResponse::decode(&mut r)?),
            Some(ApduTag::ConfirmedServiceError) => {
                Self::ServiceError(ConfirmedServiceError::decode(&mut r)?)
            }
            Some(ApduTag::DataNotification) => {
                DataNotification::decode(&mut r)?;
                Self::Notification
            }
            Some(ApduTag::EventNotificationRequest) => {
                EventNotification::decode(&mut r)?;
                Self::EventNotification
            }
            _ => Self::Other,
        })
    }
}

fn access(r: &mut Reader<'_>) -> Result<Answer> {
    let long_invoke_id = r.u32()?;
    OptionalDateTime::decode(r)?;
    if r.u8()? != 0 {
        List::<AccessRequestSpecification<'_>>::decode(r)?;
    }
    let data = r.offset();
    List::<Data<'_>>::decode(r)?;
    let results = r.offset();
    List::<AccessResponseSpecification>::decode(r)?;
    Ok(Answer::Access(long_invoke_id, data..results, results..r.offset()))
}

fn get(r: &mut Reader<'_>) -> Result<Answer> {
    let response = GetResponse::decode(r)?;
    let end = r.offset();
    Ok(match response {
        // Tag, choice, invoke-id and result choice are in front of the value.
        GetResponse::Normal { invoke_id, result: GetDataResult::Data(_) } => {
            Answer::Get(invoke_id.id(), Get::Value(4..end))
        }
        GetResponse::Normal { invoke_id, result: GetDataResult::Error(error) } => {
            Answer::Get(invoke_id.id(), Get::Error(error))
        }
        GetResponse::WithList { invoke_id, .. } => Answer::Get(invoke_id.id(), Get::List(3..end)),
        GetResponse::WithDataBlock { invoke_id, block } => {
            let get = match block.result {
                Ok(raw) => Get::Block(Block {
                    last: block.last_block,
                    number: block.block_number,
                    range: end.saturating_sub(raw.len())..end,
                }),
                Err(error) => Get::Error(error),
            };
            Answer::Get(invoke_id.id(), get)
        }
    })
}

fn set(r: &mut Reader<'_>) -> Result<Answer> {
    let response = SetResponse::decode(r)?;
    let end = r.offset();
    Ok(match response {
        SetResponse::Normal { invoke_id, result } | SetResponse::LastDataBlock { invoke_id, result, .. } => {
            Answer::Set(invoke_id.id(), Set::Result(result))
        }
        SetResponse::DataBlock { invoke_id, block_number } => {
            Answer::Set(invoke_id.id(), Set::Taken(block_number))
        }
        // Here the block number follows the list.
        SetResponse::LastDataBlockWithList { invoke_id, .. } => {
            Answer::Set(invoke_id.id(), Set::List(3..end.saturating_sub(4)))
        }
        SetResponse::WithList { invoke_id, .. } => Answer::Set(invoke_id.id(), Set::List(3..end)),
    })
}

fn action(r: &mut Reader<'_>) -> Result<Answer> {
    let response = ActionResponse::decode(r)?;
    let end = r.offset();
    Ok(match response {
        ActionResponse::Normal { invoke_id, response } => {
            let returned = match response.return_parameters {
                None => Returned::Nothing,
                // Tag, choice, invoke-id, result, presence and result choice are in front of the value.
                Some(GetDataResult::Data(_)) => Returned::Value(6..end),
                Some(GetDataResult::Error(error)) => Returned::Refused(error),
            };
            Answer::Action(invoke_id.id(), Action::Result(response.result, returned))
        }
        ActionResponse::WithList { invoke_id, .. } => Answer::Action(invoke_id.id(), Action::List(3..end)),
        ActionResponse::NextPblock { invoke_id, block_number } => {
            Answer::Action(invoke_id.id(), Action::Taken(block_number))
        }
        ActionResponse::WithPblock { invoke_id, block } => {
            let block = Block {
                last: block.last_block,
                number: block.block_number,
                range: end.saturating_sub(block.raw_data.len())..end,
            };
            Answer::Action(invoke_id.id(), Action::Block(block))
        }
    })
}
