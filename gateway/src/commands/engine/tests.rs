use super::*;
use crate::bench::{Bench, DRN, MODBUS, answer, payment, relay, token_of};
use crate::commands::doubts::{Decision, DoubtError, decide};
use crate::reading::plausibility::DoubtKind;
use crate::session::relay_test::RelayTest;
use crate::store::command::{DisconnectReason, NewCommand};
use crate::store::doubt::{DoubtState, StoredDoubt};
use crate::store::ledger::Account;
use crate::store::notice::{self, Protection};
use crate::store::payment::PaymentState;
use crate::units::{MinorUnits, WattHours};

use crate::commands::desk::Word;
use CommandState::{
    Accepted, Cancelled, Expired, Queued, Recorded, Rejected, Sending, Unknown, Verified, Waiting,
};

fn request(kind: CommandKind, serial: &str, reason: DisconnectReason) -> NewCommand {
    NewCommand {
        serial: Serial(serial.into()),
        kind,
        reason: (kind == CommandKind::Disconnect).then_some(reason),
        reason_text: None,
        breach: None,
        actor: "operator".into(),
        correlation: "c-1".into(),
        token_id: None,
        action: None,
        not_after: None,
    }
}

async fn insert(bench: &Bench, request: NewCommand, state: CommandState) -> i64 {
    let step = CommandEvent { state, at: jiff::Timestamp::now(), evidence: Vec::new() };
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { command::insert_at(conn, &request, &step).await })
        })
        .await
        .unwrap()
}

async fn record(bench: &Bench, kind: CommandKind, serial: &str, not_after: Option<jiff::Timestamp>) -> i64 {
    let request = NewCommand { not_after, ..request(kind, serial, DisconnectReason::Fault) };
    insert(bench, request, Recorded).await
}

async fn delivery(bench: &Bench, receipt: &crate::vending::Receipt) -> i64 {
    let (token, _) = receipt.token.as_ref().unwrap();
    bench.store().command_of_token(token.id).await.unwrap().unwrap()
}

fn lost() -> Ending {
    Ending::Unknown { reason: "no answer in 5 s".into() }
}

fn token_is(ours: bool) -> Facts {
    Facts { token_is_ours: Some(ours), token_status: Some((3, 1)), ..Facts::default() }
}

#[tokio::test]
async fn a_payment_becomes_a_token_that_is_delivered_and_read_back() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.on_the_way, money.change_held), (MinorUnits(999), MinorUnits(1)));
    let job = bench.job().await;
    assert_eq!(job.priority, Priority::Command);
    assert_eq!(token_of(&job.work), receipt.token.as_ref().unwrap().1);
    answer(job, Ending::Done, Facts { credit_wh: Some(33_300), ..relay(true) });
    let id = delivery(&bench, &receipt).await;
    assert_eq!(bench.finished(id).await.state, Verified);
    assert_eq!(bench.states(id).await, [Recorded, Queued, Sending, Accepted, Verified]);
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.accepted, money.on_the_way), (MinorUnits(999), MinorUnits(0)));
    assert!(money.balanced);
    let (_, state) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(state.credit_wh, Some(WattHours(33_300)));
}

#[tokio::test]
async fn the_meter_is_asked_after_a_lost_answer_and_gets_no_second_token() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    answer(bench.job().await, lost(), Facts::default());
    let job = bench.job().await;
    assert!(matches!(job.work, Work::AskToken(_)), "{:?}", job.work);
    answer(job, Ending::Done, token_is(true));
    let id = delivery(&bench, &receipt).await;
    assert_eq!(bench.finished(id).await.state, Verified);
    assert_eq!(bench.states(id).await, [Recorded, Queued, Sending, Unknown, Accepted, Verified]);
    bench.assert_balanced().await;
    assert!(bench.line.try_recv().is_err(), "nothing more is sent");
}

