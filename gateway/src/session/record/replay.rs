//! Runs the session of a recording again: the gateway's own code against a player on this machine.

use super::file::{Entry, Recording};
use super::player::{Score, serve};
use super::tape::ending_word;
use super::{CLIENT_TITLE, SERVER_TITLE};
use crate::clock::Clock;
use crate::session::attempt::Attempt;
use crate::session::counters::MemoryCounters;
use crate::session::directory::{Directory, Endpoint, Framing};
use crate::session::dlms::DlmsTalker;
use crate::session::lines::Context;
use crate::session::meter_keys::MeterKeys;
use crate::session::model::{DlmsModel, Model, Models};
use crate::session::work::{RowsWanted, Serial, TokenDigits, Work};
use crate::vault::{DlmsKeys, VaultError};
use protocol::dlms::client::Config;
use protocol::dlms::security::{Key, Secret, SystemTitle};
use std::sync::Arc;
use tokio::net::TcpListener;

/// A replay that went as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Requests that were the recorded ones.
    pub requests: usize,
    /// Pieces of work that ended as recorded.
    pub works: usize,
}

/// The password has the length that recordings give every password.
const PASSWORD: &[u8; 8] = b"password";

/// The example keys of a replay.
#[derive(Debug, Clone)]
struct ExampleKeys(DlmsKeys);

impl ExampleKeys {
    fn new(model: &DlmsModel) -> Self {
        let key = |byte: u8| match model.security.policy.suite.key_len() {
            32 => Key::new_256([byte; 32]),
            _ => Key::new([byte; 16]),
        };
        let secret = Secret::new(PASSWORD).ok();
        Self(DlmsKeys {
            encryption: Some(key(0x11)),
            authentication: Some(key(0x22)),
            master: Some(key(0x33)),
            secret,
            ..DlmsKeys::default()
        })
    }

    /// The client's configuration as far as a player needs it.
    fn config(&self, model: &DlmsModel) -> Config {
        Config {
            mechanism: model.security.mechanism,
            secret: self.0.secret.clone(),
            policy: model.security.policy,
            system_title: SystemTitle(CLIENT_TITLE),
            server_title: Some(SystemTitle(SERVER_TITLE)),
            encryption_key: self.0.encryption.clone(),
            authentication_key: self.0.authentication.clone(),
            ..Config::default()
        }
    }
}

impl MeterKeys for ExampleKeys {
    fn dlms_keys(&self, _: &Serial) -> Result<DlmsKeys, VaultError> {
        Ok(self.0.clone())
    }
}

/// Runs the recorded session again.
///
/// # Errors
/// The first difference, with the recording's line; or why it cannot be replayed.
pub async fn replay(text: &str, models: &Models) -> Result<Replayed, String> {
    let recording = Recording::parse(text)?;
    let model = models.find(&recording.model);
    let Some(Model::Dlms(model)) = model.as_deref() else {
        let known = models.names().collect::<Vec<_>>().join(", ");
        return Err(format!("there is no DLMS model {:?}; there are {known}", recording.model));
    };
    let keys = ExampleKeys::new(model);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    let score = Score::new(recording.entries);
    let player = tokio::spawn(serve(listener, keys.config(model), score.clone()));
    let context = Context {
        directory: Directory::default(),
        models: models.clone(),
        keys: Arc::new(keys),
        counters: Arc::new(MemoryCounters::default()),
        clock: Clock::real(),
        system_title: CLIENT_TITLE,
        recordings: super::Recordings::default(),
        waits: crate::session::waits(),
    };
    let endpoint = Endpoint {
        serial: Serial(recording.serial),
        line: "replay".into(),
        address,
        framing: Framing::Wrapper,
        model: recording.model,
    };
    let works = play(&context, &endpoint, model, &score).await;
    player.abort();
    Ok(Replayed { requests: score.compared(), works: works? })
}

async fn play(
    context: &Context,
    endpoint: &Endpoint,
    model: &DlmsModel,
    score: &Score,
) -> Result<usize, String> {
    let mut talker = DlmsTalker::network(Arc::default());
    let (mut works, mut outcome) = (0, None);
    loop {
        let next = score.directive();
        if let Some(difference) = score.difference() {
            return Err(difference);
        }
        let Some((line, entry)) = next else {
            match score.next_line() {
                None => return Ok(works),
                Some(_) if score.skip_received() => continue,
                Some(line) => return Err(format!("line {line}: this was not asked now")),
            }
        };
        match entry {
            // The association is opened by the work after it.
            Entry::Open | Entry::Sent(..) | Entry::Received(..) => {}
            Entry::Release => talker.release().await,
            Entry::Work(word) => {
                let work = work_of(&word).ok_or_else(|| format!("line {line}: there is no work {word:?}"))?;
                let mut attempt = Attempt::begin(context.clock, None);
                let result = talker.perform(context, &mut attempt, endpoint, model, &work).await;
                if let Err(trouble) = &result
                    && trouble.breaks_session()
                {
                    talker.abandon(trouble.breaks_pipe());
                }
                outcome = Some(attempt.end(result));
                works += 1;
            }
            Entry::Ending(word) => {
                let Some(report) = outcome.take() else {
                    return Err(format!("line {line}: no work has ended here"));
                };
                if ending_word(&report.ending) != word {
                    let now = ending_word(&report.ending);
                    return Err(format!(
                        "line {line}: ended {word} in the recording, now {now}: {:?}",
                        report.ending
                    ));
                }
            }
        }
    }
}

fn work_of(words: &str) -> Option<Work> {
    let (word, digits) = words.split_once(' ').unwrap_or((words, ""));
    Some(match word {
        "commission" => Work::Commission,
        "read" => Work::Read,
        "audit" => Work::Audit,
        "read-profile" => {
            let mut parts = digits.split(' ');
            let profile = parts.next()?.to_owned();
            let (from, to) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Work::ReadProfile(RowsWanted { profile, from, to })
        }
        "disconnect" => Work::Disconnect,
        "reconnect" => Work::Reconnect,
        "deliver-token" => Work::DeliverToken(TokenDigits::new(digits)?),
        "clear-tamper" => Work::ClearTamper(TokenDigits::new(digits)?),
        "ask-token" => Work::AskToken(TokenDigits::new(digits)?),
        _ => return None,
    })
}
