//! Finding the meters on a bus, behind all other work.

use super::Bench;
use gateway::clock::Clock;
use gateway::commands::router;
use gateway::reading::discovery::{Discoveries, Found, Progress, Search};
use gateway::session::model::{Model, Models, Role};
use gateway::session::work::{Ending, Serial, Work};
use simulator::roll::{Entry, Place};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

fn search(line: &str, models: &[&str], addresses: RangeInclusive<u32>) -> Search {
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    Search { line: line.into(), models, addresses }
}

/// Waits until a search has ended; a slow machine may take its time.
async fn searched(discoveries: &Discoveries, search: Search) -> Progress {
    let line = search.line.clone();
    assert!(discoveries.start(search).is_some_and(|progress| progress.running));
    for _ in 0..1_800 {
        let progress = discoveries.progress(&line).expect("begun");
        if !progress.running {
            return progress;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("three minutes: {:?}", discoveries.progress(&line));
}

/// The meters of a kind of place, in the order of their addresses.
fn on(bench: &Bench, here: impl Fn(Place) -> bool) -> Vec<Entry> {
    bench.entries().into_iter().filter(|entry| here(entry.place())).collect()
}

fn strangers(bench: &Bench, entries: &[Entry]) {
    for entry in entries {
        bench.directory.remove(&Serial(entry.serial.clone()));
    }
}

fn discoveries(bench: &Bench) -> Discoveries {
    let places = router::Router::new(Arc::new(bench.router.clone()));
    Discoveries::new(places, bench.directory.clone(), Clock::real())
}

fn addresses(found: &[Found]) -> Vec<String> {
    found.iter().map(|found| found.address.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn meters_on_a_bus_are_found_by_their_names_and_one_that_is_entered_is_not_asked() {
    let bench = Bench::start(1).await;
    let there = on(&bench, |place| matches!(place, Place::Line(_)));
    strangers(&bench, &there[1..]);
    let discoveries = discoveries(&bench);
    let progress = searched(&discoveries, search("bus", &["reference-dlms"], 15..=19)).await;
    let expected: Vec<String> = there.iter().map(|entry| entry.address.clone()).collect();
    assert_eq!((progress.asked, addresses(&progress.found)), (5, expected), "{progress:?}");
    let [entered, stranger] = progress.found.as_slice() else { panic!("{progress:?}") };
    assert_eq!(entered.entered.as_ref(), Some(&there[0].serial));
    assert_eq!((&entered.device_name, entered.models.len()), (&None, 0), "not asked: {entered:?}");
    // The meter's name holds its number; the serial number it tells to those it knows.
    assert!(stranger.device_name.as_ref().is_some_and(|name| name.starts_with("MGW")), "{stranger:?}");
    assert_eq!((&stranger.serial, &stranger.entered), (&None, &None));
    assert_eq!(stranger.models, ["reference-dlms"]);
    assert_eq!(bench.directory.on_line("bus", &there[1].address), None, "nobody is entered by being found");
    // Whoever was not there is asked again by the next search, however often it was silent.
    for _ in 0..4 {
        let again = searched(&discoveries, search("bus", &["reference-dlms"], 15..=16)).await;
        assert_eq!(again.asked, 2);
    }
    let read = bench.perform(&there[0].serial, Work::Read).await;
    assert_eq!(read.ending, Ending::Done, "{:?}", read.evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn modbus_meters_are_found_by_the_serial_number_registers_of_the_models_on_rtu_and_tcp() {
    let bench = Bench::start(1).await;
    let models = Models::load(None).expect("built-in models");
    let with_serial: Vec<&str> = models
        .iter()
        .filter(|(_, model)| matches!(model, Model::Modbus(model) if model.point(Role::Serial).is_some()))
        .map(|(name, _)| name)
        .collect();
    assert!(with_serial.len() > 3, "{with_serial:?}");
    let discoveries = discoveries(&bench);
    type Here = fn(Place) -> bool;
    let places: [(&str, Here); 2] = [
        ("modbus", |place| matches!(place, Place::ModbusLine(_))),
        ("feeder", |place| matches!(place, Place::ModbusTcp(..))),
    ];
    for (line, here) in places {
        let there = on(&bench, here);
        strangers(&bench, &there);
        let first: u32 = there[0].address.parse().expect("a number");
        let last: u32 = there.last().expect("one").address.parse().expect("a number");
        let progress = searched(&discoveries, search(line, &with_serial, first..=last + 2)).await;
        let expected: Vec<&Entry> = there.iter().collect();
        assert_eq!(progress.found.len(), expected.len(), "{progress:?}");
        for (found, entry) in progress.found.iter().zip(expected) {
            assert_eq!(found.address.to_string(), entry.address);
            assert!(found.models.iter().any(|model| model == "reference-modbus"), "{found:?}");
            if found.models.first().is_some_and(|model| model == "reference-modbus") {
                assert_eq!(found.serial.as_ref(), Some(&entry.serial), "{found:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_during_a_search_waits_for_two_addresses_at_most_and_a_search_can_be_stopped() {
    let bench = Bench::start(1).await;
    let there = on(&bench, |place| matches!(place, Place::Line(_)));
    let discoveries = discoveries(&bench);
    let long = search("bus", &["reference-dlms"], 100..=5_000);
    assert!(discoveries.start(long.clone()).is_some());
    assert_eq!(discoveries.start(long), None, "one at a time");
    let asked = || discoveries.progress("bus").expect("begun").asked;
    for work in [Work::Disconnect, Work::Reconnect, Work::Read, Work::Disconnect] {
        let before = asked();
        let report = bench.perform(&there[0].serial, work).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
        assert!(asked() <= before + 2, "{before} to {}", asked());
    }
    assert!(discoveries.stop("bus"));
    assert!(!discoveries.stop("bus"), "it is stopped");
    // One that begins at once is not mistaken for the one that is still at its last address.
    let progress = searched(&discoveries, search("bus", &["reference-dlms"], 200..=201)).await;
    assert_eq!((progress.from, progress.asked, progress.found.len()), (200, 2, 0));
    bench.router.change_to(&[]).await;
    let gone = searched(&discoveries, search("bus", &["reference-dlms"], 1..=126)).await;
    assert_eq!((gone.asked, gone.found.len()), (0, 0));
    assert!(gone.problem.is_some_and(|problem| problem.contains("not configured")));
}
