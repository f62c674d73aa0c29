use super::*;
use crate::session::model::Cadence;
use jiff::tz::TimeZone;

fn quarters() -> Slots {
    Slots { cadence: Cadence::Every(900), zone: TimeZone::UTC }
}

/// The n-th quarter hour after a certain midnight.
fn slot(n: i64) -> Timestamp {
    let midnight: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
    midnight.checked_add(SignedDuration::from_mins(15 * n)).expect("in range")
}

const ALL_HELD: Terms = Terms { held_from: Timestamp::UNIX_EPOCH, deadline: None };

fn attempt(before: &[Gap], from: i64, to: i64, answered: bool, there: &[i64], now: i64) -> Ledger {
    attempt_under(&ALL_HELD, before, from, to, answered, there, now)
}

fn attempt_under(
    terms: &Terms,
    before: &[Gap],
    from: i64,
    to: i64,
    answered: bool,
    there: &[i64],
    now: i64,
) -> Ledger {
    let there = there.iter().map(|n| slot(*n)).collect();
    settle(&quarters(), before, &Asked { from: slot(from), to: slot(to), answered }, &there, terms, slot(now))
}

fn spans(gaps: &[Gap]) -> Vec<(Timestamp, Timestamp)> {
    gaps.iter().map(|gap| (gap.from, gap.to)).collect()
}

#[test]
fn what_came_is_no_gap_and_what_did_not_come_is_one() {
    let ledger = attempt(&[], 1, 8, true, &[1, 2, 5, 6, 7], 9);
    assert_eq!(spans(&ledger.open), [(slot(3), slot(4)), (slot(8), slot(8))]);
    assert!(ledger.given_up.is_empty());
    let gap = &ledger.open[0];
    assert_eq!((gap.seen_at, gap.attempts, gap.answered), (slot(9), 1, 1));
    assert_eq!(gap.next_at.duration_since(slot(9)), SignedDuration::from_mins(1));
}

#[test]
fn a_gap_that_is_filled_is_gone_and_one_filled_in_the_middle_is_two() {
    let before = attempt(&[], 1, 8, false, &[], 9).open;
    assert_eq!(spans(&before), [(slot(1), slot(8))]);
    let ledger = attempt(&before, 1, 8, true, &[1, 2, 3, 4, 5, 6, 7, 8], 10);
    assert_eq!(ledger, Ledger::default());
    let ledger = attempt(&before, 3, 5, true, &[3, 4, 5], 10);
    assert_eq!(spans(&ledger.open), [(slot(1), slot(2)), (slot(6), slot(8))]);
    assert!(ledger.open.iter().all(|gap| gap.seen_at == slot(9) && gap.attempts == 1), "{ledger:?}");
}

#[test]
fn what_a_silent_meter_owes_is_one_gap_and_is_asked_for_at_once_when_it_answers_again() {
    let mut gaps = Vec::new();
    for quarter in 1..=96 {
        gaps = attempt(&gaps, quarter, quarter, false, &[], quarter).open;
    }
    assert_eq!(spans(&gaps), [(slot(1), slot(96))], "one, however often");
    gaps = attempt(&gaps, 1, 96, false, &[], 97).open;
    gaps = attempt(&gaps, 1, 96, false, &[], 98).open;
    gaps = attempt(&gaps, 1, 96, false, &[], 99).open;
    assert_eq!((gaps[0].attempts, gaps[0].seen_at), (4, slot(1)));
    assert!(gaps[0].next_at > slot(100), "less and less often");
    let ledger = attempt(&gaps, 100, 100, true, &[100], 100);
    assert_eq!((spans(&ledger.open), ledger.open[0].next_at), (vec![(slot(1), slot(96))], slot(100)));
}

#[test]
fn what_the_meter_answers_three_times_without_is_given_up_and_told_once() {
    let mut gaps = attempt(&[], 1, 4, true, &[1, 4], 5).open;
    gaps = attempt(&gaps, 2, 3, true, &[], 6).open;
    assert_eq!((gaps[0].attempts, gaps[0].answered), (2, 2));
    let ledger = attempt(&gaps, 2, 3, true, &[], 7);
    assert_eq!(ledger.open, []);
    let [given_up] = ledger.given_up.as_slice() else { panic!("{ledger:?}") };
    assert_eq!((given_up.gap.from, given_up.gap.to), (slot(2), slot(3)));
    assert_eq!(given_up.why, WhyGivenUp::NotRecorded);
}

#[test]
fn silence_is_no_answer_however_often() {
    let mut gaps = Vec::new();
    for now in 5..40 {
        gaps = attempt(&gaps, 1, 4, false, &[], now).open;
    }
    assert_eq!((gaps.len(), gaps[0].attempts, gaps[0].answered), (1, 35, 0));
}

#[test]
fn what_the_buffer_no_longer_holds_is_given_up_and_the_rest_is_not() {
    let gaps = attempt(&[], 1, 8, false, &[], 9).open;
    let terms = Terms { held_from: slot(5), deadline: None };
    let ledger = attempt_under(&terms, &gaps, 9, 9, false, &[], 10);
    assert_eq!(spans(&ledger.open), [(slot(5), slot(9))]);
    let [given_up] = ledger.given_up.as_slice() else { panic!("{ledger:?}") };
    assert_eq!((given_up.gap.from, given_up.gap.to), (slot(1), slot(4)));
    assert_eq!(given_up.why, WhyGivenUp::Overwritten);
}

#[test]
fn a_deadline_that_passes_is_told_once_and_is_asked_for_often_before() {
    let terms = Terms { deadline: Some(SignedDuration::from_hours(6)), ..ALL_HELD };
    let mut gaps = Vec::new();
    let mut told = Vec::new();
    for now in 1..=30 {
        let ledger = attempt_under(&terms, &gaps, 0, 0, false, &[], now);
        told.extend(ledger.overdue.iter().map(|_| now));
        gaps = ledger.open;
        if now < 24 {
            let wait = gaps[0].next_at.duration_since(slot(now));
            assert!(wait <= SignedDuration::from_mins(15), "{now}: {wait}");
        }
    }
    assert_eq!(told, [24], "six hours after midnight, once");
}

#[test]
fn what_nobody_answered_is_asked_for_sooner_than_a_row_that_the_meter_does_not_have_yet() {
    let minutes = |answered| [1, 2, 3, 4, 99].map(|attempts| pause(attempts, answered).as_mins());
    assert_eq!(minutes(false), [1, 1, 3, 60, 1_440]);
    assert_eq!(minutes(true), [1, 5, 15, 60, 1_440]);
}
