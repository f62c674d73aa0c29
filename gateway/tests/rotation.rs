//! New keys for a simulated meter (which runs the real firmware), with the connection cut at every step: before a request
//! reaches the meter, and after the meter has answered it. The gateway is restarted after each cut.

use gateway::clock::Clock;
use gateway::session::Context;
use gateway::session::attempt::Attempt;
use gateway::session::counters::MemoryCounters;
use gateway::session::directory::{Directory, Endpoint, Framing};
use gateway::session::dlms::DlmsTalker;
use gateway::session::model::{DlmsModel, Model, Models};
use gateway::session::record::Recordings;
use gateway::session::work::{Ending, Report, Serial, Work};
use gateway::vault::{DlmsKeys, KeyVault, MasterKey, Vault};
use protocol::dlms::security::Key;
use protocol::link::wrapper::{HEADER_LEN, Header};
use simulator::roll::Place;
use simulator::street::{Street, StreetConfig};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the next cut is: after so many requests, before or after the meter got the next one.
#[derive(Debug, Clone, Copy)]
struct Cut {
    requests: usize,
    answered: bool,
}

type Armed = Arc<Mutex<Option<Cut>>>;

async fn frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; HEADER_LEN];
    from.read_exact(&mut head).await.ok()?;
    let length = usize::from(Header::from_wire(head)?.length);
    let mut bytes = [&head[..], &vec![0; length]].concat();
    from.read_exact(&mut bytes[HEADER_LEN..]).await.ok()?;
    Some(bytes)
}

/// Carries frames between gateway and meter, and cuts the connection where it is told to.
async fn carry(mut gateway: TcpStream, meter: String, armed: Armed) {
    let mut meter = TcpStream::connect(meter).await.expect("the meter listens");
    while let Some(request) = frame(&mut gateway).await {
        let cut = {
            let mut armed = armed.lock().expect("not poisoned");
            match &mut *armed {
                Some(Cut { requests: 0, .. }) => armed.take(),
                Some(cut) => {
                    cut.requests -= 1;
                    None
                }
                None => None,
            }
        };
        if cut.is_some_and(|cut| !cut.answered) {
            return;
        }
        meter.write_all(&request).await.expect("the meter listens");
        let Some(answer) = frame(&mut meter).await else { return };
        if cut.is_some() || gateway.write_all(&answer).await.is_err() {
            return;
        }
    }
}

struct Scene {
    street: Street,
    at: Endpoint,
    model: DlmsModel,
    counters: Arc<MemoryCounters>,
    armed: Armed,
    folder: PathBuf,
}

