//! The story of a prepaid substation, one test a step: a simulated street, a real gateway process beside it, and what the
//! simulator itself knows as the judge. `meter-gateway demo` tells the same steps in one go.

use gateway::demo::{METERS_MIN, Options, Stage, steps};
use std::net::{Ipv4Addr, SocketAddr};
use tests::{Folder, free_port, program};

/// A step of the story.
type Step = fn(&mut Stage) -> Result<(), String>;

/// Commissions the smallest street that the story can be told on, then plays these steps on it.
fn play(name: &str, acts: &[Step]) {
    let folder = Folder::new(name);
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = Options {
        meters: METERS_MIN,
        line_meters: 1,
        modbus_meters: 2,
        meter_port: 0,
        feeder: loopback(0),
        speed: 60,
        starts_at_s: None,
        seed: 1,
        data: folder.path().to_owned(),
        listen: loopback(free_port()),
        program: program("meter-gateway").get_program().into(),
        quiet: true,
    };
    let mut stage = Stage::start(&options).expect("the stage is set");
    for act in [steps::commission_the_meters as Step].iter().chain(acts) {
        if let Err(why) = act(&mut stage) {
            panic!("{why}\n(data and the gateway's log: {})", folder.path().display());
        }
    }
}

#[test]
fn meters_are_commissioned_from_a_csv_file() {
    play("commission", &[]);
}

#[test]
fn a_meter_that_runs_out_of_credit_opens_its_relay_and_says_why() {
    play("run-out", &[steps::run_out_of_credit]);
}

#[test]
fn a_payment_becomes_a_token_and_supply_comes_back_and_the_same_payment_again_changes_nothing() {
    play("top-up", &[steps::run_out_of_credit, steps::top_up_a_meter]);
}

#[test]
fn used_and_foreign_tokens_are_refused_at_the_keypad_and_the_refusal_says_why() {
    play("keypad", &[steps::run_out_of_credit, steps::top_up_a_meter, steps::refuse_tokens_at_the_keypad]);
}

#[test]
fn an_operator_disconnects_with_a_reason_energy_stops_and_supply_is_reconnected() {
    play("operator", &[steps::disconnect_and_reconnect]);
}

#[test]
fn a_modbus_meter_is_prepaid_through_the_gateway() {
    play("held", &[steps::hold_a_modbus_meters_balance]);
}

#[test]
fn a_lost_answer_is_asked_about_and_the_token_is_not_sent_twice() {
    play("lost-answer", &[steps::ask_after_a_lost_answer]);
}

#[test]
fn a_gateway_killed_while_a_token_is_under_way_finishes_it_exactly_once() {
    play("kill", &[steps::finish_once_after_a_kill]);
}

#[test]
fn energy_and_money_are_accounted_for_to_the_last_unit() {
    play("account", &[steps::run_out_of_credit, steps::top_up_a_meter, steps::account_for_energy_and_money]);
}
