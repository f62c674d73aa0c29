//! The prepaid meter, generic over the board traits.
#![no_std]
#![forbid(unsafe_code)]