#[tokio::test]
async fn the_same_token_is_sent_again_once_the_meter_said_it_has_not_got_it() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let first = bench.job().await;
    let token = token_of(&first.work);
    answer(first, lost(), Facts::default());
    let ask = bench.job().await;
    answer(ask, Ending::Done, token_is(false));
    let again = bench.job().await;
    assert!(matches!(&again.work, Work::DeliverToken(same) if *same == token));
    answer(again, Ending::Done, relay(true));
    assert_eq!(bench.finished(delivery(&bench, &receipt).await).await.state, Verified);
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_gateway_killed_while_sending_asks_first_when_it_is_back() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let job = bench.job().await;
    bench.kill().await;
    drop(job);
    bench.start();
    let ask = bench.job().await;
    assert!(matches!(ask.work, Work::AskToken(_)), "{:?}", ask.work);
    answer(ask, Ending::Done, token_is(true));
    let id = delivery(&bench, &receipt).await;
    bench.finished(id).await;
    assert_eq!(bench.states(id).await, [Recorded, Queued, Unknown, Accepted, Verified]);
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_gateway_killed_before_handing_over_sends_when_it_is_back() {
    let mut bench = Bench::new().await;
    bench.kill().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    bench.start();
    let job = bench.job().await;
    assert!(matches!(job.work, Work::DeliverToken(_)), "{:?}", job.work);
    answer(job, Ending::Done, relay(true));
    assert_eq!(bench.finished(delivery(&bench, &receipt).await).await.state, Verified);
}

/// A meter that was read, then topped up, and calls the token used, with this credit left.
async fn called_used(credit_wh: i64) -> (Bench, Command) {
    let mut bench = Bench::new().await;
    let read = record(&bench, CommandKind::Read, DRN, None).await;
    let registers =
        |credit, import| Facts { credit_wh: Some(credit), import_wh: Some(import), ..relay(true) };
    answer(bench.job().await, Ending::Done, registers(5_000, 100_000));
    bench.finished(read).await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let used = Ending::Rejected { reason: "STS result 10: used".into(), code: Some(10) };
    answer(bench.job().await, used, registers(credit_wh, 101_000));
    let command = bench.finished(delivery(&bench, &receipt).await).await;
    (bench, command)
}

#[tokio::test]
async fn a_token_that_the_customer_typed_first_is_used_and_in_the_credit() {
    let (bench, command) = called_used(4_000 + 33_300).await;
    assert_eq!(command.state, Verified, "{:?}", command.outcome);
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.accepted, money.refused), (MinorUnits(999), MinorUnits(0)));
}

#[tokio::test]
async fn a_token_whose_id_another_vending_system_used_is_money_owed_back() {
    let (bench, command) = called_used(4_000).await;
    assert_eq!(command.state, Rejected, "{:?}", command.outcome);
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.accepted, money.refused), (MinorUnits(0), MinorUnits(999)));
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_refused_token_is_money_owed_back_to_the_last_unit() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let reason = "this token is for another meter".to_owned();
    answer(bench.job().await, Ending::Rejected { reason, code: Some(13) }, Facts::default());
    let command = bench.finished(delivery(&bench, &receipt).await).await;
    assert_eq!(
        (command.state, command.outcome.as_deref()),
        (Rejected, Some("this token is for another meter"))
    );
    let (payment, _) = bench.store().payment(receipt.payment.id).await.unwrap().unwrap();
    assert_eq!(payment.state, PaymentState::Refused);
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.refused, money.change_held, money.balanced), (MinorUnits(999), MinorUnits(1), true));
}

#[tokio::test]
async fn what_was_never_sent_is_sent_again_and_not_asked_about() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    answer(bench.job().await, Ending::NotSent { reason: "connection refused".into() }, Facts::default());
    let again = bench.job().await;
    assert!(matches!(again.work, Work::DeliverToken(_)));
    let (_, state) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(state.problem.as_deref(), Some("connection refused"));
    answer(again, Ending::Done, relay(true));
    bench.finished(delivery(&bench, &receipt).await).await;
    let (_, state) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(state.problem, None);
}

#[tokio::test]
async fn a_line_that_dies_with_the_job_leaves_a_question_not_a_failure() {
    let mut bench = Bench::new().await;
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    drop(bench.job().await);
    assert!(matches!(bench.job().await.work, Work::AskToken(_)));
}

