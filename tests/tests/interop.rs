//! The interop matrix, one implementation and one framing a test. `tests/interop.py` makes a table of what they
//! write.

use tests::matrix::{foreign_client, judge, our_client, short_names, their_engine, their_server};

macro_rules! clients {
    ($($name:ident: $peer:literal, $framing:literal, $index:literal;)*) => {
        $(#[test] fn $name() {
            judge(concat!($peer, "-", $framing), &foreign_client($peer, $framing, $index));
        })*
    };
}

clients! {
    peer_gurux_over_the_wrapper_in_every_way: "gurux", "wrapper", 1;
    peer_gurux_over_hdlc_in_every_way: "gurux", "hdlc", 2;
    peer_dlms_cosem_over_the_wrapper_in_every_way: "dlms-cosem", "wrapper", 3;
    peer_dlms_cosem_over_a_serial_line_in_every_way: "dlms-cosem", "serial", 4;
    peer_pydlms_over_the_wrapper_in_every_way: "pydlms", "wrapper", 5;
    peer_pydlms_over_hdlc_in_every_way: "pydlms", "hdlc", 6;
    peer_gurux_over_a_serial_line: "gurux", "serial", 7;
    peer_pydlms_over_a_serial_line: "pydlms", "serial", 8;
}

#[test]
fn peer_pydlms_meter_over_the_wrapper_with_our_client_in_every_way() {
    judge("pydlms meter-wrapper", &our_client("wrapper"));
}

#[test]
fn peer_pydlms_meter_over_hdlc_with_our_client_in_every_way() {
    judge("pydlms meter-hdlc", &our_client("hdlc"));
}

#[test]
fn the_client_engine_of_dlms_cosem_rs_with_our_server_in_every_way() {
    judge("dlms-cosem-rs", &their_engine());
}

#[test]
fn our_client_with_the_server_engine_of_dlms_cosem_rs_in_every_way() {
    judge("dlms-cosem-rs meter", &their_server());
}

#[test]
fn peer_pydlms_meter_is_read_and_written_by_short_names() {
    for framing in ["wrapper", "hdlc"] {
        assert_eq!(short_names::read_and_write(framing), Ok(()), "{framing}");
    }
}
