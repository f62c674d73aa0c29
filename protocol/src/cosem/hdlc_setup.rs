//! Class 23, IEC HDLC setup (version 1).

use super::class::class;
use super::credit::wire_enum;
use super::{FromData, bad_value};
use crate::codec::axdr::Data;
use crate::codec::codec::{Encode, Result, Writer};

wire_enum! {
    /// Attribute 2.
    CommSpeed {
        /// 300 baud.
        Baud300 = 0,
        /// 600 baud.
        Baud600 = 1,
        /// 1,200 baud.
        Baud1200 = 2,
        /// 2,400 baud.
        Baud2400 = 3,
        /// 4,800 baud.
        Baud4800 = 4,
        /// 9,600 baud.
        Baud9600 = 5,
        /// 19,200 baud.
        Baud19200 = 6,
        /// 38,400 baud.
        Baud38400 = 7,
        /// 57,600 baud.
        Baud57600 = 8,
        /// 115,200 baud.
        Baud115200 = 9,
    }
}

impl CommSpeed {
    const TABLE: [(u32, Self); 10] = [
        (300, Self::Baud300),
        (600, Self::Baud600),
        (1_200, Self::Baud1200),
        (2_400, Self::Baud2400),
        (4_800, Self::Baud4800),
        (9_600, Self::Baud9600),
        (19_200, Self::Baud19200),
        (38_400, Self::Baud38400),
        (57_600, Self::Baud57600),
        (115_200, Self::Baud115200),
    ];

    /// The speed of so many baud.
    #[must_use]
    pub fn from_baud(baud: u32) -> Option<Self> {
        Self::TABLE.iter().find(|(b, _)| *b == baud).map(|(_, speed)| *speed)
    }
}

class! {
    /// IEC HDLC setup.
    HdlcSetup = 23, version 1;
    attributes {
        /// The speed of the port.
        2 COMM_SPEED: (CommSpeed), comm_speed, set_comm_speed;
        /// Frames sent before an acknowledgement.
        3 WINDOW_SIZE_TRANSMIT: (u8), window_size_transmit, set_window_size_transmit;
        /// Frames taken before an acknowledgement.
        4 WINDOW_SIZE_RECEIVE: (u8), window_size_receive, set_window_size_receive;
        /// Largest information field sent.
        5 MAX_INFO_FIELD_LENGTH_TRANSMIT: (u16), max_info_field_length_transmit, set_max_info_field_length_transmit;
        /// Largest information field taken.
        6 MAX_INFO_FIELD_LENGTH_RECEIVE: (u16), max_info_field_length_receive, set_max_info_field_length_receive;
        /// Milliseconds between two bytes after which a frame is over.
        7 INTER_OCTET_TIME_OUT: (u16), inter_octet_time_out, set_inter_octet_time_out;
        /// Seconds without a frame after which the link is over; 0 is never.
        8 INACTIVITY_TIME_OUT: (u16), inactivity_time_out, set_inactivity_time_out;
        /// The physical (lower HDLC) address.
        9 DEVICE_ADDRESS: (u16), device_address, set_device_address;
    }
    methods {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_its_place_in_the_standards_list() {
        assert_eq!(CommSpeed::from_baud(9_600), Some(CommSpeed::Baud9600));
        assert_eq!(CommSpeed::from_baud(9_601), None);
        assert!(CommSpeed::TABLE.iter().enumerate().all(|(i, (_, speed))| *speed as usize == i));
    }
}
