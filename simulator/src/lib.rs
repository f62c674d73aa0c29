//! The firmware library on virtual boards, by the thousand.
