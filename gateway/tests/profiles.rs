//! Profiles of simulated meters: rows by range, by entry and whole; holes, wrapped buffers and clocks that jump; and the
//! collector, which reads what is due and asks again for what is missing (N30).
#![cfg(feature = "demo")]

mod common;

use common::{TestKeys, endpoint};
use gateway::clock::Clock;
use gateway::commands::engine::Policy;
use gateway::commands::router::Router as Places;
use gateway::commands::visits::Visits;
use gateway::config::{Config, LineConfig, LineKind, Parity, SerialProtocol, System};
use gateway::reading::collector::Collector;
use gateway::reading::coverage;
use gateway::reading::plausibility::DoubtKind;
use gateway::reading::slots::Slots;
use gateway::session::clock_check::ClockTerms;
use gateway::session::counters::MemoryCounters;
use gateway::session::directory::{Directory, Endpoint};
use gateway::session::model::{Cadence, Models};
use gateway::session::record::Recordings;
use gateway::session::work::{Ending, Job, Priority, ProfileRows, Report, RowsWanted, Serial, Work};
use gateway::session::{Context, Router, spawn, waits};
use gateway::store::Store;
use gateway::store::meter::{BalanceHolder, LoadRecord, Meter, Role};
use gateway::store::observation::{self, Quality};
use gateway::store::profile::Covered;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use simulator::clock::SimClock;
use simulator::faults::Fault;
use simulator::street::{Street, StreetConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// 2026-11-22T10:07:00Z: seven minutes into an interval.
const START_S: u32 = 1_795_342_020;
const DAY_ROWS: u32 = 96;

struct Bench {
    street: Street,
    router: Router,
    clock: Clock,
    models: Models,
    dir: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    /// A meter with the wrapper, one with HDLC over TCP, one on a bus, each with a day of rows behind it.
    async fn start(clock: SimClock, speed: u32, model: &str) -> Self {
        let config = StreetConfig {
            meters: 2,
            hdlc_meters: 1,
            port: 0,
            line_meters: 1,
            clock,
            past_rows: DAY_ROWS,
            credit_wh: Some(500_000),
            ..StreetConfig::default()
        };
        let street = Street::start(config).await.expect("a street");
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let dir =
            std::env::temp_dir().join(format!("meter-gateway-profiles-{:016x}", u64::from_be_bytes(random)));
        std::fs::create_dir(&dir).expect("a directory");
        // The same meter, for those who ask in other ways.
        let reference = include_str!("../models/reference-dlms.toml");
        for (name, access) in [("by-entry", "entry"), ("whole", "whole")] {
            let text = reference
                .replace("purpose = \"load\"", &format!("purpose = \"load\"\naccess = \"{access}\""));
            std::fs::write(dir.join(format!("{name}.toml")), text).expect("a model");
        }
        let models = Models::load(Some(&dir)).expect("good models");
        let directory = Directory::default();
        for entry in street.roll() {
            directory.put(Endpoint { model: model.into(), ..endpoint(entry) });
        }
        let origin = Timestamp::from_millisecond(street.config().clock.utc_ms() as i64).expect("in range");
        let clock = Clock::simulated(origin, speed);
        let context = Context {
            directory,
            models: models.clone(),
            keys: Arc::new(TestKeys),
            counters: Arc::new(MemoryCounters::default()),
            clock,
            system_title: *b"MGWGW001",
            recordings: Recordings::default(),
            waits: waits(),
        };
        let bus = LineKind::Serial {
            port: street.line_path().expect("a serial line").into(),
            baud: 9_600,
            parity: Parity::None,
            protocol: SerialProtocol::DlmsHdlc,
        };
        let line = |name: &str, kind| LineConfig { name: name.into(), kind, area: None };
        let lines = [line("street", LineKind::Tcp { connections_max: 16 }), line("bus", bus)];
        Self { router: spawn(&lines, &context), street, clock, models, dir }
    }

    /// One that stands still.
    async fn held() -> Self {
        Self::start(SimClock::held_at(START_S), 2, "reference-dlms").await
    }

    fn serial(&self, number: usize) -> String {
        self.street.roll()[number - 1].serial.clone()
    }

    async fn perform(&self, serial: &str, work: Work) -> Report {
        let (report, answer) = oneshot::channel();
        let meter = Serial(serial.into());
        let job = Job {
            meter: meter.clone(),
            work,
            priority: Priority::Scheduled,
            not_after: None,
            correlation: "test".into(),
            report,
            sending: None,
        };
        self.router
            .line_of(&meter)
            .expect("a known meter")
            .send(Box::new(job))
            .await
            .expect("a running line");
        answer.await.expect("a report")
    }

    async fn rows(&self, serial: &str, from: &str, to: &str) -> ProfileRows {
        let wanted = RowsWanted { profile: "load".into(), from: at(from), to: at(to) };
        let report = self.perform(serial, Work::ReadProfile(wanted)).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
        *report.facts.profile.expect("rows")
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn times(rows: &ProfileRows) -> Vec<Timestamp> {
    rows.rows.iter().map(|row| row.at).collect()
}

fn quarters() -> Slots {
    Slots { cadence: Cadence::Every(900), zone: TimeZone::UTC }
}

const MORNING: (&str, &str) = ("2026-11-22T00:15:00Z", "2026-11-22T10:00:00Z");

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_a_range_comes_once_from_every_kind_of_line_and_nothing_beside_it() {
    let bench = Bench::held().await;
    let expected: Vec<Timestamp> = quarters().between(at(MORNING.0), at(MORNING.1)).collect();
    for number in 1..=3 {
        let rows = bench.rows(&bench.serial(number), MORNING.0, MORNING.1).await;
        assert_eq!(times(&rows), expected, "meter {number}");
        let names: Vec<&str> = rows.channels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["import_wh", "export_wh", "credit_wh", "voltage_dv"]);
        let import: Vec<i64> = rows.rows.iter().map(|row| row.cells[0].expect("a register")).collect();
        assert!(import.is_sorted() && import.first() < import.last(), "meter {number}: {import:?}");
        assert!(
            rows.rows.iter().all(|row| row.cells[3].is_some_and(|volts| (2_000..2_600).contains(&volts)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_billing_profile_is_read_by_its_own_model_and_an_unknown_one_is_refused_by_name() {
    let bench = Bench::held().await;
    // A midnight passes.
    bench.street.advance(14 * 3_600_000, 60_000);
    let serial = bench.serial(1);
    let wanted = |profile: &str| RowsWanted {
        profile: profile.into(),
        from: at("2026-11-23T00:00:00Z"),
        to: at("2026-11-23T23:59:59Z"),
    };
    let report = bench.perform(&serial, Work::ReadProfile(wanted("daily"))).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    let rows = report.facts.profile.expect("rows").rows;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].cells[0].is_some_and(|import| import > 0));
    let report = bench.perform(&serial, Work::ReadProfile(wanted("hourly"))).await;
    let Ending::Rejected { reason, .. } = report.ending else { panic!("{report:?}") };
    assert_eq!(reason, "a reference prepaid meter has no profile \"hourly\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_asked_by_entry_or_for_the_whole_buffer_gives_the_same_rows() {
    let by_range = Bench::held().await;
    let expected = by_range.rows(&by_range.serial(1), MORNING.0, MORNING.1).await;
    for model in ["by-entry", "whole"] {
        let bench = Bench::start(SimClock::held_at(START_S), 2, model).await;
        let rows = bench.rows(&bench.serial(1), MORNING.0, MORNING.1).await;
        assert_eq!(rows, expected, "{model}");
        let newest = bench.rows(&bench.serial(1), MORNING.1, MORNING.1).await;
        assert_eq!(newest.rows, expected.rows[39..], "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_and_overwritten_rows_are_not_there_and_nothing_is_put_in_their_place() {
    let bench = Bench::held().await;
    let serial = bench.serial(1);
    assert!(bench.street.inject(1, Fault::ProfileHole { rows: 3 }));
    bench.street.advance(3_600_000, 60_000);
    let rows = bench.rows(&serial, "2026-11-22T09:00:00Z", "2026-11-22T11:00:00Z").await;
    let hole = [at("2026-11-22T09:30:00Z"), at("2026-11-22T09:45:00Z"), at("2026-11-22T10:00:00Z")];
    let slots = quarters();
    let expected = slots.between(at("2026-11-22T09:00:00Z"), at("2026-11-22T11:00:00Z"));
    assert_eq!(times(&rows), expected.filter(|slot| !hole.contains(slot)).collect::<Vec<_>>());

    assert!(bench.street.inject(2, Fault::WrappedBuffer { rows: 4 }));
    bench.street.advance(2 * 3_600_000, 60_000);
    let rows = bench.rows(&bench.serial(2), MORNING.0, "2026-11-22T13:00:00Z").await;
    assert_eq!(times(&rows).last(), Some(&at("2026-11-22T13:00:00Z")));
    assert!(rows.rows.len() <= 4, "{:?}", times(&rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_leaves_a_hole_or_a_row_of_its_own_time_and_never_moves_another() {
    let bench = Bench::held().await;
    let before = bench.rows(&bench.serial(1), MORNING.0, MORNING.1).await;
    // Two hours ahead at 10:07: the meter's next row is of its own 12:15.
    assert!(bench.street.inject(1, Fault::ClockJump { seconds: 7_200 }));
    bench.street.advance(10 * 60_000, 10_000);
    let rows = bench.rows(&bench.serial(1), MORNING.0, "2026-11-22T12:15:00Z").await;
    assert_eq!(rows.rows[..40], before.rows[..], "what was there is as it was");
    let after = &times(&rows)[40..];
    assert!(!after.is_empty() && after.iter().all(|time| *time >= at("2026-11-22T12:00:00Z")), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_shifted_or_set_within_the_terms_and_left_alone_beyond_them() {
    let bench = Bench::held().await;
    let serial = bench.serial(1);
    let correct = |terms: ClockTerms| bench.perform(&serial, Work::CorrectClock(terms));
    let terms = ClockTerms { tolerance_s: 30, ..ClockTerms::default() };
    let right = correct(terms).await;
    assert_eq!((&right.ending, &right.facts.clock), (&Ending::Done, &None), "{:?}", right.evidence);

    assert!(bench.street.inject(1, Fault::ClockJump { seconds: 120 }));
    let shifted = correct(terms).await;
    let step = shifted.facts.clock.clone().unwrap_or_else(|| panic!("{:?}", shifted.evidence));
    assert!(step.shifted && !step.crosses, "{step:?}");
    assert!(step.before_s.is_some_and(|before| (90..=150).contains(&before)), "{step:?}");
    assert!(shifted.facts.clock_offset_s.is_some_and(|after| after.abs() <= 30), "{:?}", shifted.facts);

    assert!(bench.street.inject(1, Fault::ClockJump { seconds: 7_200 }));
    let left = correct(ClockTerms { set_max_s: 3_600, ..terms }).await;
    assert_eq!(left.facts.clock, None);
    assert!(left.facts.clock_offset_s.is_some_and(|offset| offset > 7_000), "it was only looked at");
    let set = correct(terms).await;
    let step = set.facts.clock.clone().unwrap_or_else(|| panic!("{:?}", set.evidence));
    assert!(!step.shifted && step.crosses, "two hours cannot be taken without crossing: {step:?}");
    assert!(set.facts.clock_offset_s.is_some_and(|after| after.abs() <= 30), "{:?}", set.facts);
}

/// A store with the first two meters of the street, commissioned now, and a collector at work on it.
struct Collecting {
    store: Store,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Result<(), gateway::store::StoreError>>,
}

impl Collecting {
    async fn start(bench: &Bench) -> Self {
        let store = Store::open(&bench.dir.join("store.db")).await.expect("a store");
        for number in 1..=2 {
            if store.meter(&bench.serial(number)).await.expect("a store").is_some() {
                continue;
            }
            let place = endpoint(&bench.street.roll()[number - 1]);
            let now = bench.clock.now();
            let meter = Meter {
                serial: place.serial.clone(),
                line: place.line,
                address: place.address,
                framing: place.framing,
                model: place.model,
                balance: BalanceHolder::Meter,
                role: Role::Customer,
                area: "T1".into(),
                sts: None,
                load: LoadRecord::default(),
                added_at: now,
            };
            store
                .write::<_, gateway::store::StoreError, _>(move |conn| {
                    Box::pin(async move {
                        gateway::store::meter::insert(conn, &meter)
                            .await
                            .map_err(|error| gateway::store::StoreError::Corrupt(error.to_string()))?;
                        observation::commissioned(conn, &place.serial, now).await
                    })
                })
                .await
                .expect("entered");
        }
        let config = Config::parse(CONFIG, &bench.dir.join("gateway.toml"), &System).expect("a good one");
        let policy = Policy::of(&config);
        let places = Places::new(Arc::new(bench.router.clone()));
        let (schedule, policy) = (config.schedule.into(), policy.into());
        let mut collector =
            Collector::new(store.clone(), bench.clock, places, bench.models.clone(), schedule, policy);
        let meters = store.all_meters().await.expect("a store");
        collector.load(&meters).await.expect("the store answers");
        let (stop, stopped) = watch::channel(false);
        let ((_, commissioned), (_, visits)) = (mpsc::unbounded_channel(), Visits::pair());
        Self {
            store,
            stop,
            task: tokio::spawn(collector.run(commissioned, visits, broadcast::channel(1).1, stopped)),
        }
    }

    async fn stop(self) -> Store {
        self.stop.send_replace(true);
        self.task.await.expect("no panic").expect("no failure");
        self.store
    }

    /// Waits until what the store says is so.
    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Store) -> Option<T>) -> T {
        for _ in 0..1_200 {
            if let Some(found) = look(&self.store).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited a minute for {what}");
    }

    /// Rows of the load profile since a time, by quality.
    async fn load(&self, serial: &str, since: Timestamp) -> Vec<(Timestamp, Quality)> {
        let counted =
            self.store.coverage(Covered::Meter(serial), since, Timestamp::MAX, Some).await.expect("a store");
        let load = counted.into_iter().find(|counted| counted.profile == "load");
        load.map_or_else(Vec::new, |load| load.rows.into_iter().map(|row| (row.at, row.quality)).collect())
    }

    async fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let events = self.store.events_after(0, 10_000).await.expect("a store");
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.detail).collect()
    }
}

const CONFIG: &str = r#"
[api]
listen = "127.0.0.1:0"
[store]
path = "store.db"
[vault]
master_key_file = "master.key"
[price]
currency = "EUR"
minor_per_kwh = "30"
[schedule]
profile_spread_s = 60
"#;

/// Fifteen minutes in a second and a half.
const FAST: u32 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_meter_owes_is_one_gap_and_is_filled_when_it_answers_again() {
    let bench = Bench::start(SimClock::starting_at(START_S, FAST), FAST, "reference-dlms").await;
    let (silent, other) = (bench.serial(1), bench.serial(2));
    let began = bench.clock.now();
    let work = Collecting::start(&bench).await;
    work.until("a first row", async |_| (!work.load(&silent, began).await.is_empty()).then_some(())).await;
    assert!(bench.street.inject(1, Fault::Silence { on: true }));
    let gap = work
        .until("a gap of two intervals", async |store| {
            let gaps = store.gaps(&silent, 10).await.expect("a store");
            gaps.into_iter().find(|gap| gap.profile == "load" && gap.gap.from < gap.gap.to)
        })
        .await;
    assert_eq!((gap.given_up, gap.gap.answered), (None, 0));
    assert!(bench.street.inject(1, Fault::Silence { on: false }));
    work.until("the gap to be filled", async |store| {
        let gaps = store.gaps(&silent, 10).await.expect("a store");
        let rows = work.load(&silent, began).await;
        let filled = rows.iter().filter(|(at, _)| (gap.gap.from..=gap.gap.to).contains(at)).count();
        (filled >= 2 && gaps.iter().all(|open| open.profile != "load" || open.gap.from > gap.gap.to))
            .then_some(())
    })
    .await;
    let rows = work.load(&silent, began).await;
    let late = rows.iter().filter(|(_, quality)| *quality == Quality::Late).count();
    assert!(late >= 1, "what came after its time says so: {rows:?}");
    // The neighbour went on: every interval since then is there once.
    let rows = work.load(&other, began).await;
    let now = rows.last().expect("rows").0;
    let due = coverage::due(&quarters(), began, began, now, now);
    assert_eq!(rows.iter().map(|(at, _)| *at).collect::<Vec<_>>(), due);
    assert!(work.events("profile").await.iter().any(|detail| detail["profile"] == "load"));
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_given_up_once_the_meter_answered_three_times_without_it_and_told_once() {
    let bench = Bench::start(SimClock::starting_at(START_S, FAST), FAST, "reference-dlms").await;
    let serial = bench.serial(1);
    let began = bench.clock.now();
    let work = Collecting::start(&bench).await;
    work.until("a first row", async |_| (!work.load(&serial, began).await.is_empty()).then_some(())).await;
    let store = work.stop().await;
    // While nobody reads, the meter records two rows and loses the newest of them.
    let known = Collecting { store, stop: watch::channel(false).0, task: tokio::spawn(async { Ok(()) }) };
    let newest = known.load(&serial, began).await.last().expect("a row").0;
    let lost = newest.checked_add(SignedDuration::from_mins(30)).expect("in range");
    while bench.clock.now() < lost.checked_add(SignedDuration::from_mins(2)).expect("in range") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bench.street.inject(1, Fault::ProfileHole { rows: 1 }));
    drop(known.stop().await);
    let work = Collecting::start(&bench).await;
    let gap = work
        .until("the hole to be given up", async |store| {
            let gaps = store.gaps(&serial, 10).await.expect("a store");
            gaps.into_iter().find(|gap| gap.profile == "load" && gap.given_up.is_some())
        })
        .await;
    assert_eq!((gap.gap.from, gap.gap.to, gap.gap.answered), (lost, lost, 3));
    assert_eq!(gap.given_up.as_deref(), Some("the meter has no rows of it"));
    assert!(work.load(&serial, began).await.iter().all(|(at, _)| *at != lost), "nothing is invented");
    let told = work.events("profile_gap").await;
    assert_eq!(told.len(), 1, "{told:?}");
    // What was recorded while nobody read is here, from where reading had stopped.
    let first = newest.checked_add(SignedDuration::from_mins(15)).expect("in range");
    assert!(work.load(&serial, began).await.iter().any(|(at, _)| *at == first));
    work.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn n31_a_row_after_a_register_jumped_is_held_and_the_neighbours_rows_go_on() {
    let bench = Bench::start(SimClock::starting_at(START_S, FAST), FAST, "reference-dlms").await;
    let (doubtful, other) = (bench.serial(1), bench.serial(2));
    let began = bench.clock.now();
    let work = Collecting::start(&bench).await;
    work.until("a first row", async |_| (!work.load(&doubtful, began).await.is_empty()).then_some(())).await;
    assert!(bench.street.inject(1, Fault::RegisterJump { wh: 90_000 }));
    let doubt = work
        .until("a doubt", async |store| store.doubts(Some(&doubtful), 9).await.expect("a store").pop())
        .await;
    assert_eq!((doubt.kind, &doubt.detail["profile"]), (DoubtKind::Jumped, &"load".into()));
    let rows = work.store.profile_rows(&doubtful, "load", began, Timestamp::MAX, 99).await.expect("a store");
    let held: Vec<_> = rows.iter().filter(|row| row.doubt_id == Some(doubt.id)).map(|row| row.at).collect();
    assert_eq!(held.first().map(Timestamp::to_string).as_deref(), doubt.detail["at"].as_str());
    let told = work.events("profile").await;
    let told: Vec<_> = told.iter().flat_map(|detail| detail["rows"].as_array().expect("rows")).collect();
    let of_the_jump = |row: &&serde_json::Value| row["values"][0] == doubt.detail["register_wh"];
    assert!(!told.is_empty() && !told.iter().any(of_the_jump), "{told:?}");
    let now = bench.clock.now();
    work.until("the neighbour's next row", async |_| {
        work.load(&other, began).await.iter().any(|(at, _)| *at > now).then_some(())
    })
    .await;
    assert!(work.store.doubts(Some(&other), 9).await.expect("a store").is_empty());
    work.stop().await;
}
