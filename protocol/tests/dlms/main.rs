//! Both association engines against each other and against the engines of `dlms-cosem-rs`, over a memory pipe with
//! virtual time.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at the first surprise")]

mod classes;
mod dialogue;
mod differential;
mod exceptions;
mod general;
mod general_blocks;
mod meter;
mod policy;
mod services;
mod short_names;
mod signed;
mod strangers;
