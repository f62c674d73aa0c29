//! Objects of class 1: identity, counters, codes.

use hardware::board::Board;
use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::{Encode, Writer};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::DataAccessResult;
use protocol::cosem::class::Access;
use protocol::cosem::clock::civil_from_days;
use protocol::cosem::data::Data as DataClass;
use protocol::cosem::tariff::Tariff;
use protocol::cosem::values::put_date_time;
use protocol::cosem::{FromData, obis};
use protocol::dlms::model::Piece;

use super::full;
use super::metrology::is_metrology;
use crate::meter::Meter;
use crate::terms::DAY_S;

/// The meter as the data object of that name.
pub(super) struct DataObject<'m, B: Board> {
    pub meter: &'m mut Meter<B>,
    pub name: Obis,
}

impl<B: Board> DataClass for DataObject<'_, B> {
    fn value(&mut self, _piece: u32, out: &mut dyn Writer) -> Access<Piece> {
        self.meter.get_data(self.name, out)?;
        Ok(Piece::Last)
    }

    fn set_value(&mut self, value: Data<'_>) -> Access<()> {
        self.meter.set_data(self.name, value)
    }
}

impl<B: Board> Meter<B> {
    fn get_data(&mut self, name: Obis, out: &mut dyn Writer) -> Result<(), DataAccessResult> {
        let serial = self.serial();
        match name {
            obis::TARIFF_ACTIVE => return self.tariffs.active.encode(out).map_err(full),
            obis::TARIFF_PASSIVE => return self.tariffs.passive.encode(out).map_err(full),
            _ if is_metrology(name) => return self.get_metrology(name, out),
            obis::TARIFF_ACTIVATION => {
                return put_date_time(out, self.settings.zone.moment(self.tariffs.activation_utc_s))
                    .map_err(full);
            }
            _ => {}
        }
        let attributes = self.record.tokens.attributes;
        let digest;
        let value = match name {
            obis::CONFIGURATION_DIGEST => {
                digest =
                    self.record.configuration_digest(&self.who, &self.settings, &self.second, &self.tariffs);
                Data::OctetString(&digest)
            }
            obis::LOGICAL_DEVICE_NAME => Data::OctetString(self.who.logical_device_name.as_bytes()),
            obis::SERIAL => Data::OctetString(serial.as_str().as_bytes()),
            obis::PAN => Data::OctetString(self.record.tokens.pan.as_bytes()),
            obis::FIRMWARE_VERSION => {
                let mut version = heapless::String::<18>::new();
                // Three numbers below 65,536 and two dots.
                let _ = core::fmt::write(&mut version, format_args!("{}", self.firmware_version()));
                return Data::OctetString(version.as_bytes()).encode(out).map_err(full);
            }
            obis::INVOCATION_COUNTER => Data::DoubleLongUnsigned(self.counters.highest()),
            obis::CONFIGURATION_CHANGES => Data::DoubleLongUnsigned(self.record.configuration_changes),
            obis::RELAY_REASON => Data::Enum(self.record.relay.reason as u8),
            obis::TARIFF_RATE => Data::Unsigned(self.rate_in_force().map_or(0, |rate| rate + 1)),
            obis::PROFILE_STATUS => Data::Unsigned(self.conditions.row_status[0]),
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

    /// The rate in force, counted from 0; `None` where the tariff has no rates or the clock is not set.
    fn rate_in_force(&mut self) -> Option<u8> {
        let local_s = self.local_s()?;
        let (_, month, day) = civil_from_days(i64::from(local_s / DAY_S));
        // Below 7 and below 1,440; day 0 was a Thursday.
        let weekday = ((local_s / DAY_S + 3) % 7) as u8;
        let minute = (local_s % DAY_S / 60) as u16;
        let active = &self.tariffs.active;
        if active.rates.is_empty() { None } else { active.rate_at(month, day, weekday, minute) }
    }

    /// Sets when the tariff to come takes effect; one that was written in parts and is not whole never does.
    pub(super) fn set_tariff_activation(&mut self, time: DateTime) -> Access<()> {
        let mut tariffs = self.tariffs.clone();
        tariffs.activation_utc_s = self.moment(time)?;
        if tariffs.activation_utc_s != 0 && !tariffs.passive.is_sound() {
            return Err(DataAccessResult::OtherReason);
        }
        self.change_tariffs(tariffs)
    }

    /// Writes the tariff to come, or when it comes.
    fn set_data(&mut self, name: Obis, value: Data<'_>) -> Result<(), DataAccessResult> {
        if is_metrology(name) {
            return self.set_metrology(name, value);
        }
        let mut tariffs = self.tariffs.clone();
        match name {
            obis::TARIFF_PASSIVE => {
                let tariff = Tariff::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
                if !tariff.is_sound() {
                    return Err(DataAccessResult::OtherReason);
                }
                tariffs.passive = tariff;
            }
            obis::TARIFF_ACTIVATION => {
                let time = DateTime::from_data(value).map_err(|_| DataAccessResult::TypeUnmatched)?;
                return self.set_tariff_activation(time);
            }
            _ => return Err(DataAccessResult::ReadWriteDenied),
        }
        self.change_tariffs(tariffs)
    }
}