#[tokio::test]
async fn one_meter_gets_one_command_at_a_time_and_its_tokens_in_order() {
    let mut bench = Bench::new().await;
    let first = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let second = bench.vending.top_up(payment(DRN, "k2", 1000)).await.unwrap();
    let job = bench.job().await;
    assert_eq!(token_of(&job.work), first.token.as_ref().unwrap().1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.line.try_recv().is_err());
    answer(job, Ending::Done, relay(true));
    let job = bench.job().await;
    assert_eq!(token_of(&job.work), second.token.as_ref().unwrap().1);
    answer(job, Ending::Done, relay(true));
    bench.finished(delivery(&bench, &second).await).await;
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_disconnect_is_verified_by_the_sensed_contact() {
    let mut bench = Bench::new().await;
    let id = record(&bench, CommandKind::Disconnect, DRN, None).await;
    let job = bench.job().await;
    assert_eq!(job.work, Work::Disconnect);
    answer(job, Ending::Done, relay(true));
    let job = bench.job().await;
    assert_eq!(job.work, Work::Read, "the effect is looked for, the command is not repeated");
    answer(job, Ending::Done, relay(false));
    assert_eq!(bench.finished(id).await.state, Verified);
    assert_eq!(bench.states(id).await, [Recorded, Queued, Sending, Accepted, Verified]);
}

#[tokio::test]
async fn a_command_whose_time_is_over_expires_and_sends_nothing() {
    let mut bench = Bench::new().await;
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1);
    let id = record(&bench, CommandKind::Disconnect, DRN, Some(past)).await;
    assert_eq!(bench.finished(id).await.state, Expired);
    assert!(bench.line.try_recv().is_err());
}

#[tokio::test]
async fn a_gateway_held_balance_runs_out_is_cut_and_comes_back_with_a_payment() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(MODBUS, "k1", 30)).await.unwrap();
    assert!(receipt.token.is_none());
    assert_eq!(receipt.payment.state, PaymentState::Accepted);
    // The first reading starts the charging, the second uses 1,050 of 1,000 Wh.
    for import in [5_000, 6_050] {
        let id = record(&bench, CommandKind::Read, MODBUS, None).await;
        let job = bench.job().await;
        answer(job, Ending::Done, Facts { import_wh: Some(import), ..relay(true) });
        bench.finished(id).await;
    }
    assert_eq!(bench.store().account(Account::Held, MODBUS).await.unwrap().1, WattHours(-50));
    let job = bench.job().await;
    assert_eq!((&job.work, &job.meter.0), (&Work::Disconnect, &MODBUS.to_owned()));
    // The meter knows only that it was told to from outside; why is ours to say.
    answer(job, Ending::Done, Facts { relay_reason: Some("remote".into()), ..relay(false) });
    let commands = bench.store().commands(Some(MODBUS), 1).await.unwrap();
    assert_eq!(commands[0].request.reason, Some(DisconnectReason::NoCredit));
    assert_eq!(bench.finished(commands[0].id).await.state, Verified);
    let (_, state) = bench.store().meter(MODBUS).await.unwrap().unwrap();
    assert_eq!(state.relay_reason.as_deref(), Some("no credit"));
    let id = record(&bench, CommandKind::Read, MODBUS, None).await;
    let tampered = Facts { relay_reason: Some("tamper".into()), ..relay(false) };
    answer(bench.job().await, Ending::Done, tampered);
    bench.finished(id).await;
    let (_, state) = bench.store().meter(MODBUS).await.unwrap().unwrap();
    assert_eq!(state.relay_reason.as_deref(), Some("tamper"), "a reason of the meter's own stands");

    bench.vending.top_up(payment(MODBUS, "k2", 30)).await.unwrap();
    let job = bench.job().await;
    assert_eq!(job.work, Work::Reconnect);
    answer(job, Ending::Done, relay(true));
    let commands = bench.store().commands(Some(MODBUS), 1).await.unwrap();
    assert_eq!(bench.finished(commands[0].id).await.state, Verified);
    assert_eq!(bench.store().account(Account::Held, MODBUS).await.unwrap().1, WattHours(950));
    bench.assert_balanced().await;
}

/// Reads the meter once, with this register.
async fn read(bench: &mut Bench, import: i64) {
    let id = record(bench, CommandKind::Read, MODBUS, None).await;
    answer(bench.job().await, Ending::Done, Facts { import_wh: Some(import), ..relay(true) });
    assert_eq!(bench.finished(id).await.state, Verified);
}

async fn held(bench: &Bench) -> (WattHours, Option<WattHours>) {
    let (_, state) = bench.store().meter(MODBUS).await.unwrap().unwrap();
    (bench.store().account(Account::Held, MODBUS).await.unwrap().1, state.import_wh)
}

