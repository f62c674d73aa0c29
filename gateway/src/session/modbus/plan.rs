//! Which requests read a set of values: neighbours share a request, small gaps are read along where the model allows it.

use crate::session::model::{ModbusModel, Point, Role, Table};

/// One read request, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Both ask for some register.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.table == other.table
            && u32::from(self.address) < other.end()
            && u32::from(other.address) < self.end()
    }

    /// The part of this request's answer that answers another.
    #[must_use]
    pub fn part<'a>(&self, span: ReadRequest, answer: &'a [u16]) -> Option<&'a [u16]> {
        if span.table != self.table {
            return None;
        }
        let from = usize::from(span.address.checked_sub(self.address)?);
        answer.get(from..from + usize::from(span.count))
    }
}

/// What a meter allows in one request.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// The most registers in one answer.
    pub registers_max: u16,
    /// Registers nobody asked for that may be read along to spare a request.
    pub gap_max: u16,
    /// Registers that must not be read along.
    pub unreadable: &'a [ReadRequest],
}

/// The fewest requests within the limits that read all these, in order of table and address. What overlaps is read once. A span that is
/// longer than the limit stays a request of its own: models have none.
///
/// Taking as many neighbours as fit, from the first on, is best: whatever a request covers is a run of neighbours, and each part of a run
/// that fits fits too.
#[must_use]
pub fn optimise(mut spans: Vec<ReadRequest>, limits: &Limits<'_>) -> Vec<ReadRequest> {
    spans.sort_unstable();
    let mut requests: Vec<ReadRequest> = Vec::new();
    for span in spans {
        if let Some(joined) = requests.last().and_then(|last| joined(*last, span, limits)) {
            requests.pop();
            requests.push(joined);
        } else {
            requests.push(span);
        }
    }
    requests
}

/// Both in one request, if that is allowed.
fn joined(last: ReadRequest, next: ReadRequest, limits: &Limits<'_>) -> Option<ReadRequest> {
    if last.table != next.table || u32::from(next.address) > last.end() + u32::from(limits.gap_max) {
        return None;
    }
    let end = last.end().max(next.end());
    let count = u16::try_from(end - u32::from(last.address)).ok()?;
    let whole = ReadRequest { count, ..last };
    let inside = end == last.end();
    let allowed = count <= limits.registers_max && !limits.unreadable.iter().any(|hole| hole.overlaps(whole));
    (inside || allowed).then_some(whole)
}

/// The requests that read every point whose role is wanted, with scale factors.
#[must_use]
pub fn plan(model: &ModbusModel, wanted: impl Fn(Role) -> bool) -> Vec<ReadRequest> {
    let spans = model.points.iter().filter(|point| wanted(point.role)).flat_map(Point::spans).collect();
    let limits = Limits {
        registers_max: model.registers_per_read,
        gap_max: model.gap_max,
        unreadable: &model.unreadable,
    };
    optimise(spans, &limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::model::{Access, ValueType, WordOrder};
    use std::time::Duration;

    fn point(role: Role, table: Table, address: u16, registers: u16) -> Point {
        let (value_type, word_order) = (ValueType::U32, WordOrder::Big);
        Point {
            role,
            table,
            address,
            registers,
            value_type,
            word_order,
            scale10: 0,
            scale_factor: None,
            absent: None,
            access: Access::Read,
            contact: None,
        }
    }

    fn model(points: Vec<Point>, registers_per_read: u16) -> ModbusModel {
        let response_timeout = Duration::from_secs(1);
        let (description, version) = (String::new(), 1);
        let (source, unreadable) = (None, Vec::new());
        ModbusModel {
            description,
            version,
            source,
            registers_per_read,
            gap_max: 6,
            unreadable,
            response_timeout,
            points,
        }
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
    fn a_part_is_found_in_its_request_only() {
        let request = ReadRequest { table: Table::Input, address: 10, count: 4 };
        let span = |table, address| ReadRequest { table, address, count: 2 };
        assert_eq!(request.part(span(Table::Input, 12), &[1, 2, 3, 4]), Some([3, 4].as_slice()));
        assert_eq!(request.part(span(Table::Input, 12), &[1, 2, 3]), None, "a short answer holds nothing");
        assert_eq!(request.part(span(Table::Holding, 12), &[1, 2, 3, 4]), None);
        assert_eq!(request.part(span(Table::Input, 9), &[1, 2, 3, 4]), None);
    }

    /// A small random number generator (xorshift, 64 bits): a failing case is repeated by its seed.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u16) -> u16 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % u64::from(sides)) as u16
        }

        fn span(&mut self, longest: u16) -> ReadRequest {
            let table = if self.roll(3) == 0 { Table::Holding } else { Table::Input };
            ReadRequest { table, address: self.roll(400), count: 1 + self.roll(longest) }
        }
    }

    fn covers(request: &ReadRequest, span: ReadRequest) -> bool {
        request.table == span.table && request.address <= span.address && request.end() >= span.end()
    }

    /// The fewest requests there can be for sorted spans of one table, by trying every way to cut them.
    fn fewest(spans: &[ReadRequest], limits: &Limits<'_>) -> usize {
        let mut best = vec![0];
        for end in 1..=spans.len() {
            let fits = |from: usize| {
                let first = spans[from];
                let run = spans[from + 1..end].iter().try_fold(first, |run, span| joined(run, *span, limits));
                run.map(|_| best[from] + 1)
            };
            let least = (0..end).filter_map(fits).min().expect("one at a time always fits");
            best.push(least);
        }
        best[spans.len()]
    }

    #[test]
    fn every_span_is_read_within_the_limits_with_the_fewest_requests() {
        for seed in 1..=3_000 {
            let mut dice = Dice(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
            let unreadable: Vec<_> = (0..dice.roll(4)).map(|_| dice.span(6)).collect();
            let spans: Vec<_> = (0..1 + dice.roll(30))
                .map(|_| dice.span(4))
                .filter(|span| !unreadable.iter().any(|hole| hole.overlaps(*span)))
                .collect();
            let limits =
                Limits { registers_max: 4 + dice.roll(60), gap_max: dice.roll(12), unreadable: &unreadable };
            let requests = optimise(spans.clone(), &limits);
            let said = format!("seed {seed}: {spans:?} within {limits:?} gave {requests:?}");
            assert!(requests.len() <= spans.len(), "never more than one by one. {said}");
            for span in &spans {
                assert!(
                    requests.iter().any(|request| covers(request, *span)),
                    "{span:?} is not read. {said}"
                );
            }
            for request in &requests {
                assert!(request.count <= limits.registers_max, "{request:?} is too long. {said}");
                assert!(!unreadable.iter().any(|hole| hole.overlaps(*request)), "{request:?}. {said}");
            }
            let mut least = 0;
            for table in [Table::Holding, Table::Input] {
                let mut of_table: Vec<_> = spans.iter().copied().filter(|span| span.table == table).collect();
                of_table.sort_unstable();
                least += fewest(&of_table, &limits);
            }
            assert_eq!(requests.len(), least, "{said}");
        }
    }
}
