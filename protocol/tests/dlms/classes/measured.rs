//! Classes 4, 5, 6, 62: what was measured.

use protocol::codec::axdr::{Data, DateTime, Unit};
use protocol::codec::obis::Obis;
use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::{Access, Invoked, Items, Nothing};
use protocol::cosem::compact_data::{CaptureMethod, CaptureObject};
use protocol::cosem::register::ScalerUnit;
use protocol::cosem::register_activation::{ObjectDefinition, RegisterActMask};
use protocol::cosem::{clock, compact_data, demand_register, extended_register, obis, register_activation};

use super::{Desk, agrees};
use crate::meter::served;

const WATTS: ScalerUnit = ScalerUnit { scaler: 0, unit: Unit::WATT };

struct Maximum(u32);
served!(Maximum, extended_register);

impl extended_register::ExtendedRegister for Maximum {
    fn value(&mut self) -> Access<Data<'_>> {
        Ok(Data::DoubleLongUnsigned(self.0))
    }
    fn scaler_unit(&mut self) -> Access<ScalerUnit> {
        Ok(WATTS)
    }
    fn status(&mut self) -> Access<Data<'_>> {
        Ok(Data::Unsigned(0))
    }
    fn capture_time(&mut self) -> Access<DateTime> {
        Ok(clock::date_time(1_767_322_800, 60, 0))
    }
    fn reset(&mut self, _: Nothing) -> Invoked {
        self.0 = 0;
        Ok(())
    }
}

#[test]
fn a_maximum_is_told_with_its_time_and_is_reset() {
    let mut desk = Desk::new(Maximum(4_321));
    agrees(&mut desk, extended_register::SCALER_UNIT);
    assert_eq!(desk.read(extended_register::VALUE), [6, 0, 0, 0x10, 0xE1]);
    // Blue Book, date_time: 2026-01-02 04:00:00, a Friday, 60 minutes east of Greenwich.
    let time = [9, 12, 0x07, 0xEA, 1, 2, 5, 4, 0, 0, 0, 0xFF, 0xC4, 0];
    assert_eq!(desk.read(extended_register::CAPTURE_TIME), time);
    assert_eq!(desk.read(extended_register::STATUS), [17, 0]);
    desk.invoke(extended_register::RESET, &Nothing).unwrap();
    assert_eq!(desk.read(extended_register::VALUE), [6, 0, 0, 0, 0]);
}

struct Demand {
    period: u32,
}
served!(Demand, demand_register);

impl demand_register::DemandRegister for Demand {
    fn current_average_value(&mut self) -> Access<Data<'_>> {
        Ok(Data::DoubleLongUnsigned(100))
    }
    fn last_average_value(&mut self) -> Access<Data<'_>> {
        Ok(Data::DoubleLongUnsigned(200))
    }
    fn scaler_unit(&mut self) -> Access<ScalerUnit> {
        Ok(WATTS)
    }
    fn period(&mut self) -> Access<u32> {
        Ok(self.period)
    }
    fn set_period(&mut self, period: u32) -> Access<()> {
        if period == 0 {
            return Err(DataAccessResult::OtherReason);
        }
        self.period = period;
        Ok(())
    }
    fn number_of_periods(&mut self) -> Access<u16> {
        Ok(1)
    }
}

#[test]
fn a_demand_register_tells_its_averages_and_takes_a_period() {
    let mut desk = Desk::new(Demand { period: 900 });
    agrees(&mut desk, demand_register::SCALER_UNIT);
    agrees(&mut desk, demand_register::PERIOD);
    agrees(&mut desk, demand_register::NUMBER_OF_PERIODS);
    assert_eq!(desk.read(demand_register::LAST_AVERAGE_VALUE), [6, 0, 0, 0, 200]);
    assert_eq!(desk.write(demand_register::PERIOD, &0), Err(DataAccessResult::OtherReason));
    desk.write(demand_register::PERIOD, &1_800).unwrap();
    assert_eq!(desk.read(demand_register::PERIOD), [6, 0, 0, 7, 8]);
    assert_eq!(desk.invoke(demand_register::NEXT_PERIOD, &Nothing), Err(ActionResult::ObjectUnavailable));
}

struct Activation {
    masks: Vec<(Vec<u8>, Vec<u8>)>,
    active: Vec<u8>,
}
served!(Activation, register_activation);

