//! Both association engines against each other and against the engines of `dlms-cosem-rs`, over a memory pipe with
//! virtual time.

mod dialogue;
mod differential;
mod lossy;
mod meter;
