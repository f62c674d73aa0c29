//! The gateway is killed again and again while customers pay, operators switch and the reader reads, at meters that lose answers
//! and restart. Then everything is counted: what customers paid, what the gateway says, and what the meters took.
//!
//! `GATEWAY_KILLS` says how often (`tests/kills 1000` sets it); the seed of the chances is printed.

mod judge;
mod operator;
mod site;
mod till;
mod weather;

use simulator::random::{Sequence, between};
use site::Site;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests::power_loss::Loss;

/// Kills in one run of each test; more by `GATEWAY_KILLS`.
const KILLS: u64 = 60;
/// How long a gateway lives, from its start: it is ready after about a third of a second, so that some lives end before that.
const LIFE_MS: (u64, u64) = (100, 1_500);

fn kills() -> u64 {
    std::env::var("GATEWAY_KILLS").map_or(KILLS, |text| text.parse().expect("GATEWAY_KILLS is a number"))
}

fn play(name: &str, seed: u64, power_is_cut: bool) {
    let mut site = Site::set_up(power_is_cut);
    let (kills, mut lost, mut chance) = (kills(), Loss::default(), Sequence::new(seed));
    let over = AtomicBool::new(false);
    let (mut receipts, mut orders) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let door = site.door.clone();
        let tills: Vec<_> = (0..3)
            .map(|number| {
                let (door, over, meters) = (door.clone(), &over, &site.customers);
                scope.spawn(move || till::sell(&door, number, meters, over))
            })
            .collect();
        let operators: Vec<_> = site
            .switched
            .iter()
            .map(|serial| {
                let (door, over) = (door.clone(), &over);
                scope.spawn(move || operator::switch_and_read(&door, serial, over))
            })
            .collect();
        let (control, weather_over) = (site.street.page().to_owned(), &over);
        let meters = (site.customers.len() + site.switched.len()) as u64;
        let weather = scope.spawn(move || weather::blow(&control, meters, seed, weather_over));
        for life in 0..kills {
            std::thread::sleep(Duration::from_millis(between(seed, life, LIFE_MS.0, LIFE_MS.1)));
            site.gateway.kill();
            if let Some(disk) = &site.disk {
                let loss = disk.lose(&mut chance);
                lost.unsynced += loss.unsynced;
                lost.lost += loss.lost;
                lost.torn += loss.torn;
            }
            site.gateway.launch_again();
            if life % 100 == 99 {
                println!("{name}: killed {} times", life + 1);
            }
        }
        over.store(true, Ordering::Relaxed);
        weather.join().expect("the weather ends");
        receipts = tills.into_iter().flat_map(|till| till.join().expect("a till ends")).collect();
        orders =
            operators.into_iter().flat_map(|operator| operator.join().expect("an operator ends")).collect();
    });
    let count = judge::judge(&site, &receipts, &orders);
    println!("{name}, seed {seed}: {kills} kills, {count}");
    if power_is_cut {
        let Loss { unsynced, lost, torn } = lost;
        println!("{name}: of {unsynced} writes not synced at a cut {lost} were lost and {torn} torn");
        assert!(lost > 0 && torn > 0, "the disk forgot nothing: the test shows nothing");
    }
}

#[test]
fn every_payment_ends_as_one_credit_or_a_visible_refusal_however_often_the_gateway_is_killed() {
    play("kill loop", 1, false);
}

#[test]
fn nothing_that_was_answered_for_is_lost_when_power_fails_and_the_disk_forgets_what_was_not_synced() {
    play("power cuts", 2, true);
}
