use super::*;
use jiff::Timestamp;

fn attempt(kind: CommandKind, step: Step) -> Attempt<'static> {
    Attempt {
        kind,
        state: CommandState::Sending,
        step,
        tries: 0,
        serial: "01000000016",
        expects_prepaid: true,
        credit: Shown::Unclear,
    }
}

fn report(ending: Ending, facts: Facts) -> Report {
    Report {
        ending,
        facts,
        heard: None,
        started: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
        evidence: Vec::new(),
    }
}

fn states(verdict: &Verdict) -> Vec<CommandState> {
    verdict.states.iter().map(|(state, _)| *state).collect()
}

fn unknown() -> Ending {
    Ending::Unknown { reason: "no answer in 5 s".into() }
}

fn refused(code: u8) -> Ending {
    Ending::Rejected { reason: format!("result {code}"), code: Some(code) }
}

fn token_facts(is_ours: bool, code: u8, result: u8) -> Facts {
    Facts { token_is_ours: Some(is_ours), token_status: Some((code, result)), ..Facts::default() }
}

fn relay_facts(output_closed: bool, control_state: u8) -> Facts {
    Facts {
        relay: Some(RelayState { output_closed, control_state: Some(control_state) }),
        ..Facts::default()
    }
}

const DELIVER: CommandKind = CommandKind::DeliverToken;

#[test]
fn a_delivery_that_was_read_back_is_accepted_and_verified() {
    let verdict = settle(&attempt(DELIVER, Step::Act), &report(Ending::Done, Facts::default()));
    assert_eq!(states(&verdict), [CommandState::Accepted, CommandState::Verified]);
    assert_eq!(verdict.then, Then::Finish);
}

#[test]
fn a_lost_answer_is_unknown_and_the_meter_is_asked_not_sent_to() {
    let verdict = settle(&attempt(DELIVER, Step::Act), &report(unknown(), Facts::default()));
    assert_eq!(states(&verdict), [CommandState::Unknown]);
    assert!(matches!(verdict.then, Then::Ask(_)));
}

#[test]
fn the_same_token_is_sent_again_only_after_the_meter_said_it_has_not_got_it() {
    let ask = attempt(DELIVER, Step::Ask);
    let verdict = settle(&ask, &report(Ending::Done, token_facts(false, 3, 1)));
    assert_eq!((states(&verdict), verdict.then), (vec![CommandState::Queued], Then::Act(Duration::ZERO)));
    for ending in [unknown(), Ending::NotSent { reason: "line down".into() }] {
        let verdict = settle(&ask, &report(ending, Facts::default()));
        assert_eq!(states(&verdict), [CommandState::Unknown]);
        assert!(matches!(verdict.then, Then::Ask(_)));
    }
}

#[test]
fn a_meter_that_has_taken_the_token_settles_the_question() {
    let ask = attempt(DELIVER, Step::Ask);
    for facts in [token_facts(true, 3, 1), token_facts(true, 6, STS_USED)] {
        let verdict = settle(&ask, &report(Ending::Done, facts));
        assert_eq!(states(&verdict), [CommandState::Accepted, CommandState::Verified]);
    }
    let verdict = settle(&ask, &report(Ending::Done, token_facts(true, 5, 13)));
    assert_eq!(states(&verdict), [CommandState::Rejected]);
    let verdict = settle(&ask, &report(Ending::Done, token_facts(true, 8, 0)));
    assert_eq!(states(&verdict).last(), Some(&CommandState::Verified), "done is the session's own word");
}

#[test]
fn used_is_believed_as_far_as_the_credit_bears_it_out() {
    for (step, facts) in [(Step::Act, Facts::default()), (Step::Ask, token_facts(true, 6, STS_USED))] {
        let used = report(refused(STS_USED), facts);
        assert!(says_used(&used));
        let settled = |credit| settle(&Attempt { credit, ..attempt(DELIVER, step) }, &used);
        let added = [CommandState::Accepted, CommandState::Verified];
        assert_eq!(states(&settled(Shown::Added)), added);
        assert_eq!(states(&settled(Shown::Unclear)), added);
        let other = settled(Shown::NotAdded);
        assert_eq!((states(&other), other.then), (vec![CommandState::Rejected], Then::Finish));
        assert!(other.states[0].1.contains("another vending system"), "{:?}", other.states);
    }
    assert!(!says_used(&report(Ending::Done, token_facts(true, 3, STS_USED))));
}

#[test]
fn refusals_other_than_used_are_final_or_pass() {
    let act = attempt(DELIVER, Step::Act);
    let verdict = settle(&act, &report(refused(13), Facts::default()));
    assert_eq!((states(&verdict), verdict.then), (vec![CommandState::Rejected], Then::Finish));
    let verdict = settle(&act, &report(refused(15), Facts::default()));
    assert_eq!(states(&verdict), [CommandState::Queued], "a lockout passes");
}

