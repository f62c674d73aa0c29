//! A plain APDU of a server, reduced to what the engine acts on. Values stay where they are: only their ranges are kept.

use core::ops::Range;

use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Reader, Result};
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
