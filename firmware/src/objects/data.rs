//! Objects of class 1: identity, counters, codes.

use hardware::board::Board;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::obis;

use super::full;
use crate::meter::Meter;

impl<B: Board> Meter<B> {
    pub(super) fn get_data(&mut self, name: Obis, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let serial = self.serial();
        let attributes = self.record.tokens.attributes;
        let digest;
        let value = match name {
            obis::CONFIGURATION_DIGEST => {
                digest = self.record.configuration_digest(&self.who);
                Data::OctetString(&digest)
            }
            obis::LOGICAL_DEVICE_NAME => Data::OctetString(self.who.logical_device_name.as_bytes()),
            obis::SERIAL => Data::OctetString(serial.as_str().as_bytes()),
            obis::PAN => Data::OctetString(self.record.tokens.pan.as_bytes()),
            obis::FIRMWARE_VERSION => Data::OctetString(env!("CARGO_PKG_VERSION").as_bytes()),
            obis::INVOCATION_COUNTER => Data::DoubleLongUnsigned(self.counters.highest()),
            obis::CONFIGURATION_CHANGES => Data::DoubleLongUnsigned(self.record.configuration_changes),
            obis::RELAY_REASON => Data::Enum(self.record.relay.reason as u8),
            obis::PROFILE_STATUS => Data::Unsigned(self.conditions.row_status),
            obis::SUPPLY_GROUP => {
                attributes.supply_group.map_or(Data::Null, |group| Data::DoubleLongUnsigned(group.get()))
            }
            obis::KEY_REVISION => Data::Unsigned(attributes.key_revision.get()),
            obis::TARIFF_INDEX => Data::Unsigned(attributes.tariff_index.get()),
            obis::EVENT_CODE | obis::EVENT_DETAIL => {
                let newest = self.events.rows(self.record.events).next_back();
                let row = newest.and_then(|n| self.events.get(self.board.storage(), n));
                match row {
                    None => Data::Null,
                    Some(row) if name == obis::EVENT_CODE => Data::Unsigned(row.code),
                    Some(row) => Data::DoubleLong(row.detail),
                }
            }
            _ => return Err(DataAccessResult::ObjectUndefined),
        };
        value.encode(out).map_err(full)
    }
}
