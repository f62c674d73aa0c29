//! Class 41, TCP-UDP setup (version 0).

use super::class::class;
use crate::codec::obis::Obis;

class! {
    /// TCP-UDP setup.
    TcpUdpSetup = 41, version 0;
    attributes {
        /// The port the meter listens on.
        2 TCP_UDP_PORT: (u16), tcp_udp_port, set_tcp_udp_port;
        /// The object that sets up IP.
        3 IP_REFERENCE: (Obis), ip_reference, set_ip_reference;
        /// Largest segment taken.
        4 MSS: (u16), mss, set_mss;
        /// Connections at once.
        5 NB_OF_SIM_CONN: (u8), nb_of_sim_conn, set_nb_of_sim_conn;
        /// Seconds without traffic after which a connection is ended; 0 is never.
        6 INACTIVITY_TIME_OUT: (u16), inactivity_time_out, set_inactivity_time_out;
    }
    methods {}
}
