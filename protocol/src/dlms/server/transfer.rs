//! What spans several APDUs of one request.

use super::stream::{Cursor, Source};
use crate::codec::xdlms::InvokeId;

/// A transfer in progress. A new request ends the previous one: the standard allows one at a time per association here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Transfer {
    /// None.
    #[default]
    Idle,
    /// A value goes out in blocks. The request's selection or list is in the long buffer.
    Reading {
        invoke_id: InvokeId,
        source: Source,
        /// Length of the stored request.
        request_len: usize,
        /// Number of the last block sent.
        number: u32,
        /// Where that block began, to send it again.
        again: Cursor,
        /// Where the next one begins; `None` after the last.
        next: Option<Cursor>,
    },
    /// A parameter comes in blocks. The descriptors are in the long buffer, then what has come of the value.
    Writing {
        invoke_id: InvokeId,
        service: Writing,
        /// Length of the stored descriptors.
        head_len: usize,
        /// Length of descriptors and value together.
        len: usize,
        /// Number of the last block taken.
        number: u32,
    },
    /// A method's return value goes out in blocks from the long buffer.
    Returning {
        invoke_id: InvokeId,
        len: usize,
        /// Where the last block sent began, and where the next begins.
        again: usize,
        next: usize,
        number: u32,
    },
}

/// What a parameter in blocks is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Set,
    SetList,
    Action,
    ActionList,
}
