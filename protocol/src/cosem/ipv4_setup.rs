//! Class 42, IPv4 setup (version 0). Addresses are double-long-unsigned, the first octet on top. Method 3, which returns the
//! number of multicast addresses, is left out: attribute 4 says it.

use super::class::{class, structure};
use crate::codec::obis::Obis;

structure! {
    /// An option of the IP header (RFC 791).
    IpOption<'a> {
        /// Its type.
        ip_option_type: u8,
        /// Its length in octets, type and length included.
        ip_option_length: u8,
        /// Its data.
        ip_option_data: &'a [u8],
    }
}

class! {
    /// IPv4 setup.
    Ipv4Setup = 42, version 0;
    attributes {
        /// The object that sets up the layer below.
        2 DL_REFERENCE: (Obis), dl_reference, set_dl_reference;
        /// The meter's address; 0 while it has none.
        3 IP_ADDRESS: (u32), ip_address, set_ip_address;
        /// Groups it listens to.
        4 MULTICAST_IP_ADDRESS: [u32], multicast_ip_address, set_multicast_ip_address;
        /// Options it sends.
        5 IP_OPTIONS: [IpOption<'static>], ip_options, set_ip_options;
        /// The subnet's mask.
        6 SUBNET_MASK: (u32), subnet_mask, set_subnet_mask;
        /// The way out.
        7 GATEWAY_IP_ADDRESS: (u32), gateway_ip_address, set_gateway_ip_address;
        /// The address comes by DHCP.
        8 USE_DHCP_FLAG: (bool), use_dhcp_flag, set_use_dhcp_flag;
        /// First name server.
        9 PRIMARY_DNS_ADDRESS: (u32), primary_dns_address, set_primary_dns_address;
        /// Second name server.
        10 SECONDARY_DNS_ADDRESS: (u32), secondary_dns_address, set_secondary_dns_address;
    }
    methods {
        /// Adds a group.
        1 ADD_MC_IP_ADDRESS: (u32), add_mc_ip_address;
        /// Leaves a group.
        2 DELETE_MC_IP_ADDRESS: (u32), delete_mc_ip_address;
    }
}
