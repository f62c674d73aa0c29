//! Which requests read a set of points: neighbours share a request, small gaps are read along.

use crate::session::model::{ModbusModel, Point, Role, Table};

/// One read request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadRequest {
    /// Which table.
    pub table: Table,
    /// First address.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
}

impl ReadRequest {
    const fn end(self) -> u32 {
        self.address as u32 + self.count as u32
    }

    /// The part of this request's answer that holds the point.
    #[must_use]
    pub fn part<'a>(&self, point: &Point, answer: &'a [u16]) -> Option<&'a [u16]> {
        if point.table != self.table {
            return None;
        }
        let from = usize::from(point.address.checked_sub(self.address)?);
        answer.get(from..from + usize::from(point.registers))
    }
}

/// The requests that read every point whose role is wanted, fewest first by address. Bits are read one table at a time too.
#[must_use]
pub fn plan(model: &ModbusModel, wanted: impl Fn(Role) -> bool) -> Vec<ReadRequest> {
    let mut points: Vec<&Point> = model.points.iter().filter(|point| wanted(point.role)).collect();
    points.sort_by_key(|point| (point.table, point.address));
    let mut requests: Vec<ReadRequest> = Vec::new();
    for point in points {
        let one = ReadRequest { table: point.table, address: point.address, count: point.registers };
        match requests.last_mut() {
            Some(last) if joins(*last, one, model) => {
                // `joins` has checked that the sum stays within registers_per_read.
                let end = last.end().max(one.end());
                last.count = u16::try_from(end - u32::from(last.address)).unwrap_or(u16::MAX);
            }
            _ => requests.push(one),
        }
    }
    requests
}

fn joins(last: ReadRequest, next: ReadRequest, model: &ModbusModel) -> bool {
    last.table == next.table
        && u32::from(next.address) <= last.end() + u32::from(model.gap_max)
        && last.end().max(next.end()) - u32::from(last.address) <= u32::from(model.registers_per_read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::{ValueType, WordOrder};
    use std::time::Duration;

    fn point(role: Role, table: Table, address: u16, registers: u16) -> Point {
        let (value_type, word_order) = (ValueType::U32, WordOrder::Big);
        Point { role, table, address, registers, value_type, word_order, scale10: 0 }
    }

    fn model(points: Vec<Point>, registers_per_read: u16) -> ModbusModel {
        let response_timeout = Duration::from_secs(1);
        let (description, version) = (String::new(), 1);
        ModbusModel { description, version, registers_per_read, gap_max: 6, response_timeout, points }
    }

    #[test]
    fn neighbours_and_small_gaps_share_a_request() {
        let points = vec![
            point(Role::PowerW, Table::Input, 10, 2),
            point(Role::ImportWh, Table::Input, 0, 4),
            point(Role::VoltageMv, Table::Input, 40, 2),
            point(Role::CurrentMa, Table::Holding, 42, 2),
        ];
        let requests = plan(&model(points, 125), |_| true);
        let spans: Vec<_> =
            requests.iter().map(|request| (request.table, request.address, request.count)).collect();
        assert_eq!(spans, [(Table::Holding, 42, 2), (Table::Input, 0, 12), (Table::Input, 40, 2)]);
    }

    #[test]
    fn a_request_never_outgrows_what_the_meter_gives() {
        let points = vec![point(Role::ImportWh, Table::Input, 0, 4), point(Role::PowerW, Table::Input, 4, 2)];
        assert_eq!(plan(&model(points, 5), |_| true).len(), 2);
    }

    #[test]
    fn a_point_is_found_in_its_request_only() {
        let request = ReadRequest { table: Table::Input, address: 10, count: 4 };
        let inside = point(Role::PowerW, Table::Input, 12, 2);
        assert_eq!(request.part(&inside, &[1, 2, 3, 4]), Some([3, 4].as_slice()));
        assert_eq!(request.part(&inside, &[1, 2, 3]), None, "a short answer holds nothing");
        assert_eq!(request.part(&point(Role::PowerW, Table::Holding, 12, 2), &[1, 2, 3, 4]), None);
        assert_eq!(request.part(&point(Role::PowerW, Table::Input, 9, 2), &[1, 2, 3, 4]), None);
    }
}
