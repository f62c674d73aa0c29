use super::*;
use crate::session::work::Serial;
use crate::store::notice::Protection;
use crate::units::MinorUnits;
use DisconnectReason::{Arrears, BreachOfContract, Fault, NoCredit, PeakAvoidance, Planned};

/// A Wednesday, noon in UTC.
const NOW: &str = "2026-03-18T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn notice(kind: NoticeKind, delivered_at: &str) -> Notice {
    Notice {
        id: 0,
        serial: Serial("01000000016".into()),
        kind,
        reason: None,
        effective_from: None,
        overdue_since: None,
        amount: None,
        delivered_at: at(delivered_at),
        way: "letter".into(),
        reference: None,
        recorded_by: "desk".into(),
        correlation: "c-1".into(),
        at: at(delivered_at),
    }
}

fn demand(overdue_since: &str, delivered_at: &str) -> Notice {
    Notice {
        overdue_since: Some(at(overdue_since)),
        amount: Some(MinorUnits(12_000)),
        ..notice(NoticeKind::Demand, delivered_at)
    }
}

fn announced(reason: DisconnectReason, effective_from: &str, delivered_at: &str) -> Notice {
    Notice {
        reason: Some(reason),
        effective_from: Some(at(effective_from)),
        ..notice(NoticeKind::Disconnection, delivered_at)
    }
}

/// A customer two months behind, who was asked to pay twice and told when supply ends.
fn debtor() -> Standing {
    Standing {
        protection: None,
        notices: vec![
            demand("2026-01-15T00:00:00Z", "2026-01-20T10:00:00Z"),
            demand("2026-01-15T00:00:00Z", "2026-02-20T10:00:00Z"),
            announced(Arrears, "2026-03-18T08:00:00Z", "2026-03-12T10:00:00Z"),
        ],
    }
}

fn asked(reason: DisconnectReason) -> Asked<'static> {
    Asked { reason, breach: None, approved: false }
}

fn approved(reason: DisconnectReason) -> Asked<'static> {
    Asked { approved: true, ..asked(reason) }
}

fn guards(asked: &Asked<'_>, standing: &Standing, rules: &Rules, now: &str) -> Vec<Guard> {
    unmet(asked, standing, rules, at(now)).iter().map(|unmet| unmet.guard).collect()
}

#[test]
fn a_debtor_who_was_asked_twice_and_told_in_time_is_cut_off_by_two_people_and_not_by_one() {
    assert_eq!(guards(&asked(Arrears), &debtor(), &Rules::default(), NOW), [Guard::SecondPerson]);
    assert_eq!(guards(&approved(Arrears), &debtor(), &Rules::default(), NOW), []);
}

#[test]
fn somebody_of_whom_nothing_is_on_record_is_not_cut_off_for_arrears() {
    let found = unmet(&approved(Arrears), &Standing::default(), &Rules::default(), at(NOW));
    assert_eq!(
        found.iter().map(|unmet| (unmet.guard, unmet.detail.as_str())).collect::<Vec<_>>(),
        [
            (Guard::Overdue, "no overdue debt is on record"),
            (Guard::Demands, "0 of 2 demands delivered since the debt fell due"),
            (Guard::Notice, "no notice of a disconnection for arrears is on record"),
        ]
    );
    assert!(found.iter().all(|unmet| !unmet.remedy.is_empty()));
}

#[test]
fn thirty_days_are_not_more_than_thirty_days() {
    let debtor = Standing {
        notices: vec![
            demand("2026-02-16T12:00:00Z", "2026-02-20T10:00:00Z"),
            demand("2026-02-16T12:00:00Z", "2026-03-01T10:00:00Z"),
            announced(Arrears, "2026-03-18T08:00:00Z", "2026-03-12T10:00:00Z"),
        ],
        protection: None,
    };
    assert_eq!(guards(&approved(Arrears), &debtor, &Rules::default(), NOW), [Guard::Overdue]);
    assert_eq!(guards(&approved(Arrears), &debtor, &Rules::default(), "2026-03-18T12:00:01Z"), []);
}

#[test]
fn a_paid_debt_is_no_debt_and_old_demands_do_not_count_for_a_new_one() {
    let mut paid = debtor();
    paid.notices.push(notice(NoticeKind::Settlement, "2026-03-17T10:00:00Z"));
    let stand = guards(&approved(Arrears), &paid, &Rules::default(), NOW);
    assert_eq!(stand, [Guard::Overdue, Guard::Demands]);
    paid.notices.push(demand("2026-02-01T00:00:00Z", "2026-03-17T12:00:00Z"));
    assert_eq!(guards(&approved(Arrears), &paid, &Rules::default(), NOW), [Guard::Demands]);
}

