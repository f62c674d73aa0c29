use super::*;
use crate::bench::{Bench, DRN, MODBUS, answer, payment, relay, token_of};
use crate::store::command::{DisconnectReason, NewCommand};
use crate::store::ledger::Account;
use crate::store::payment::PaymentState;
use crate::units::{MinorUnits, WattHours};

use CommandState::{Accepted, Expired, Queued, Recorded, Rejected, Sending, Unknown, Verified};

async fn record(bench: &Bench, kind: CommandKind, serial: &str, not_after: Option<jiff::Timestamp>) -> i64 {
    let request = NewCommand {
        serial: Serial(serial.into()),
        kind,
        reason: (kind == CommandKind::Disconnect).then_some(DisconnectReason::Planned),
        reason_text: None,
        actor: "operator".into(),
        correlation: "c-1".into(),
        token_id: None,
        not_after,
    };
    let now = jiff::Timestamp::now();
    bench
        .store()
        .write::<_, StoreError, _>(move |conn| {
            Box::pin(async move { command::insert(conn, &request, now).await })
        })
        .await
        .unwrap()
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