async fn say(bench: &Bench, id: i64, release: bool) -> Result<StoredDoubt, DoubtError> {
    let decision = Decision {
        id,
        release,
        note: "seen on site".into(),
        actor: "anna".into(),
        correlation: "c-9".into(),
    };
    let now = jiff::Timestamp::now();
    bench
        .store()
        .write(move |conn| Box::pin(async move { decide(conn, &decision, &Rules::default(), now).await }))
        .await
}

#[tokio::test]
async fn a_register_that_went_back_is_held_until_a_person_says_that_it_is_right() {
    let mut bench = Bench::new().await;
    bench.vending.top_up(payment(MODBUS, "k1", 3000)).await.unwrap();
    for import in [5_000, 6_000] {
        read(&mut bench, import).await;
    }
    let before = held(&bench).await;
    assert_eq!(before.1, Some(WattHours(6_000)));
    read(&mut bench, 3_000).await;
    read(&mut bench, 3_100).await;
    assert_eq!(held(&bench).await, before, "neither charged nor shown");
    let doubts = bench.store().doubts(Some(MODBUS), 10).await.unwrap();
    assert_eq!(doubts.len(), 1, "one case: {doubts:?}");
    assert_eq!(
        (doubts[0].kind, doubts[0].state, doubts[0].readings),
        (DoubtKind::WentBack, DoubtState::Held, 2)
    );
    let readings = bench.store().readings(MODBUS, 10).await.unwrap();
    assert_eq!(readings.iter().filter(|reading| reading.doubt_id == Some(doubts[0].id)).count(), 2);
    let events = bench.store().events_after(0, 1_000).await.unwrap();
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((count("doubtful_reading"), count("reading")), (1, 2), "told once, and not as readings");

    let released = say(&bench, doubts[0].id, true).await.unwrap();
    assert_eq!((released.state, released.decided_by.as_deref()), (DoubtState::Released, Some("anna")));
    assert_eq!(held(&bench).await, (before.0, Some(WattHours(3_100))), "the step itself is not charged");
    read(&mut bench, 3_200).await;
    assert_eq!(held(&bench).await, (before.0 - WattHours(100), Some(WattHours(3_200))));
    assert!(
        bench.store().readings(MODBUS, 10).await.unwrap().iter().all(|reading| reading.doubt_id.is_none())
    );
    let again = say(&bench, doubts[0].id, false).await.expect_err("decided");
    assert_eq!(again.to_string(), format!("doubt {} is released already", doubts[0].id));
    assert!(matches!(say(&bench, 77, true).await, Err(DoubtError::Unknown(77))));
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_leap_is_not_charged_and_passes_when_the_register_is_where_it_was() {
    let mut bench = Bench::new().await;
    bench.vending.top_up(payment(MODBUS, "k1", 3000)).await.unwrap();
    read(&mut bench, 5_000).await;
    let before = held(&bench).await;
    read(&mut bench, 905_000).await;
    assert_eq!(held(&bench).await, before);
    read(&mut bench, 5_100).await;
    assert_eq!(held(&bench).await, (before.0 - WattHours(100), Some(WattHours(5_100))));
    let doubts = bench.store().doubts(None, 10).await.unwrap();
    assert_eq!((doubts[0].kind, doubts[0].state), (DoubtKind::Jumped, DoubtState::Passed));
    let wrong = bench
        .store()
        .readings(MODBUS, 10)
        .await
        .unwrap()
        .into_iter()
        .find(|reading| reading.doubt_id.is_some());
    assert_eq!(
        wrong.and_then(|reading| reading.import_wh),
        Some(WattHours(905_000)),
        "it stays on record as doubtful"
    );
    bench.assert_balanced().await;
}

#[tokio::test]
async fn another_meter_at_the_place_is_told_once_and_its_readings_cannot_be_released() {
    let mut bench = Bench::new().await;
    bench.vending.top_up(payment(MODBUS, "k1", 3000)).await.unwrap();
    read(&mut bench, 5_000).await;
    for _ in 0..2 {
        let id = record(&bench, CommandKind::Read, MODBUS, None).await;
        let other = Facts { serial: Some("another".into()), import_wh: Some(12), ..relay(true) };
        answer(bench.job().await, Ending::Done, other);
        bench.finished(id).await;
    }
    let doubts = bench.store().doubts(None, 10).await.unwrap();
    assert_eq!((doubts.len(), doubts[0].kind, doubts[0].readings), (1, DoubtKind::OtherMeter, 2));
    assert!(matches!(say(&bench, doubts[0].id, true).await, Err(DoubtError::OtherMeter)));
    assert_eq!(say(&bench, doubts[0].id, false).await.unwrap().state, DoubtState::Rejected);
    assert_eq!(held(&bench).await.1, Some(WattHours(5_000)));
}

#[tokio::test]
async fn a_stop_waits_for_what_is_on_the_wire() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let job = bench.job().await;
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer(job, Ending::Done, relay(true));
    });
    bench.stop().await;
    late.await.unwrap();
    let id = delivery(&bench, &receipt).await;
    assert_eq!(bench.store().command(id).await.unwrap().unwrap().0.state, Verified);
}