impl register_activation::RegisterActivation for Activation {
    fn register_assignment(&mut self) -> Access<impl ExactSizeIterator<Item = ObjectDefinition>> {
        let rate = |e| ObjectDefinition { class_id: 3, logical_name: Obis::new(1, 0, 1, 8, e, 255) };
        Ok([rate(1), rate(2)].into_iter())
    }
    fn mask_list(&mut self) -> Access<impl ExactSizeIterator<Item = RegisterActMask<'_>>> {
        Ok(self
            .masks
            .iter()
            .map(|(name, list)| RegisterActMask { mask_name: name, index_list: Items::Held(list) }))
    }
    fn active_mask(&mut self) -> Access<&[u8]> {
        Ok(&self.active)
    }
    fn set_active_mask(&mut self, name: &[u8]) -> Access<()> {
        let known = self.masks.iter().any(|(n, _)| n == name);
        self.active = known.then(|| name.to_vec()).ok_or(DataAccessResult::OtherReason)?;
        Ok(())
    }
    fn add_mask(&mut self, mask: RegisterActMask<'_>) -> Invoked {
        let list: Result<_, _> = mask.index_list.iter().collect();
        self.masks.push((mask.mask_name.to_vec(), list.map_err(|_| ActionResult::TypeUnmatched)?));
        Ok(())
    }
    fn delete_mask(&mut self, name: &[u8]) -> Invoked {
        self.masks.retain(|(n, _)| n != name);
        Ok(())
    }
}

#[test]
fn masks_of_registers_are_told_added_removed_and_made_active() {
    let mut desk = Desk::new(Activation { masks: vec![(b"day".to_vec(), vec![1])], active: b"day".to_vec() });
    let night = RegisterActMask { mask_name: b"night", index_list: Items::Held(&[2]) };
    desk.invoke(register_activation::ADD_MASK, &night).unwrap();
    agrees(&mut desk, register_activation::REGISTER_ASSIGNMENT);
    agrees(&mut desk, register_activation::MASK_LIST);
    agrees(&mut desk, register_activation::ACTIVE_MASK);
    desk.write(register_activation::ACTIVE_MASK, &&b"night"[..]).unwrap();
    assert_eq!(
        desk.write(register_activation::ACTIVE_MASK, &&b"noon"[..]),
        Err(DataAccessResult::OtherReason)
    );
    assert_eq!(desk.read(register_activation::ACTIVE_MASK), b"\x09\x05night");
    desk.invoke(register_activation::DELETE_MASK, &&b"day"[..]).unwrap();
    let bytes = desk.read(register_activation::MASK_LIST);
    assert_eq!(register_activation::MASK_LIST.decode_bytes(&bytes).unwrap(), Items::Held(&[night]));
}

struct Compact;
served!(Compact, compact_data);

impl compact_data::CompactData for Compact {
    fn compact_buffer(&mut self) -> Access<&[u8]> {
        Ok(&[7, 0, 0, 0, 42, 1])
    }
    fn capture_objects(&mut self) -> Access<impl ExactSizeIterator<Item = CaptureObject>> {
        let objects =
            [CaptureObject::new(111, obis::ACCOUNT, 5, 0), CaptureObject::new(70, obis::DISCONNECT, 2, 0)];
        Ok(objects.into_iter())
    }
    fn template_id(&mut self) -> Access<u8> {
        Ok(7)
    }
    fn template_description(&mut self) -> Access<&[u8]> {
        Ok(&[2, 2, 5, 3])
    }
    fn capture_method(&mut self) -> Access<CaptureMethod> {
        Ok(CaptureMethod::Implicit)
    }
}

#[test]
fn compact_data_carries_values_whose_types_the_template_tells() {
    let mut desk = Desk::new(Compact);
    let bytes = desk.read(compact_data::COMPACT_BUFFER);
    let buffer = compact_data::COMPACT_BUFFER.decode_bytes(&bytes).unwrap();
    let bytes = desk.read(compact_data::TEMPLATE_DESCRIPTION);
    let template = compact_data::TEMPLATE_DESCRIPTION.decode_bytes(&bytes).unwrap();
    // With the template in front, what follows the id is the contents of a compact array of one row.
    let mut array = vec![19];
    array.extend_from_slice(template);
    array.push(buffer.len() as u8 - 1);
    array.extend_from_slice(&buffer[1..]);
    let Data::CompactArray(row) = Data::from_bytes_in(&array).unwrap() else { panic!() };
    assert_eq!(row.row_count().unwrap(), 1);
    assert_eq!(desk.read(compact_data::CAPTURE_METHOD), [22, 1]);
    let bytes = desk.read(compact_data::CAPTURE_OBJECTS);
    let objects = compact_data::CAPTURE_OBJECTS.decode_bytes(&bytes).unwrap();
    assert_eq!(objects.iter().nth(1).unwrap().unwrap(), CaptureObject::new(70, obis::DISCONNECT, 2, 0));
}