#[test]
fn a_disconnect_ends_only_with_the_contact_seen_open() {
    let act = attempt(CommandKind::Disconnect, Step::Act);
    let verdict = settle(&act, &report(Ending::Done, relay_facts(false, 0)));
    assert_eq!(states(&verdict), [CommandState::Accepted, CommandState::Verified]);
    let verdict = settle(&act, &report(Ending::Done, relay_facts(true, 0)));
    assert_eq!(states(&verdict), [CommandState::Accepted], "the logic says open, the contact does not");
    assert!(matches!(verdict.then, Then::Ask(_)));
}

#[test]
fn a_relay_that_never_follows_is_reported_and_not_commanded_for_ever() {
    let mut ask = attempt(CommandKind::Disconnect, Step::Ask);
    let stuck = report(Ending::Done, relay_facts(true, 0));
    assert!(matches!(settle(&ask, &stuck).then, Then::Act(_)));
    ask.tries = RELAY_TRIES;
    let verdict = settle(&ask, &stuck);
    assert_eq!(states(&verdict), [CommandState::Rejected]);
    assert!(verdict.states[0].1.contains("does not follow: read back: relay sensed closed"));
}

#[test]
fn a_reconnected_meter_may_wait_for_a_person() {
    let act = attempt(CommandKind::Reconnect, Step::Act);
    let verdict = settle(&act, &report(Ending::Done, relay_facts(false, 2)));
    assert_eq!(states(&verdict), [CommandState::Accepted, CommandState::Verified]);
    assert!(verdict.states[1].1.contains("ready for reconnection"));
}

#[test]
fn an_accepted_relay_command_stays_accepted_while_its_effect_is_looked_for() {
    let ask = Attempt { state: CommandState::Accepted, ..attempt(CommandKind::Disconnect, Step::Ask) };
    assert_eq!(states(&settle(&ask, &report(unknown(), Facts::default()))), [CommandState::Accepted]);
    assert_eq!(states(&settle(&ask, &report(Ending::Done, relay_facts(false, 0)))), [CommandState::Verified]);
}

#[test]
fn commissioning_needs_the_right_meter_in_prepayment_mode() {
    let act = attempt(CommandKind::Commission, Step::Act);
    let facts = |serial: &str, prepaid| Facts { serial: Some(serial.into()), prepaid, ..Facts::default() };
    let good = settle(&act, &report(Ending::Done, facts("01000000016", Some(true))));
    assert_eq!(states(&good), [CommandState::Verified]);
    let other = settle(&act, &report(Ending::Done, facts("01000000024", Some(true))));
    assert_eq!(other.states[0].1, "the meter at this address is 01000000024, not 01000000016");
    for mode in [Some(false), None] {
        let verdict = settle(&act, &report(Ending::Done, facts("01000000016", mode)));
        assert_eq!(states(&verdict), [CommandState::Rejected]);
    }
    let postpaid = Attempt { expects_prepaid: false, ..act };
    let verdict = settle(&postpaid, &report(Ending::Done, facts("01000000016", None)));
    assert_eq!(states(&verdict), [CommandState::Verified]);
}

#[test]
fn a_read_gives_up_after_three_attempts_and_commissioning_never() {
    let mut read = attempt(CommandKind::Read, Step::Act);
    let nothing = report(unknown(), Facts::default());
    assert!(matches!(settle(&read, &nothing).then, Then::Act(_)));
    read.tries = 2;
    assert_eq!(states(&settle(&read, &nothing)), [CommandState::Expired]);
    let commission = Attempt { tries: 500, ..attempt(CommandKind::Commission, Step::Act) };
    assert_eq!(settle(&commission, &nothing).then, Then::Act(Duration::from_mins(1)));
}

#[test]
fn after_a_restart_only_what_may_have_left_is_asked_about() {
    assert_eq!(resume(DELIVER, true), Step::Ask);
    assert_eq!(resume(DELIVER, false), Step::Act);
    assert_eq!(resume(CommandKind::Disconnect, true), Step::Ask);
    assert_eq!(resume(CommandKind::Read, true), Step::Act);
}

const ROTATE: CommandKind = CommandKind::RotateKeys;