/// A disconnect as the API records it when a second person is missing.
async fn record_waiting(bench: &Bench, reason: DisconnectReason, not_after: jiff::Timestamp) -> i64 {
    let request = request(CommandKind::Disconnect, DRN, reason);
    insert(bench, NewCommand { not_after: Some(not_after), ..request }, Waiting).await
}

fn in_an_hour() -> jiff::Timestamp {
    jiff::Timestamp::now() + SignedDuration::from_hours(1)
}

#[tokio::test]
async fn a_disconnect_that_waits_for_a_second_person_goes_nowhere_until_somebody_else_agrees() {
    let mut bench = Bench::new().await;
    let id = record_waiting(&bench, DisconnectReason::Fault, in_an_hour()).await;
    let alone = bench.desk.say(id, Word::Approve, "operator").await.unwrap_err();
    assert_eq!(alone.to_string(), "operator asked for it: a second person has to agree");
    assert!(bench.line.try_recv().is_err(), "nothing was sent");
    // Through a stop and a start.
    bench.stop().await;
    bench.start();
    bench.desk.say(id, Word::Approve, "chief").await.unwrap();
    let job = bench.job().await;
    assert!(matches!(job.work, Work::Disconnect), "{:?}", job.work);
    answer(job, Ending::Done, relay(false));
    let command = bench.finished(id).await;
    assert_eq!((command.state, command.approved_by.as_deref()), (Verified, Some("chief")));
    assert_eq!(bench.states(id).await, [Waiting, Recorded, Queued, Sending, Accepted, Verified]);
}

#[tokio::test]
async fn a_declined_or_overdue_request_is_over_and_cannot_be_approved_any_more() {
    let bench = Bench::new().await;
    let declined = record_waiting(&bench, DisconnectReason::Fault, in_an_hour()).await;
    bench.desk.say(declined, Word::Decline, "chief").await.unwrap();
    let command = bench.finished(declined).await;
    assert_eq!((command.state, command.outcome.as_deref()), (Cancelled, Some("declined by chief")));
    let late = record_waiting(&bench, DisconnectReason::Fault, jiff::Timestamp::UNIX_EPOCH).await;
    let command = bench.finished(late).await;
    assert_eq!(
        (command.state, command.outcome.as_deref()),
        (Expired, Some("no second person agreed to it in time"))
    );
    for id in [declined, late] {
        let over = bench.desk.say(id, Word::Approve, "chief").await.unwrap_err();
        assert_eq!(over.to_string(), format!("command {id} is finished or was never recorded"));
    }
}

