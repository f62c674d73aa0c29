//! What the gateway's own tests share: a store, meters, a vault with published keys, a line that a test answers for.

use crate::clock::Clock;
use crate::commands::desk::Desk;
use crate::commands::engine::{Engine, Policy};
use crate::commands::measures::CommandSteps;
use crate::commands::router::{Lines, Router};
use crate::config::{Config, Price};
use crate::metrics::{HttpCounts, Metrics, Sources};
use crate::session::work::{Ending, Facts, Job, LineSender, RelayState, Report, Serial, TokenDigits, Work};
use crate::session::{self, Arrival};
use crate::store::Store;
use crate::store::command::{Command, CommandState};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::payment::NewPayment;
use crate::store::tests::{Fresh, add, fresh, fresh_file, meter};
use crate::units::MinorUnits;
use crate::vault::ceremony::KeyBytes;
use crate::vault::{Actor, MasterKey, SoftVault, StsIdentity, Vault, VendingKeyImport};
use crate::vending::Vending;
use crate::vending::follow_up;
use jiff::{SignedDuration, Timestamp};
use protocol::sts::meter::{Abilities, Effect, MeterTokenState, TokenResult, evaluate};
use protocol::sts::{
    BaseDate, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType, MeterPan, SAMPLE, SupplyGroup,
    TariffIndex, Tid, VendingKey, derive,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// The vending key of the published vectors: it protects nothing.
const VENDING_KEY: &str = "abababababababab949494949494949401234567";

/// What the bank signs with: in the vault under the name `bank`.
pub(crate) const BANK_SECRET: &str = "the bank's own secret";

/// A vault with that key for supply group 123457 and this key expiry number, and for group 201457 as its revision 2.
pub(crate) fn open_vault(dir: &std::path::Path, ken: u8) -> Arc<dyn Vault> {
    let vault = SoftVault::open_file(&dir.join("vault.sealed"), &MasterKey::from_bytes([7; 32])).unwrap();
    let import = VendingKeyImport {
        sgc: 123_457,
        krn: 1,
        key_type: KeyType::Dutk,
        ken,
        expires_at: None,
        utc_offset_minutes: None,
        key: KeyBytes::from_hex(VENDING_KEY).unwrap(),
    };
    let actor = Actor { name: "test".into(), at: Timestamp::UNIX_EPOCH };
    vault.import_vending_key(&import, &actor).unwrap();
    let other = VendingKeyImport { sgc: 201_457, krn: 2, ken: 255, ..import };
    vault.import_vending_key(&other, &actor).unwrap();
    vault.import_secret("bank", BANK_SECRET, false, &actor).unwrap();
    Arc::new(vault)
}

/// Every meter is on the line the test answers for.
#[derive(Debug)]
struct OneLine(LineSender);

impl Lines for OneLine {
    fn line_of(&self, _: &Serial) -> Result<LineSender, String> {
        Ok(self.0.clone())
    }
}

pub(crate) const DRN: &str = "01000000016";
pub(crate) const MODBUS: &str = "MB-1";

pub(crate) fn sts(drn: &str) -> StsIdentity {
    StsIdentity {
        iin: "600727".into(),
        drn: drn.into(),
        sgc: 123_457,
        ti: 1,
        krn: 1,
        kt: 2,
        ken: 255,
        base_year: 2014,
        ea: 11,
    }
}

/// A store with one meter that holds its balance and one whose balance the gateway holds, and a line that a test answers for.
pub(crate) struct Bench {
    pub fresh: Fresh,
    pub vending: Vending,
    pub vault: Arc<dyn Vault>,
    pub line: mpsc::Receiver<Box<Job>>,
    router: Router,
    /// Where people have a word about commands; a new one with every start.
    pub desk: Desk,
    steps: CommandSteps,
    /// Meters that dial in are told here.
    pub arrivals: broadcast::Sender<Arrival>,
    running: Option<(JoinHandle<()>, JoinHandle<()>, watch::Sender<bool>)>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_key_expiry(255).await
    }

    pub(crate) async fn with_key_expiry(ken: u8) -> Self {
        Self::over(fresh().await, ken).await
    }

    /// On a store in a file, whatever the others are on.
    pub(crate) async fn on_file() -> Self {
        Self::over(fresh_file().await, 255).await
    }

    async fn over(fresh: Fresh, ken: u8) -> Self {
        let prepaid = Meter { sts: Some(sts(DRN)), ..meter(DRN, "127.1.0.1:4059") };
        let held = Meter { balance: BalanceHolder::Gateway, ..meter(MODBUS, "1") };
        for meter in [prepaid, held] {
            add(&fresh.store, meter).await.unwrap();
        }
        let (sender, line) = mpsc::channel(16);
        let router = Router::new(Arc::new(OneLine(sender)));
        let price = Price::new("EUR", 2, "30").unwrap();
        let vault = open_vault(&fresh.dir, ken);
        let vending = Vending::new(fresh.store.clone(), vault.clone(), Clock::real(), price);
        let mut bench = Self {
            fresh,
            vending,
            vault,
            line,
            router,
            desk: Desk::new().0,
            steps: CommandSteps::default(),
            arrivals: broadcast::channel(16).0,
            running: None,
        };
        bench.start();
        bench
    }

    pub(crate) fn store(&self) -> &Store {
        &self.fresh.store
    }

    /// The configured lines, which no meter of the bench is on, and the metrics of the bench.
    pub(crate) fn counted(&self, config: &Config) -> (session::Router, Metrics, HttpCounts) {
        let waits = session::waits();
        let context = session::Context {
            directory: session::directory::Directory::default(),
            models: session::model::Models::load(None).unwrap(),
            keys: Arc::new(self.vault.clone()),
            counters: Arc::new(self.store().clone()),
            clock: Clock::real(),
            system_title: *b"MGWBENCH",
            recordings: session::record::Recordings::default(),
            waits: waits.clone(),
        };
        let (lines, http) = (session::spawn(&config.lines, &context), HttpCounts::default());
        let sources = Sources {
            lines: lines.clone(),
            waits,
            steps: self.steps.clone(),
            store: self.store().measures(),
            vends: self.vending.vends(),
            http: http.clone(),
        };
        let registry = prometheus_client::registry::Registry::with_prefix(crate::metrics::PREFIX);
        (lines, Metrics::new(registry, sources), http)
    }

    pub(crate) fn start(&mut self) {
        let (commissioned, _) = mpsc::unbounded_channel();
        let engine = Engine::new(
            self.store().clone(),
            self.vending.clone(),
            Clock::real(),
            self.router.clone(),
            Policy {
                rules: Arc::default(),
                thresholds: Default::default(),
                clock_check: Default::default(),
                window: crate::reading::plan::Window { hours: None, zone: jiff::tz::TimeZone::UTC },
                command_expiry: SignedDuration::from_hours(1),
            },
            commissioned,
        )
        .hearing(self.arrivals.subscribe());
        self.steps = engine.steps();
        let (stop, stopped) = watch::channel(false);
        let waiting = tokio::spawn(follow_up::run(self.vending.clone(), stopped.clone()));
        let (desk, said) = Desk::new();
        self.desk = desk;
        let task = tokio::spawn(async move { engine.run(said, stopped).await.unwrap() });
        self.running = Some((task, waiting, stop));
    }

    /// Ends engine and follow-up as a power cut would: in the middle of whatever they do.
    pub(crate) async fn kill(&mut self) {
        if let Some((task, waiting, _stop)) = self.running.take() {
            for task in [task, waiting] {
                task.abort();
                let _ = task.await;
            }
        }
    }

    /// Lets engine and follow-up stop by themselves.
    pub(crate) async fn stop(&mut self) {
        if let Some((task, waiting, stop)) = self.running.take() {
            stop.send(true).unwrap();
            task.await.unwrap();
            waiting.await.unwrap();
        }
    }

    /// Looks after every commit until there is something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Store) -> Option<T>) -> T {
        let mut commits = self.store().commits();
        let wait = async {
            loop {
                commits.borrow_and_update();
                if let Some(found) = look(self.store()).await {
                    return found;
                }
                commits.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .unwrap_or_else(|_| panic!("{what} within a minute"))
    }

    /// The next job the line is given.
    pub(crate) async fn job(&mut self) -> Job {
        *tokio::time::timeout(Duration::from_secs(60), self.line.recv())
            .await
            .expect("a job within a minute")
            .expect("the line is open")
    }

    /// Waits until a command has finished.
    pub(crate) async fn finished(&self, id: i64) -> Command {
        let mut commits = self.store().commits();
        let wait = async {
            loop {
                let (command, _) = self.store().command(id).await.unwrap().unwrap();
                if command.state.is_final() {
                    return command;
                }
                commits.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("a final state within a minute")
    }

    pub(crate) async fn states(&self, id: i64) -> Vec<CommandState> {
        let (_, steps) = self.store().command(id).await.unwrap().unwrap();
        steps.iter().map(|step| step.state).collect()
    }

    pub(crate) async fn assert_balanced(&self) {
        let money = self.store().money_balance().await.unwrap();
        assert!(money.balanced, "{money:?}");
    }
}

pub(crate) fn payment(serial: &str, key: &str, amount: i64) -> NewPayment {
    NewPayment {
        channel: "shop".into(),
        idempotency_key: key.into(),
        request_digest: amount.to_be_bytes().to_vec(),
        serial: Serial(serial.into()),
        amount: MinorUnits(amount),
        correlation: format!("c-{key}"),
    }
}

pub(crate) fn answer(job: Job, ending: Ending, facts: Facts) {
    let now = Timestamp::now();
    let sent = !matches!(ending, Ending::NotSent { .. });
    if let Some(sending) = job.sending.filter(|_| sent) {
        let _ = sending.send(());
    }
    let report = Report {
        ending,
        facts,
        heard: None,
        started: now,
        ended: now,
        evidence: vec![format!("{:?}", job.work)],
    };
    let _ = job.report.send(report);
}

pub(crate) fn relay(closed: bool) -> Facts {
    Facts {
        relay: Some(RelayState { output_closed: closed, control_state: Some(u8::from(closed)) }),
        ..Facts::default()
    }
}

pub(crate) fn token_of(work: &Work) -> TokenDigits {
    match work {
        Work::DeliverToken(token) | Work::ClearTamper(token) | Work::AskToken(token) => token.clone(),
        other => panic!("{other:?} carries no token"),
    }
}

/// The firmware's judgement of tokens for one meter, and what it says when it is asked.
pub(crate) struct TokenMeter {
    pub state: MeterTokenState,
    pub abilities: Abilities<'static>,
    /// The meter's clock.
    pub now_ms: u64,
    last: Option<(TokenDigits, TokenResult)>,
}

impl TokenMeter {
    /// A meter whose record is this one, keyed with the published vending key.
    pub(crate) fn of(sts: &StsIdentity) -> Self {
        let attributes = KeyAttributes {
            supply_group: SupplyGroup::try_from(sts.sgc).unwrap(),
            tariff_index: TariffIndex::try_from(u32::from(sts.ti)).unwrap(),
            key_revision: KeyRevision::try_from(u32::from(sts.krn)).unwrap(),
            key_type: KeyType::from_code(sts.kt).unwrap(),
            base_date: BaseDate::from_year(sts.base_year).unwrap(),
        };
        let pan = MeterPan::from_drn(&Drn::parse(sts.drn.as_bytes()).unwrap());
        let key = crate::vault::unhex(VENDING_KEY).unwrap();
        let key = VendingKey::from_bytes(&key).unwrap();
        let key = derive(&key, EncryptionAlgorithm::Ea11, &pan, &attributes).unwrap();
        let state = MeterTokenState::new(pan, key, attributes.into(), Tid::from_minutes(1));
        let abilities = Abilities { tables: &SAMPLE, ..Abilities::electricity(1, 1_000_000, Some(20_000)) };
        Self { state, abilities, now_ms: 1_000_000, last: None }
    }

    /// Takes a job as the meter would, and gives the result and what it does.
    pub(crate) fn take(&mut self, job: Job) -> (TokenResult, Option<Effect>) {
        let token = token_of(&job.work);
        if matches!(job.work, Work::AskToken(_)) {
            let ours = self.last.as_ref().filter(|(last, _)| *last == token).map(|(_, result)| *result);
            let token_status = ours.map(|result| (result.gateway_status(), result.code()));
            answer(
                job,
                Ending::Done,
                Facts { token_is_ours: Some(ours.is_some()), token_status, ..relay(true) },
            );
            return (ours.unwrap_or(TokenResult::NotReady), None);
        }
        let verdict = evaluate(&self.state, &self.abilities, token.reveal().as_bytes(), self.now_ms);
        self.last = Some((token, verdict.result));
        if let Some(effect) = &verdict.effect {
            self.state.apply(effect);
            let token_status = Some((3, verdict.result.code()));
            answer(job, Ending::Done, Facts { token_status, ..relay(true) });
        } else {
            let reason = verdict.result.explanation().to_owned();
            let code = Some(verdict.result.code());
            answer(job, Ending::Rejected { reason, code }, Facts::default());
        }
        (verdict.result, verdict.effect)
    }
}