#[test]
fn new_keys_whose_fate_is_unknown_are_asked_about_and_sent_again_only_when_the_meter_has_the_old_ones() {
    let unsure = settle(&attempt(ROTATE, Step::Act), &report(unknown(), Facts::default()));
    assert_eq!(states(&unsure), [CommandState::Unknown]);
    assert!(matches!(unsure.then, Then::Ask(_)));
    let silent = settle(&attempt(ROTATE, Step::Ask), &report(unknown(), Facts::default()));
    assert!(matches!(silent.then, Then::Ask(_)));
    let old = Ending::Rejected { reason: "the meter still has its old keys".into(), code: None };
    let again = settle(&attempt(ROTATE, Step::Ask), &report(old.clone(), Facts::default()));
    assert_eq!(states(&again), [CommandState::Queued]);
    assert!(matches!(again.then, Then::Act(_)));
    for step in [Step::Act, Step::Ask] {
        let proved = settle(&attempt(ROTATE, step), &report(Ending::Done, Facts::default()));
        assert_eq!(states(&proved), [CommandState::Accepted, CommandState::Verified]);
    }
    let refused = settle(&attempt(ROTATE, Step::Act), &report(old, Facts::default()));
    assert_eq!((states(&refused), refused.then), (vec![CommandState::Rejected], Then::Finish));
    assert_eq!((resume(ROTATE, true), resume(ROTATE, false)), (Step::Ask, Step::Act));
}

#[test]
fn a_calendar_to_come_is_accepted_and_verified_when_its_time_has_come() {
    let with = |calendar| Facts { calendar: Some(calendar), ..Facts::default() };
    let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(48);
    let act = attempt(CommandKind::SetCalendar, Step::Act);
    let verdict = settle(&act, &report(Ending::Done, with(CalendarProgress::ToCome { at })));
    assert_eq!(states(&verdict), [CommandState::Accepted]);
    assert_eq!(verdict.then, Then::Ask(Duration::from_hours(48) + CALENDAR_MARGIN));

    let mut ask = Attempt { state: CommandState::Accepted, ..attempt(CommandKind::SetCalendar, Step::Ask) };
    let verdict = settle(&ask, &report(Ending::Done, with(CalendarProgress::InForce)));
    assert_eq!((states(&verdict), verdict.then), (vec![CommandState::Verified], Then::Finish));
    let other = Ending::Rejected { reason: "the days in force are not as ordered".into(), code: None };
    let verdict = settle(&ask, &report(other.clone(), Facts::default()));
    assert_eq!(states(&verdict), [CommandState::Accepted], "its clock may be slow");
    assert!(matches!(verdict.then, Then::Ask(_)));
    ask.tries = CALENDAR_LOOKS;
    assert_eq!(states(&settle(&ask, &report(other.clone(), Facts::default()))), [CommandState::Rejected]);

    // A lost answer is looked at, and given again where it is not there.
    let lost = settle(&act, &report(unknown(), Facts::default()));
    assert_eq!(states(&lost), [CommandState::Unknown]);
    let ask = Attempt { state: CommandState::Unknown, ..attempt(CommandKind::SetCalendar, Step::Ask) };
    assert!(matches!(settle(&ask, &report(other, Facts::default())).then, Then::Act(_)));
    let at_once = settle(&act, &report(Ending::Done, with(CalendarProgress::InForce)));
    assert_eq!(states(&at_once), [CommandState::Accepted, CommandState::Verified]);
}

#[test]
fn a_relay_test_that_was_cut_brings_supply_back_and_is_not_repeated() {
    let (kind, tested) = (CommandKind::TestRelay, Some(RelayTested::Operated));
    let operated = Facts { relay_tested: tested, ..relay_facts(true, 1) };
    let verdict = settle(&attempt(kind, Step::Act), &report(Ending::Done, operated));
    assert_eq!(states(&verdict), [CommandState::Accepted, CommandState::Verified]);
    let lost = settle(&attempt(kind, Step::Act), &report(unknown(), Facts::default()));
    assert_eq!(states(&lost), [CommandState::Unknown]);
    assert!(matches!(lost.then, Then::Ask(_)));
    assert_eq!(resume(kind, true), Step::Ask, "after a kill too");
    let ask = attempt(kind, Step::Ask);
    for still in [report(Ending::Done, relay_facts(false, 0)), report(unknown(), Facts::default())] {
        assert!(matches!(settle(&ask, &still).then, Then::Ask(_)));
    }
    for back in [relay_facts(true, 1), relay_facts(false, 2)] {
        let verdict = settle(&ask, &report(Ending::Done, back));
        assert_eq!((states(&verdict), verdict.then), (vec![CommandState::Rejected], Then::Finish));
    }
    let welded = Ending::Rejected { reason: "the contact is sensed closed".into(), code: None };
    assert_eq!(
        states(&settle(&attempt(kind, Step::Act), &report(welded, Facts::default()))),
        [CommandState::Rejected]
    );
}
