//! The pin table for people says what the board's code connects.

use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = include_str!("../design/pinout.csv");
const CODE: &str = include_str!("../src/stm32f405/pins.rs");

/// Rows of the table: pin, pin of the package, name, direction, net.
fn rows() -> Vec<[&'static str; 5]> {
    let mut lines = TABLE.lines();
    assert_eq!(lines.next(), Some("pin,package_pin,name,direction,net,connected_to"));
    lines
        .map(|line| {
            let mut cells = line.splitn(6, ',');
            let row = core::array::from_fn(|_| cells.next().unwrap_or_default());
            assert!(cells.next().is_some_and(|what| !what.is_empty()), "{line}");
            row
        })
        .collect()
}

/// `let NAME = gpioX.pXN` of the board's code, as (pin, name, what follows).
fn connected() -> Vec<(String, &'static str, &'static str)> {
    CODE.lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().strip_prefix("let ")?.split_once(" = gpio")?;
            let (pin, mode) = rest.get(2..)?.split_once(['.', ';'])?;
            Some((pin.to_uppercase(), name.trim_start_matches('_'), mode))
        })
        .collect()
}

#[test]
fn every_pin_of_the_code_is_in_the_table_under_its_name_and_no_other() {
    let table: BTreeMap<_, _> = rows().into_iter().map(|[pin, _, name, ..]| (pin.to_owned(), name)).collect();
    let code: BTreeMap<_, _> = connected().into_iter().map(|(pin, name, _)| (pin, name)).collect();
    assert!(code.len() > 30, "the code's lines are not found any more");
    assert_eq!(table, code);
    assert_eq!(table.len(), rows().len(), "a pin stands in the table twice");
}

#[test]
fn directions_are_those_of_the_code() {
    let directions: BTreeMap<_, _> =
        rows().into_iter().map(|[pin, _, _, way, _]| (pin.to_owned(), way)).collect();
    for (pin, name, mode) in connected() {
        let expected = if mode.contains("input") {
            "in"
        } else if mode.contains("_output") && name != "clock_sda" {
            "out"
        } else {
            continue; // the peripheral decides, or both
        };
        assert_eq!(directions[&pin], expected, "{pin}");
    }
}

#[test]
fn no_pin_of_the_package_and_no_net_is_used_twice() {
    let pins: BTreeSet<u32> = rows().iter().map(|row| row[1].parse().unwrap()).collect();
    let nets: BTreeSet<_> = rows().iter().map(|row| row[4]).collect();
    assert_eq!((pins.len(), nets.len()), (rows().len(), rows().len()));
    assert!(pins.iter().all(|pin| (1..=64).contains(pin)), "LQFP64");
}
