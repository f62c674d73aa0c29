//! DLMS/COSEM application layer: association engines and services for both ends, on the codec of `dlms-cosem-rs`.

pub mod model;
