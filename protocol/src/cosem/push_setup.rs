//! Class 40, push setup (version 0): what the meter sends by itself, where to, and when.

use super::class::{Nothing, class, structure};
use super::credit::wire_enum;
pub use super::profile::CaptureObject;
use super::{FromData, bad_value};
use crate::codec::axdr::{Data, DateTime};
use crate::codec::codec::{Encode, Result, Writer};

wire_enum! {
    /// What carries the message.
    TransportService {
        /// TCP.
        Tcp = 0,
        /// UDP.
        Udp = 1,
        /// FTP.
        Ftp = 2,
        /// SMTP.
        Smtp = 3,
        /// Short message.
        Sms = 4,
        /// HDLC.
        Hdlc = 5,
        /// M-Bus.
        MBus = 6,
        /// ZigBee.
        ZigBee = 7,
    }
}

wire_enum! {
    /// How the message is encoded.
    MessageType {
        /// An A-XDR encoded xDLMS APDU.
        AXdr = 0,
        /// An XML encoded xDLMS APDU.
        Xml = 1,
    }
}

structure! {
    /// Attribute 3.
    SendDestinationAndMethod<'a> {
        /// What carries it.
        transport_service: TransportService,
        /// The address, as the transport writes it: `host:port`, a telephone number, an HDLC address.
        destination: &'a [u8],
        /// How it is encoded.
        message: MessageType,
    }
}

structure! {
    /// When pushing is allowed.
    WindowElement {
        /// From; wildcards repeat it.
        start_time: DateTime,
        /// Until.
        end_time: DateTime,
    }
}

class! {
    /// Push setup.
    PushSetup = 40, version 0;
    attributes {
        /// What is sent, in order: attribute 0 is all of an object; data index 0 all of an attribute.
        2 PUSH_OBJECT_LIST: [CaptureObject], push_object_list, set_push_object_list;
        /// Where to.
        3 SEND_DESTINATION_AND_METHOD: (SendDestinationAndMethod<'static>), send_destination_and_method, set_send_destination_and_method;
        /// When; none means always.
        4 COMMUNICATION_WINDOW: [WindowElement], communication_window, set_communication_window;
        /// Seconds over which meters spread their messages.
        5 RANDOMISATION_START_INTERVAL: (u16), randomisation_start_interval, set_randomisation_start_interval;
        /// How often a message that failed is tried again.
        6 NUMBER_OF_RETRIES: (u8), number_of_retries, set_number_of_retries;
        /// Seconds between the tries.
        7 REPETITION_DELAY: (u16), repetition_delay, set_repetition_delay;
    }
    methods {
        /// Sends now.
        1 PUSH: (Nothing), push;
    }
}
