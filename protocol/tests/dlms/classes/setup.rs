//! Classes 17, 23, 41, 42: how the meter is reached.

use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Items};
use protocol::cosem::hdlc_setup::CommSpeed;
use protocol::cosem::ipv4_setup::IpOption;
use protocol::cosem::sap_assignment::AsslistElement;
use protocol::cosem::{hdlc_setup, ipv4_setup, sap_assignment, tcp_udp_setup};

use super::{Desk, agrees};
use crate::meter::served;

struct Devices(Vec<(u16, Vec<u8>)>);
served!(Devices, sap_assignment);

impl sap_assignment::SapAssignment for Devices {
    fn sap_assignment_list(&mut self) -> Access<impl ExactSizeIterator<Item = AsslistElement<'_>>> {
        Ok(self.0.iter().map(|(sap, name)| AsslistElement { sap: *sap, logical_device_name: name }))
    }
    fn connect_logical_device(&mut self, device: AsslistElement<'_>) -> Invoked {
        self.0.push((device.sap, device.logical_device_name.to_vec()));
        Ok(())
    }
}

#[test]
fn logical_devices_are_listed_and_connected() {
    let mut desk = Desk::new(Devices(vec![(1, b"MGW0000000000001".to_vec())]));
    agrees(&mut desk, sap_assignment::SAP_ASSIGNMENT_LIST);
    let second = AsslistElement { sap: 2, logical_device_name: b"water" };
    desk.invoke(sap_assignment::CONNECT_LOGICAL_DEVICE, &second).unwrap();
    let bytes = desk.read(sap_assignment::SAP_ASSIGNMENT_LIST);
    let list = sap_assignment::SAP_ASSIGNMENT_LIST.decode_bytes(&bytes).unwrap();
    assert_eq!(list.iter().nth(1).unwrap().unwrap(), second);
}

struct Line {
    speed: CommSpeed,
}
served!(Line, hdlc_setup);

impl hdlc_setup::HdlcSetup for Line {
    fn comm_speed(&mut self) -> Access<CommSpeed> {
        Ok(self.speed)
    }
    fn set_comm_speed(&mut self, speed: CommSpeed) -> Access<()> {
        self.speed = speed;
        Ok(())
    }
    fn window_size_transmit(&mut self) -> Access<u8> {
        Ok(3)
    }
    fn window_size_receive(&mut self) -> Access<u8> {
        Ok(7)
    }
    fn max_info_field_length_transmit(&mut self) -> Access<u16> {
        Ok(512)
    }
    fn max_info_field_length_receive(&mut self) -> Access<u16> {
        Ok(256)
    }
    fn inter_octet_time_out(&mut self) -> Access<u16> {
        Ok(25)
    }
    fn inactivity_time_out(&mut self) -> Access<u16> {
        Ok(120)
    }
    fn device_address(&mut self) -> Access<u16> {
        Ok(17)
    }
}

#[test]
fn an_hdlc_port_tells_its_parameters_and_takes_what_it_may() {
    let mut desk = Desk::new(Line { speed: CommSpeed::Baud9600 });
    agrees(&mut desk, hdlc_setup::COMM_SPEED);
    agrees(&mut desk, hdlc_setup::WINDOW_SIZE_TRANSMIT);
    agrees(&mut desk, hdlc_setup::WINDOW_SIZE_RECEIVE);
    agrees(&mut desk, hdlc_setup::MAX_INFO_FIELD_LENGTH_TRANSMIT);
    agrees(&mut desk, hdlc_setup::MAX_INFO_FIELD_LENGTH_RECEIVE);
    agrees(&mut desk, hdlc_setup::INTER_OCTET_TIME_OUT);
    agrees(&mut desk, hdlc_setup::INACTIVITY_TIME_OUT);
    agrees(&mut desk, hdlc_setup::DEVICE_ADDRESS);
    desk.write(hdlc_setup::COMM_SPEED, &CommSpeed::Baud19200).unwrap();
    let bytes = desk.read(hdlc_setup::COMM_SPEED);
    assert_eq!(hdlc_setup::COMM_SPEED.decode_bytes(&bytes).unwrap(), CommSpeed::Baud19200);
    assert_eq!(desk.write(hdlc_setup::DEVICE_ADDRESS, &18), Err(DataAccessResult::ReadWriteDenied));
}

struct Network {
    groups: Vec<u32>,
    options: Vec<(u8, u8, Vec<u8>)>,
}
served!(Network, ipv4_setup);