#[tokio::test]
async fn what_is_not_on_record_keeps_the_relay_closed_even_if_two_people_agree() {
    let mut bench = Bench::new().await;
    // As if the settlement had come between the request and the second person.
    let id = record_waiting(&bench, DisconnectReason::Arrears, in_an_hour()).await;
    let refused = bench.desk.say(id, Word::Approve, "chief").await.unwrap_err();
    assert!(refused.to_string().contains("overdue: no overdue debt is on record"), "{refused}");
    // And as if it had come between the approval and the line.
    let early =
        insert(&bench, request(CommandKind::Disconnect, DRN, DisconnectReason::Arrears), Recorded).await;
    let command = bench.finished(early).await;
    assert_eq!(command.state, Rejected);
    assert!(command.outcome.unwrap().starts_with("not allowed now: overdue: "));
    assert!(bench.line.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn a_command_in_its_lines_queue_is_taken_back_unless_it_gets_through() {
    let mut bench = Bench::new().await;
    let silent = record(&bench, CommandKind::Disconnect, DRN, None).await;
    let job = bench.job().await;
    bench.desk.say(silent, Word::Cancel, "operator").await.unwrap();
    answer(job, Ending::NotSent { reason: "connection refused".into() }, Facts::default());
    let command = bench.finished(silent).await;
    assert_eq!(
        (command.state, command.outcome.as_deref()),
        (Cancelled, Some("nothing of it was done: taken back by operator"))
    );

    let through = record(&bench, CommandKind::Reconnect, DRN, None).await;
    let job = bench.job().await;
    bench.desk.say(through, Word::Cancel, "operator").await.unwrap();
    answer(job, Ending::Done, relay(true));
    assert_eq!(bench.finished(through).await.state, Verified, "what was done is not said to be undone");
}

#[tokio::test]
async fn what_may_have_reached_the_meter_and_what_was_paid_for_is_not_taken_back() {
    let mut bench = Bench::new().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let token = delivery(&bench, &receipt).await;
    let refused = bench.desk.say(token, Word::Cancel, "operator").await.unwrap_err();
    assert!(refused.to_string().starts_with("the delivery of a token is not taken back"));
    answer(bench.job().await, Ending::Done, relay(true));
    bench.finished(token).await;

    let id = record(&bench, CommandKind::Disconnect, DRN, None).await;
    answer(bench.job().await, lost(), Facts::default());
    let ask = bench.job().await;
    let refused = bench.desk.say(id, Word::Cancel, "operator").await.unwrap_err();
    assert!(refused.to_string().starts_with("it is unknown and may have reached the meter"), "{refused}");
    answer(ask, Ending::Done, relay(false));
    assert_eq!(bench.finished(id).await.state, Verified);
}

#[tokio::test]
async fn a_protected_customer_keeps_supply_on_a_used_up_balance_and_that_is_told_once() {
    let mut bench = Bench::new().await;
    protect(&bench, Some(Protection::Vulnerable)).await;
    for _ in 0..2 {
        let id = record(&bench, CommandKind::Read, MODBUS, None).await;
        answer(bench.job().await, Ending::Done, Facts { import_wh: Some(5_000), ..relay(true) });
        bench.finished(id).await;
    }
    assert!(bench.line.try_recv().is_err(), "no relay was touched");
    let events = bench.store().events_after(0, 100).await.unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.kind == "disconnect_withheld").collect();
    assert_eq!(told.len(), 1, "{events:?}");
    assert!(told[0].detail["guards"].as_str().unwrap().starts_with("protected_customer: "), "{told:?}");

    protect(&bench, None).await;
    let id = record(&bench, CommandKind::Read, MODBUS, None).await;
    answer(bench.job().await, Ending::Done, relay(true));
    bench.finished(id).await;
    let job = bench.job().await;
    assert_eq!(job.work, Work::Disconnect);
    answer(job, Ending::Done, relay(false));
}

async fn protect(bench: &Bench, protection: Option<Protection>) {
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                let (serial, now) = (Serial(MODBUS.into()), jiff::Timestamp::now());
                notice::set_protection(conn, &serial, protection, None, "desk", now).await
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_command_taken_back_in_its_lines_queue_is_not_done_after_a_kill_either() {
    let mut bench = Bench::new().await;
    let id = record(&bench, CommandKind::Disconnect, DRN, Some(in_an_hour())).await;
    let job = bench.job().await;
    bench.desk.say(id, Word::Cancel, "operator").await.unwrap();
    bench.kill().await;
    drop(job);
    bench.start();
    // It may have been done, so the relay is read; it was not, and it is not commanded again.
    let ask = bench.job().await;
    assert_eq!(ask.work, Work::Read);
    answer(ask, Ending::Done, relay(true));
    assert_eq!(bench.finished(id).await.state, Expired);
    assert!(bench.line.try_recv().is_err(), "nothing more is sent");
}

#[tokio::test]
async fn what_its_line_has_is_not_said_to_have_expired_because_somebody_asked() {
    let mut bench = Bench::new().await;
    let soon = jiff::Timestamp::now() + SignedDuration::from_millis(500);
    let id = record(&bench, CommandKind::Disconnect, DRN, Some(soon)).await;
    let job = bench.job().await;
    while jiff::Timestamp::now() <= soon {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.desk.say(id, Word::Cancel, "operator").await.unwrap();
    answer(job, Ending::Done, relay(false));
    assert_eq!(bench.finished(id).await.state, Verified, "it was done all the same");
}

#[tokio::test]
async fn a_command_behind_another_is_not_due_before_that_one_has_ended() {
    let mut bench = Bench::new().await;
    bench.kill().await;
    let ids = [
        record(&bench, CommandKind::Disconnect, DRN, None).await,
        record(&bench, CommandKind::Reconnect, DRN, None).await,
        record(&bench, CommandKind::Read, DRN, None).await,
    ];
    let (meter, _) = bench.store().meter(DRN).await.unwrap().unwrap();
    let now = Instant::now();
    let mut open = BTreeMap::new();
    for id in ids {
        let (command, _) = bench.store().command(id).await.unwrap().unwrap();
        let (step, meter) = (Step::Act, meter.clone());
        let waits = Open { command, meter, step, tries: 0, due: now, in_flight: false, cancelled_by: None };
        open.insert(id, waits);
    }
    assert_eq!(plan(now, &open), [ids[0]], "one at a time");
    open.get_mut(&ids[0]).unwrap().in_flight = true;
    assert_eq!((plan(now, &open), next_due(&open)), (vec![], None), "an engine that slept would sleep on");
    let later = now + Duration::from_secs(4);
    let first = open.get_mut(&ids[0]).unwrap();
    (first.in_flight, first.due) = (false, later);
    assert_eq!(plan(now, &open), [ids[2]], "another lane goes on");
    open.remove(&ids[2]);
    assert_eq!((plan(now, &open), next_due(&open)), (vec![], Some(later)));
}

#[tokio::test]
async fn a_protected_customers_relay_is_only_looked_at_and_a_test_that_was_cut_brings_supply_back() {
    let mut bench = Bench::new().await;
    let test = |serial| NewCommand {
        action: Some(r#"{"consent":"Anna, at the door"}"#.into()),
        ..request(CommandKind::TestRelay, serial, DisconnectReason::Fault)
    };
    let consent = Some("Anna, at the door".to_owned());
    let id = insert(&bench, test(DRN), Recorded).await;
    let job = bench.job().await;
    let agreed = RelayTest { consent: consent.clone(), withheld: None };
    assert_eq!(job.work, Work::Carry(Order::TestRelay(agreed)));
    answer(job, lost(), Facts::default());
    let back = bench.job().await;
    assert_eq!(back.work, Work::Reconnect, "it is not begun again");
    answer(back, Ending::Done, relay(true));
    assert_eq!(bench.finished(id).await.state, Rejected);
    assert_eq!(bench.states(id).await, [Recorded, Queued, Sending, Unknown, Rejected]);

    protect(&bench, Some(Protection::Vulnerable)).await;
    insert(&bench, test(MODBUS), Recorded).await;
    let Work::Carry(Order::TestRelay(test)) = bench.job().await.work else { panic!("another work") };
    assert_eq!(test.consent, consent);
    assert!(test.withheld.is_some_and(|why| why.contains("never cut off by the gateway itself")));
}

/// The next job, while the meter calls again and again.
async fn job_of_a_caller(bench: &mut Bench) -> Job {
    let (arrivals, peer) = (bench.arrivals.clone(), ([127, 0, 0, 1], 1).into());
    let call = Arrival { serial: Serial(DRN.into()), peer, notification: None };
    let calling = tokio::spawn(async move {
        loop {
            let _ = arrivals.send(call.clone());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let job = bench.job().await;
    calling.abort();
    job
}

#[tokio::test]
async fn a_command_for_a_meter_that_dials_in_is_tried_when_it_calls_and_not_a_minute_later() {
    let mut bench = Bench::new().await;
    let id = record(&bench, CommandKind::Reconnect, DRN, None).await;
    let (begun, away) = (Instant::now(), "the meter \"m\" has not called");
    for _ in 0..9 {
        let job = job_of_a_caller(&mut bench).await;
        answer(job, Ending::NotSent { reason: away.into() }, Facts::default());
    }
    // Its pauses alone would have been two minutes.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    while bench.store().command(id).await.unwrap().unwrap().0.outcome.as_deref() != Some(away) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.desk.say(id, Word::Cancel, "operator").await.unwrap();
    assert_eq!(bench.finished(id).await.state, Cancelled, "what waits for its meter can be taken back");
}
