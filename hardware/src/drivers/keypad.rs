//! A matrix keypad: rows are driven low one after the other, columns are read with pull-ups.

use embedded_hal::digital::{InputPin, OutputPin};

/// Scans in a row that must agree before a key counts; at a scan every 10 ms, 30 ms of bouncing are overlooked.
pub const AGREEING_SCANS: u8 = 3;

/// A keypad of `R` rows and `C` columns with this legend.
#[derive(Debug)]
pub struct Keypad<O, I, const R: usize, const C: usize> {
    rows: [O; R],
    columns: [I; C],
    legend: [[char; C]; R],
    seen: Option<char>,
    agreed: u8,
    reported: bool,
}

impl<E, O, I, const R: usize, const C: usize> Keypad<O, I, R, C>
where
    O: OutputPin<Error = E>,
    I: InputPin<Error = E>,
{
    /// A keypad with nothing pressed.
    ///
    /// # Errors
    /// A pin can't be driven.
    pub fn new(mut rows: [O; R], columns: [I; C], legend: [[char; C]; R]) -> Result<Self, E> {
        rows.iter_mut().try_for_each(OutputPin::set_high)?;
        Ok(Self { rows, columns, legend, seen: None, agreed: 0, reported: false })
    }

    /// Looks at all keys once; call it every 10 ms or so. Gives a key once for every press, when it has been held for
    /// [`AGREEING_SCANS`]. Two keys at once are none: which one was meant can't be told.
    ///
    /// # Errors
    /// A pin can't be driven or read. Scans count from the beginning then.
    pub fn scan(&mut self) -> Result<Option<char>, E> {
        let now = self.look().inspect_err(|_| self.agreed = 0)?;
        if now != self.seen {
            self.seen = now;
            self.agreed = 0;
            self.reported = false;
        }
        self.agreed = self.agreed.saturating_add(1);
        if self.agreed < AGREEING_SCANS || self.reported {
            return Ok(None);
        }
        self.reported = true;
        Ok(now)
    }

    fn look(&mut self) -> Result<Option<char>, E> {
        let mut pressed = None;
        let mut count = 0_u32;
        // A row that a failure left low would lend its keys' columns to every other row.
        self.rows.iter_mut().try_for_each(OutputPin::set_high)?;
        for (row, legend) in self.rows.iter_mut().zip(&self.legend) {
            row.set_low()?;
            for (column, key) in self.columns.iter_mut().zip(legend) {
                if column.is_low()? {
                    pressed = Some(*key);
                    count += 1;
                }
            }
            row.set_high()?;
        }
        Ok(pressed.filter(|_| count == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;
    use core::convert::Infallible;
    use embedded_hal::digital::ErrorType;
    use embedded_hal_mock::eh1::MockError;
    use embedded_hal_mock::eh1::digital::{Mock, State, Transaction};
    use std::collections::BTreeSet;
    use std::rc::Rc;
    use std::vec::Vec;

    const LEGEND: [[char; 3]; 4] = [['1', '2', '3'], ['4', '5', '6'], ['7', '8', '9'], ['*', '0', '#']];

    /// The mechanics: which row is driven low, which keys are down.
    #[derive(Default)]
    struct Matrix {
        low: BTreeSet<usize>,
        down: BTreeSet<(usize, usize)>,
    }

    struct Row(usize, Rc<RefCell<Matrix>>);
    struct Column(usize, Rc<RefCell<Matrix>>);

    impl ErrorType for Row {
        type Error = Infallible;
    }
    impl OutputPin for Row {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.1.borrow_mut().low.insert(self.0);
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            self.1.borrow_mut().low.remove(&self.0);
            Ok(())
        }
    }
    impl ErrorType for Column {
        type Error = Infallible;
    }
    impl InputPin for Column {
        fn is_high(&mut self) -> Result<bool, Infallible> {
            self.is_low().map(|low| !low)
        }
        fn is_low(&mut self) -> Result<bool, Infallible> {
            let matrix = self.1.borrow();
            Ok(matrix.low.iter().any(|row| matrix.down.contains(&(*row, self.0))))
        }
    }

    fn keypad() -> (Rc<RefCell<Matrix>>, Keypad<Row, Column, 4, 3>) {
        let matrix = Rc::new(RefCell::new(Matrix::default()));
        let rows = core::array::from_fn(|n| Row(n, matrix.clone()));
        let columns = core::array::from_fn(|n| Column(n, matrix.clone()));
        (matrix, Keypad::new(rows, columns, LEGEND).unwrap())
    }

    fn scans(keypad: &mut Keypad<Row, Column, 4, 3>, count: usize) -> Vec<char> {
        (0..count).filter_map(|_| keypad.scan().unwrap()).collect()
    }

    #[test]
    fn every_key_is_reported_once_for_each_press() {
        for (r, row) in LEGEND.iter().enumerate() {
            for (c, key) in row.iter().enumerate() {
                let (matrix, mut keypad) = keypad();
                matrix.borrow_mut().down.insert((r, c));
                assert_eq!(scans(&mut keypad, 10), [*key]);
                matrix.borrow_mut().down.clear();
                assert_eq!(scans(&mut keypad, 5), []);
                matrix.borrow_mut().down.insert((r, c));
                assert_eq!(scans(&mut keypad, 5), [*key], "pressed again");
            }
        }
    }

    #[test]
    fn a_key_that_bounces_counts_when_it_has_settled() {
        let (matrix, mut keypad) = keypad();
        for down in [true, false, true, false, true] {
            matrix.borrow_mut().down = down.then_some((1, 1)).into_iter().collect();
            assert_eq!(keypad.scan(), Ok(None));
        }
        assert_eq!(scans(&mut keypad, 4), ['5']);
    }

    #[test]
    fn a_scan_that_fails_reports_no_key_and_its_row_is_released_before_the_next_one() {
        let (high, low) = (Transaction::set(State::High), Transaction::set(State::Low));
        let failing =
            Transaction::get(State::Low).with_error(MockError::Io(std::io::ErrorKind::NotConnected));
        // Each row is released at the start and before each scan; the first scan ends when the column can't be read.
        let scan = [high.clone(), low.clone(), high.clone()];
        let first = [&[high.clone(), high.clone(), low][..], &scan, &scan, &scan].concat();
        let second = [&[high.clone(), high][..], &scan, &scan, &scan].concat();
        let pressed = [Transaction::get(State::High), Transaction::get(State::Low)];
        let column = [&[failing][..], &pressed, &pressed, &pressed].concat();
        let mut pins = [Mock::new(&first), Mock::new(&second), Mock::new(&column)];
        let [row_1, row_2, only_column] = pins.clone();
        let mut keypad = Keypad::new([row_1, row_2], [only_column], [['1'], ['2']]).unwrap();
        assert!(keypad.scan().is_err());
        let seen: Vec<_> = (0..3).filter_map(|_| keypad.scan().unwrap()).collect();
        assert_eq!(seen, ['2'], "and not the key of the row that was left low");
        pins.iter_mut().for_each(Mock::done);
    }

    #[test]
    fn two_keys_at_once_are_none() {
        let (matrix, mut keypad) = keypad();
        matrix.borrow_mut().down.extend([(0, 0), (3, 2)]);
        assert_eq!(scans(&mut keypad, 10), []);
    }
}
