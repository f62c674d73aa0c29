//! Stories of facts on their way out. Pauses are an argument: no test waits for one.

use super::*;
use crate::store::event;
use crate::store::tests::{Fresh, fresh};
use jiff::Timestamp;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const SHORT: Pauses = Pauses { first: Duration::from_millis(1), longest: Duration::from_millis(1) };
const GATEWAY: &str = "4d47470102030405";

/// What the other side does with the next batch.
#[derive(Debug, Clone, Copy)]
enum Mood {
    /// Stores it, and its acknowledgement arrives.
    Takes,
    /// Stores it, and the acknowledgement is lost.
    TakesSilently,
    /// Is not there.
    Away,
}

/// The other side, as it looks from outside.
#[derive(Debug, Default)]
struct Far {
    moods: VecDeque<Mood>,
    /// Whether it can say what it has, as JetStream can.
    knows: bool,
    stored: Vec<i64>,
    deliveries: usize,
}

#[derive(Debug, Clone, Default)]
struct FarSink(Arc<Mutex<Far>>);

impl FarSink {
    fn stored(&self) -> Vec<i64> {
        self.0.lock().unwrap().stored.clone()
    }

    async fn has(&self, count: usize) {
        while self.stored().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Sink for FarSink {
    async fn last_taken(&mut self) -> Result<Option<i64>, SinkError> {
        let far = self.0.lock().unwrap();
        Ok(far.stored.last().copied().filter(|_| far.knows))
    }

    async fn deliver(&mut self, facts: &[Fact]) -> Result<(), SinkError> {
        let mut far = self.0.lock().unwrap();
        far.deliveries += 1;
        let mood = far.moods.pop_front().unwrap_or(Mood::Takes);
        if !matches!(mood, Mood::Away) {
            far.stored.extend(facts.iter().map(|fact| fact.event.id));
        }
        match mood {
            Mood::Takes => Ok(()),
            Mood::TakesSilently | Mood::Away => Err(SinkError::Unreachable("the line is cut".to_owned())),
        }
    }
}

struct Scene {
    store: Store,
    _fresh: Fresh,
    tell: watch::Sender<bool>,
}

impl Scene {
    async fn new() -> Self {
        let fresh = fresh().await;
        Self { store: fresh.store.clone(), _fresh: fresh, tell: watch::channel(false).0 }
    }

    async fn facts(&self, count: usize) {
        self.store
            .write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    for _ in 0..count {
                        event::record(conn, Timestamp::UNIX_EPOCH, "reading", Some("1"), &json!({})).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
    }

    fn courier(&self, sink: &FarSink) -> tokio::task::JoinHandle<Result<(), StoreError>> {
        let (sink, store, stop) = (sink.clone(), self.store.clone(), self.tell.subscribe());
        tokio::spawn(async move { run("far", sink, GATEWAY, &store, Clock::real(), SHORT, stop).await })
    }

    async fn state(&self) -> crate::store::sink::SinkState {
        self.store.sink_state("far").await.unwrap()
    }

    async fn delivered_to(&self, id: i64) {
        while self.state().await.delivered_id < id {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[test]
fn pauses_double_up_to_a_minute() {
    let pauses: Vec<_> = (1..=8).map(|failures| Pauses::default().after(failures).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(Pauses::default().after(u32::MAX), Pauses::default().longest);
}

#[tokio::test]
async fn facts_from_before_and_after_the_start_arrive_in_order_each_once() {
    let scene = Scene::new().await;
    let sink = FarSink::default();
    scene.facts(450).await;
    let courier = scene.courier(&sink);
    sink.has(450).await;
    scene.facts(3).await;
    scene.delivered_to(453).await;
    assert_eq!(sink.stored(), (1..=453).collect::<Vec<_>>());
    assert_eq!(scene.state().await.behind, 0);
    scene.tell.send_replace(true);
    courier.await.unwrap().unwrap();
}

#[tokio::test]
async fn while_the_other_side_is_away_facts_wait_in_the_store_and_say_why() {
    let scene = Scene::new().await;
    let sink = FarSink::default();
    sink.0.lock().unwrap().moods.extend([Mood::Away; 50]);
    scene.facts(2).await;
    let _courier = scene.courier(&sink);
    while scene.state().await.problem.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let waiting = scene.state().await;
    assert_eq!((waiting.behind, waiting.delivered_id), (2, 0));
    assert_eq!(waiting.problem.as_deref(), Some("the line is cut"));
    assert_eq!(waiting.oldest_at, Some(Timestamp::UNIX_EPOCH));
    scene.delivered_to(2).await;
    assert_eq!(sink.stored(), [1, 2]);
    assert_eq!(scene.state().await.problem, None);
}

#[tokio::test]
async fn a_lost_acknowledgement_leads_to_a_repetition_never_to_a_gap() {
    let scene = Scene::new().await;
    let sink = FarSink::default();
    sink.0.lock().unwrap().moods.push_back(Mood::TakesSilently);
    scene.facts(2).await;
    let _courier = scene.courier(&sink);
    scene.delivered_to(2).await;
    assert_eq!(sink.stored(), [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_side_that_knows_what_it_has_is_asked_and_gets_nothing_twice() {
    let scene = Scene::new().await;
    let sink = FarSink::default();
    {
        let mut far = sink.0.lock().unwrap();
        far.knows = true;
        far.moods.push_back(Mood::TakesSilently);
    }
    scene.facts(2).await;
    let _courier = scene.courier(&sink);
    sink.has(2).await;
    scene.facts(1).await;
    scene.delivered_to(3).await;
    assert_eq!(sink.stored(), [1, 2, 3]);
}

#[tokio::test]
async fn a_killed_gateway_goes_on_behind_the_last_acknowledged_batch() {
    let scene = Scene::new().await;
    let sink = FarSink::default();
    scene.facts(5).await;
    let courier = scene.courier(&sink);
    scene.delivered_to(5).await;
    courier.abort();
    scene.facts(2).await;
    let _again = scene.courier(&sink);
    scene.delivered_to(7).await;
    assert_eq!(sink.stored(), [1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn a_sinks_place_never_moves_back() {
    let scene = Scene::new().await;
    scene.store.sink_delivered("far", 10, Timestamp::UNIX_EPOCH).await.unwrap();
    scene.store.sink_delivered("far", 4, Timestamp::UNIX_EPOCH).await.unwrap();
    assert_eq!(scene.store.sink_position("far").await.unwrap(), 10);
}
