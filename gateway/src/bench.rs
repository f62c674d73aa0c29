//! What the gateway's own tests share: a store, meters, a vault with published keys, a line that a test answers for.

use crate::clock::Clock;
use crate::commands::engine::Engine;
use crate::commands::router::{Lines, Router};
use crate::config::Price;
use crate::session::work::{Ending, Facts, Job, LineSender, RelayState, Report, Serial, TokenDigits, Work};
use crate::store::Store;
use crate::store::command::{Command, CommandState};
use crate::store::meter::{BalanceHolder, Meter};
use crate::store::payment::NewPayment;
use crate::store::tests::{Fresh, add, fresh, meter};
use crate::units::MinorUnits;
use crate::vault::ceremony::KeyBytes;
use crate::vault::{Actor, MasterKey, SoftVault, StsIdentity, Vault, VendingKeyImport};
use crate::vending::Vending;
use jiff::Timestamp;
use protocol::sts::KeyType;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The vending key of the published vectors: it protects nothing.
const VENDING_KEY: &str = "abababababababab949494949494949401234567";

/// A vault with that key for supply group 123457 and this key expiry number.
pub(crate) fn open_vault(dir: &std::path::Path, ken: u8) -> Arc<dyn Vault> {
    let vault = SoftVault::open_file(&dir.join("vault.sealed"), &MasterKey::from_bytes([7; 32])).unwrap();
    let import = VendingKeyImport {
        sgc: 123_457,
        krn: 1,
        key_type: KeyType::Dutk,
        ken,
        expires_at: None,
        key: KeyBytes::from_hex(VENDING_KEY).unwrap(),
    };
    let actor = Actor { name: "test".into(), at: Timestamp::UNIX_EPOCH };
    vault.import_vending_key(&import, &actor).unwrap();
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
    pub line: mpsc::Receiver<Job>,
    router: Router,
    running: Option<(JoinHandle<()>, watch::Sender<bool>)>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_key_expiry(255).await
    }

    pub(crate) async fn with_key_expiry(ken: u8) -> Self {
        let fresh = fresh().await;
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
        let mut bench = Self { fresh, vending, vault, line, router, running: None };
        bench.start();
        bench
    }

    pub(crate) fn store(&self) -> &Store {
        &self.fresh.store
    }

    pub(crate) fn start(&mut self) {
        let (commissioned, _) = mpsc::unbounded_channel();
        let engine = Engine::new(
            self.store().clone(),
            self.vending.clone(),
            Clock::real(),
            self.router.clone(),
            commissioned,
        );
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move { engine.run(stopped).await.unwrap() });
        self.running = Some((task, stop));
    }

    /// Ends the engine as a power cut would: in the middle of whatever it does.
    pub(crate) async fn kill(&mut self) {
        if let Some((task, _stop)) = self.running.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Lets the engine stop by itself.
    pub(crate) async fn stop(&mut self) {
        if let Some((task, stop)) = self.running.take() {
            stop.send(true).unwrap();
            task.await.unwrap();
        }
    }

    /// The next job the line is given.
    pub(crate) async fn job(&mut self) -> Job {
        tokio::time::timeout(Duration::from_secs(10), self.line.recv())
            .await
            .expect("a job within ten seconds")
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
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("a final state within ten seconds")
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
    let report =
        Report { ending, facts, started: now, ended: now, evidence: vec![format!("{:?}", job.work)] };
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
        Work::DeliverToken(token) | Work::AskToken(token) => token.clone(),
        other => panic!("{other:?} carries no token"),
    }
}
