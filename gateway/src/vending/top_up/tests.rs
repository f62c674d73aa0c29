use super::*;
use crate::bench::{Bench, DRN, payment, sts};
use crate::store::meter::MeterState;
use crate::store::tests::{add, meter as meter_row};
use crate::vault::StsIdentity;

#[tokio::test]
async fn the_same_payment_sent_again_gives_the_same_token_and_changes_nothing() {
    let bench = Bench::new().await;
    let first = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let money = bench.store().money_balance().await.unwrap();
    let again = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.token, again.token);
    assert_eq!(first.payment.id, again.payment.id);
    assert_eq!(bench.store().money_balance().await.unwrap(), money);
    assert_eq!(bench.store().payments(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_same_payment_sent_many_times_at_once_is_one_payment_and_one_token() {
    let bench = Bench::new().await;
    let sends = (0..16).map(|_| {
        let vending = bench.vending.clone();
        tokio::spawn(async move { vending.top_up(payment(DRN, "k1", 1000)).await.unwrap() })
    });
    let mut tokens = Vec::new();
    for send in sends.collect::<Vec<_>>() {
        tokens.push(send.await.unwrap().token.unwrap());
    }
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(bench.store().payments(None, 10).await.unwrap().len(), 1);
    bench.assert_balanced().await;
}

#[tokio::test]
async fn a_key_used_for_another_request_is_refused() {
    let bench = Bench::new().await;
    bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let refused = bench.vending.top_up(payment(DRN, "k1", 2000)).await.unwrap_err();
    assert!(matches!(refused, TopUpError::KeyReused));
    assert_eq!(bench.store().payments(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_payment_of_a_minute_has_a_token_id_of_its_own() {
    let bench = Bench::new().await;
    let mut tids = Vec::new();
    for key in 0..5 {
        let receipt = bench.vending.top_up(payment(DRN, &format!("k{key}"), 100)).await.unwrap();
        tids.push(receipt.token.unwrap().0.tid);
    }
    assert!(tids.windows(2).all(|pair| pair[1] > pair[0]), "{tids:?}");
    assert!(tids.iter().all(|tid| tid % 1440 != 1));
}

#[tokio::test]
async fn change_is_carried_to_the_next_payment_and_nothing_is_lost() {
    let bench = Bench::new().await;
    let first = bench.vending.top_up(payment(DRN, "k1", 100)).await.unwrap();
    assert_eq!((first.payment.billed, first.payment.change), (MinorUnits(99), MinorUnits(1)));
    let second = bench.vending.top_up(payment(DRN, "k2", 101)).await.unwrap();
    assert_eq!((second.payment.billed, second.payment.change), (MinorUnits(102), MinorUnits(0)));
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.received, money.on_the_way, money.balanced), (MinorUnits(201), MinorUnits(201), true));
}

#[tokio::test]
async fn what_cannot_be_vended_is_refused_before_any_money_is_booked() {
    let bench = Bench::new().await;
    let keyless =
        Meter { sts: Some(StsIdentity { sgc: 999_999, ..sts(DRN) }), ..meter_row("01000000024", "b") };
    let expired = Meter { sts: Some(StsIdentity { ken: 0, ..sts(DRN) }), ..meter_row("01000000032", "c") };
    let feeder = Meter { balance: BalanceHolder::None, ..meter_row("FEEDER", "d") };
    for meter in [keyless, expired, feeder] {
        add(bench.store(), meter).await.unwrap();
    }
    for (serial, amount, message) in [
        ("01000000099", 500, "there is no meter 01000000099"),
        (
            "01000000024",
            500,
            "no key: no vending key for supply group 999999, key revision 1, type DUTK; \
             the vault has no key of that group: import it, or mend the meter's record",
        ),
        ("FEEDER", 500, "meter FEEDER is not a prepaid meter"),
        (DRN, 0, "the amount must be above zero"),
        (
            DRN,
            2,
            "the amount is too small: the smallest token, 0.1 kWh, costs 3 minor units and 1 are missing",
        ),
    ] {
        let refused = bench.vending.top_up(payment(serial, "k", amount)).await.unwrap_err();
        assert_eq!(refused.to_string(), message);
    }
    let expired = bench.vending.top_up(payment("01000000032", "k", 500)).await.unwrap_err();
    assert!(matches!(expired, TopUpError::Tid(TidError::KeyExpired { ken: 0, .. })), "{expired}");
    assert!(bench.store().payments(None, 10).await.unwrap().is_empty());
    assert_eq!(bench.store().money_balance().await.unwrap().received, MinorUnits(0));
    let (_, state) = bench.store().meter(DRN).await.unwrap().unwrap();
    assert_eq!(state, MeterState::default());
}

#[tokio::test]
async fn a_payment_booked_before_a_crash_gets_its_token_at_the_next_start() {
    let bench = Bench::new().await;
    let request = payment(DRN, "k1", 1000);
    let (price, vault) = (bench.vending.price.now(), bench.vault.clone());
    let (booked, _) = bench
        .store()
        .write(move |conn| {
            Box::pin(async move { book(conn, &request, Timestamp::now(), &price, vault.as_ref()).await })
        })
        .await
        .unwrap();
    assert_eq!(booked.state, PaymentState::Recorded);
    assert_eq!(bench.vending.resume().await.unwrap(), 1);
    assert_eq!(bench.vending.resume().await.unwrap(), 0);
    let (payment, token) = bench.store().payment(booked.id).await.unwrap().unwrap();
    assert_eq!(payment.state, PaymentState::OnTheWay);
    assert!(token.is_some());
}

#[tokio::test]
async fn token_digits_are_nowhere_in_the_store_in_clear() {
    let bench = Bench::on_file().await;
    let receipt = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    let digits = receipt.token.as_ref().unwrap().1.reveal().to_owned();
    for name in ["store.db", "store.db-wal"] {
        let bytes = std::fs::read(bench.fresh.dir.join(name)).unwrap();
        assert!(!bytes.windows(20).any(|window| window == digits.as_bytes()), "{name}");
    }
    assert!(!format!("{receipt:?}").contains(&digits));
}

#[tokio::test]
async fn an_expired_vending_key_refuses_the_payment_before_any_money_is_booked() {
    // The meter's own record says nothing of an expiry, the vending key does.
    let bench = Bench::with_key_expiry(0).await;
    let refused = bench.vending.top_up(payment(DRN, "k1", 1000)).await.unwrap_err().to_string();
    assert!(refused.starts_with("the vending key has expired: its expiry number is 0"), "{refused}");
    assert!(refused.ends_with("change the meter's key to one that has not"), "{refused}");
    assert!(bench.store().payments(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_token_that_can_never_be_made_is_money_owed_back() {
    // Booked before a stop; meanwhile the vault was exchanged for one whose key has expired.
    let bench = Bench::new().await;
    let request = payment(DRN, "k1", 1000);
    let (price, vault) = (bench.vending.price.now(), bench.vault.clone());
    bench
        .store()
        .write(move |conn| {
            Box::pin(async move { book(conn, &request, Timestamp::now(), &price, vault.as_ref()).await })
        })
        .await
        .unwrap();
    let other = bench.fresh.dir.join("other");
    std::fs::create_dir(&other).unwrap();
    let vending = Vending { vault: crate::bench::open_vault(&other, 0), ..bench.vending.clone() };
    let receipt = vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert_eq!((receipt.payment.state, receipt.token.is_none()), (PaymentState::Refused, true));
    let money = bench.store().money_balance().await.unwrap();
    assert_eq!((money.refused, money.on_the_way, money.balanced), (MinorUnits(999), MinorUnits(0), true));
    let again = vending.top_up(payment(DRN, "k1", 1000)).await.unwrap();
    assert_eq!((again.payment.state, again.replayed), (PaymentState::Refused, true));
    assert_eq!(bench.store().money_balance().await.unwrap(), money);
}