impl Scene {
    async fn start() -> Self {
        let config = StreetConfig { meters: 1, port: 0, ..StreetConfig::default() };
        let street = Street::start(config).await.expect("a street");
        let entry = street.roll()[0].clone();
        let Place::Tcp(_, port) = entry.place() else { panic!("the first meter is on a network") };
        let meter = format!("{}:{port}", entry.address);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let armed = Armed::default();
        let between = armed.clone();
        tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                tokio::spawn(carry(gateway, meter.clone(), between.clone()));
            }
        });
        let models = Models::load(None).expect("built-in models");
        let Some(Model::Dlms(model)) = models.find("reference-dlms").as_deref().cloned() else {
            panic!("the reference model is a DLMS model")
        };
        let folder = std::env::temp_dir().join(format!("rotation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a directory");
        let serial = Serial(entry.serial);
        let at = Endpoint {
            serial,
            line: "street".into(),
            address,
            framing: Framing::Wrapper,
            model: "reference-dlms".into(),
        };
        Self { street, at, model, counters: Arc::default(), armed, folder }
    }

    /// The vault, read from its file.
    fn vault(&self) -> Arc<dyn Vault> {
        let file = self.folder.join("vault.sealed");
        Arc::new(KeyVault::open_file(&file, &MasterKey::from_bytes([7; 32])).expect("the vault"))
    }

    /// One piece of work by a gateway that has just started.
    async fn once(&self, work: Work) -> Report {
        let context = Context {
            directory: Directory::default(),
            models: Models::load(None).expect("built-in models"),
            keys: Arc::new(self.vault()),
            counters: self.counters.clone(),
            clock: Clock::real(),
            system_title: *b"MGWGW001",
            recordings: Recordings::default(),
            waits: gateway::session::waits(),
        };
        let mut talker = DlmsTalker::network(Arc::default());
        let mut attempt = Attempt::begin(context.clock, None);
        let outcome = talker.perform(&context, &mut attempt, &self.at, &self.model, &work).await;
        if let Err(trouble) = &outcome
            && trouble.breaks_session()
        {
            talker.abandon(trouble.breaks_pipe());
        }
        talker.release().await;
        attempt.end(outcome)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_a_cut_at_any_step_loses_neither_pair() {
    let scene = Scene::start().await;
    let serial = scene.at.serial.clone();
    let factory = DlmsKeys {
        master: Some(Key::new(std::array::from_fn(|i| 0x11 * i as u8))),
        ..DlmsKeys::new(std::array::from_fn(|i| i as u8), std::array::from_fn(|i| 0xD0 + i as u8))
    };
    scene.vault().set_dlms_keys(&[(serial.clone(), factory.clone())]).expect("stored");
    let (mut unknown, mut taken, mut not_taken) = (0, 0, 0);
    'steps: for requests in 0.. {
        for answered in [false, true] {
            let before = scene.vault().dlms_keys(&serial).expect("keys").mark();
            *scene.armed.lock().expect("not poisoned") = Some(Cut { requests, answered });
            let rotated = scene.once(Work::RotateKeys).await;
            let was_cut = scene.armed.lock().expect("not poisoned").take().is_none();
            let what = format!("cut at request {requests}, answered {answered}: {rotated:?}");
            if !was_cut {
                assert_eq!(rotated.ending, Ending::Done, "{what}");
                break 'steps;
            }
            let pending = scene.vault().pending_dlms_keys(&serial).expect("readable").map(|keys| keys.mark());
            let now = scene.vault().dlms_keys(&serial).expect("keys").mark();
            match &rotated.ending {
                // The cut was after the proof, or where the release did not matter.
                Ending::Done => assert!(pending.is_none() && now != before, "{what}"),
                Ending::Unknown { .. } => {
                    assert!(pending.is_some() && now == before, "both pairs are kept: {what}");
                    unknown += 1;
                    let asked = scene.once(Work::AskKeys).await;
                    match asked.ending {
                        Ending::Done => {
                            let now = scene.vault().dlms_keys(&serial).expect("keys").mark();
                            assert_eq!(Some(now), pending, "the new keys are in force: {what}");
                            taken += 1;
                        }
                        Ending::Rejected { reason, .. } => {
                            assert_eq!(reason, "the meter still has its old keys", "{what}");
                            not_taken += 1;
                        }
                        other => panic!("{what}: {other:?}"),
                    }
                }
                Ending::NotSent { .. } => assert_eq!(now, before, "{what}"),
                Ending::Rejected { .. } => panic!("{what}"),
            }
            let read = scene.once(Work::Read).await;
            assert_eq!(read.ending, Ending::Done, "the meter can be reached: {what}: {read:?}");
        }
    }
    println!(
        "{unknown} cuts left the keys unknown: {taken} times the meter had the new ones, {not_taken} times the old"
    );
    assert!(taken > 0 && not_taken > 0);
    let last = scene.vault();
    assert!(last.pending_dlms_keys(&serial).expect("readable").is_none());
    assert_ne!(last.dlms_keys(&serial).expect("keys").mark(), factory.mark());
    // The factory's keys open nothing any more.
    last.set_dlms_keys(&[(serial.clone(), factory)]).expect("stored");
    let refused = scene.once(Work::Read).await;
    assert!(
        matches!(&refused.ending, Ending::NotSent { reason } if reason.starts_with("no association")),
        "{refused:?}"
    );
    let Scene { street, folder, .. } = scene;
    drop(street);
    std::fs::remove_dir_all(folder).expect("ours");
}