#[test]
fn a_demand_that_is_still_to_be_delivered_does_not_count() {
    let mut early = debtor();
    early.notices[1].delivered_at = at("2026-03-18T12:00:01Z");
    assert_eq!(guards(&approved(Arrears), &early, &Rules::default(), NOW), [Guard::Demands]);
}

#[test]
fn a_notice_has_to_come_in_time_for_this_reason_and_its_time_has_to_have_come() {
    let told = |notice: Notice| Standing { protection: None, notices: vec![notice] };
    let stand = |standing: &Standing| guards(&asked(Planned), standing, &Rules::default(), NOW);
    assert_eq!(stand(&told(announced(Planned, "2026-03-18T12:00:00Z", "2026-03-11T12:00:00Z"))), []);
    for (why, notice) in [
        ("an hour late", announced(Planned, "2026-03-18T12:00:00Z", "2026-03-11T13:00:00Z")),
        ("for another reason", announced(Arrears, "2026-03-18T12:00:00Z", "2026-03-01T12:00:00Z")),
        ("for tomorrow", announced(Planned, "2026-03-19T12:00:00Z", "2026-03-01T12:00:00Z")),
        ("last winter's", announced(Planned, "2026-01-18T12:00:00Z", "2026-01-01T12:00:00Z")),
    ] {
        assert_eq!(stand(&told(notice)), [Guard::Notice], "{why}");
    }
}

#[test]
fn a_breach_of_contract_needs_a_case_and_the_inspector_who_confirmed_it() {
    let told = Standing {
        protection: None,
        notices: vec![announced(BreachOfContract, "2026-03-18T10:00:00Z", "2026-03-17T09:00:00Z")],
    };
    assert_eq!(guards(&asked(BreachOfContract), &told, &Rules::default(), NOW), [Guard::Case]);
    let breach = Breach { case_id: "T-17".into(), confirmed_by: "inspector 4".into() };
    let asked = Asked { breach: Some(&breach), ..asked(BreachOfContract) };
    assert_eq!(guards(&asked, &told, &Rules::default(), NOW), []);
}

#[test]
fn faults_and_peaks_do_not_wait_for_the_post() {
    for reason in [Fault, PeakAvoidance] {
        assert_eq!(guards(&asked(reason), &Standing::default(), &Rules::default(), NOW), []);
    }
}

#[test]
fn a_hospital_is_never_cut_off_by_the_gateway_and_by_people_only_in_pairs() {
    let hospital = Standing { protection: Some(Protection::Hospital), notices: Vec::new() };
    let rules = Rules::default();
    assert_eq!(guards(&asked(NoCredit), &hospital, &rules, NOW), [Guard::ProtectedCustomer]);
    assert_eq!(guards(&approved(NoCredit), &hospital, &rules, NOW), [Guard::ProtectedCustomer]);
    assert_eq!(guards(&asked(PeakAvoidance), &hospital, &rules, NOW), [Guard::SecondPerson]);
    assert_eq!(guards(&approved(PeakAvoidance), &hospital, &rules, NOW), []);
}

#[test]
fn nobody_is_cut_off_for_money_in_the_evening_or_before_a_holiday_ends() {
    let rules = Rules {
        // One hour ahead of UTC, two in summer.
        zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
        quiet_hours: Some((Time::constant(18, 0, 0, 0), Time::constant(8, 0, 0, 0))),
        quiet_days: vec![Weekday::Saturday, Weekday::Sunday],
        quiet_dates: vec![Date::constant(2026, 3, 30)],
        ..Rules::default()
    };
    let customer = Standing::default();
    let stand = |reason, now: &str| guards(&asked(reason), &customer, &rules, now);
    assert_eq!(stand(NoCredit, "2026-03-18T16:59:59Z"), [], "a second before six in the evening");
    assert_eq!(stand(NoCredit, "2026-03-18T17:00:00Z"), [Guard::QuietHours]);
    assert_eq!(stand(NoCredit, "2026-03-19T06:59:59Z"), [Guard::QuietHours]);
    assert_eq!(stand(NoCredit, "2026-03-19T07:00:00Z"), [], "eight in the morning");
    assert_eq!(stand(Fault, "2026-03-18T22:00:00Z"), [], "danger does not wait");
    // Friday evening before the clocks change, and a Monday that is a holiday: Tuesday at eight, in summer time.
    let found = unmet(&asked(NoCredit), &customer, &rules, at("2026-03-27T20:00:00Z"));
    assert_eq!(found[0].remedy, "wait until 2026-03-31T06:00:00Z");
}

#[test]
fn rules_that_never_allow_it_say_so() {
    let rules = Rules {
        quiet_days: (0..7).map(|day| Weekday::Monday.wrapping_add(day)).collect(),
        ..Rules::default()
    };
    let found = unmet(&asked(NoCredit), &Standing::default(), &rules, at(NOW));
    assert_eq!(found[0].remedy, "change the rules: they never allow it");
}