impl ipv4_setup::Ipv4Setup for Network {
    fn dl_reference(&mut self) -> Access<Obis> {
        Ok(Obis::new(0, 0, 25, 2, 0, 255))
    }
    fn ip_address(&mut self) -> Access<u32> {
        Ok(0xC0A8_0107)
    }
    fn multicast_ip_address(&mut self) -> Access<impl ExactSizeIterator<Item = u32>> {
        Ok(self.groups.iter().copied())
    }
    fn set_multicast_ip_address(&mut self, groups: Items<'_, u32>) -> Access<()> {
        let groups: Result<_, _> = groups.iter().collect();
        self.groups = groups.map_err(|_| DataAccessResult::TypeUnmatched)?;
        Ok(())
    }
    fn ip_options(&mut self) -> Access<impl ExactSizeIterator<Item = IpOption<'_>>> {
        Ok(self.options.iter().map(|(ip_option_type, ip_option_length, data)| IpOption {
            ip_option_type: *ip_option_type,
            ip_option_length: *ip_option_length,
            ip_option_data: data,
        }))
    }
    fn subnet_mask(&mut self) -> Access<u32> {
        Ok(0xFFFF_FF00)
    }
    fn gateway_ip_address(&mut self) -> Access<u32> {
        Ok(0xC0A8_0101)
    }
    fn use_dhcp_flag(&mut self) -> Access<bool> {
        Ok(true)
    }
    fn primary_dns_address(&mut self) -> Access<u32> {
        Ok(0x0808_0808)
    }
    fn secondary_dns_address(&mut self) -> Access<u32> {
        Ok(0)
    }
    fn delete_mc_ip_address(&mut self, group: u32) -> Invoked {
        let at = self.groups.iter().position(|g| *g == group).ok_or(ActionResult::OtherReason)?;
        self.groups.remove(at);
        Ok(())
    }
}

#[test]
fn an_address_its_groups_and_its_options_are_told_and_changed() {
    let mut desk = Desk::new(Network { groups: Vec::new(), options: vec![(0x82, 3, vec![1])] });
    agrees(&mut desk, ipv4_setup::DL_REFERENCE);
    agrees(&mut desk, ipv4_setup::IP_ADDRESS);
    agrees(&mut desk, ipv4_setup::IP_OPTIONS);
    agrees(&mut desk, ipv4_setup::SUBNET_MASK);
    agrees(&mut desk, ipv4_setup::GATEWAY_IP_ADDRESS);
    agrees(&mut desk, ipv4_setup::USE_DHCP_FLAG);
    agrees(&mut desk, ipv4_setup::PRIMARY_DNS_ADDRESS);
    agrees(&mut desk, ipv4_setup::SECONDARY_DNS_ADDRESS);
    assert_eq!(desk.read(ipv4_setup::MULTICAST_IP_ADDRESS), [1, 0]);
    let groups = [0xE000_0001, 0xE000_0002];
    desk.write(ipv4_setup::MULTICAST_IP_ADDRESS, &Items::Held(&groups)).unwrap();
    desk.invoke(ipv4_setup::DELETE_MC_IP_ADDRESS, &groups[0]).unwrap();
    assert_eq!(desk.invoke(ipv4_setup::DELETE_MC_IP_ADDRESS, &7), Err(ActionResult::OtherReason));
    let bytes = desk.read(ipv4_setup::MULTICAST_IP_ADDRESS);
    assert_eq!(ipv4_setup::MULTICAST_IP_ADDRESS.decode_bytes(&bytes).unwrap(), Items::Held(&[0xE000_0002]));
}

struct Port;
served!(Port, tcp_udp_setup);

impl tcp_udp_setup::TcpUdpSetup for Port {
    fn tcp_udp_port(&mut self) -> Access<u16> {
        Ok(4059)
    }
    fn ip_reference(&mut self) -> Access<Obis> {
        Ok(Obis::new(0, 0, 25, 1, 0, 255))
    }
    fn mss(&mut self) -> Access<u16> {
        Ok(1280)
    }
    fn nb_of_sim_conn(&mut self) -> Access<u8> {
        Ok(2)
    }
    fn inactivity_time_out(&mut self) -> Access<u16> {
        Ok(180)
    }
}

#[test]
fn a_tcp_port_tells_its_parameters() {
    let mut desk = Desk::new(Port);
    agrees(&mut desk, tcp_udp_setup::TCP_UDP_PORT);
    agrees(&mut desk, tcp_udp_setup::IP_REFERENCE);
    agrees(&mut desk, tcp_udp_setup::MSS);
    agrees(&mut desk, tcp_udp_setup::NB_OF_SIM_CONN);
    agrees(&mut desk, tcp_udp_setup::INACTIVITY_TIME_OUT);
}
