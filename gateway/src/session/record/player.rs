//! The meter of a replay: answers as recorded, with the protection applied again under example keys, and stops at the first
//! request that is another than the recorded one.

use super::SERVER_TITLE;
use super::canon::{Keyring, encoded};
use super::file::{Entry, form_name, hex};
use protocol::codec::acse::{Aare, Aarq, AuthMechanism, Rlre};
use protocol::codec::codec::{Decode, Reader};
use protocol::codec::xdlms::{ApduTag, InitiateRequest};
use protocol::dlms::client::Config;
use protocol::dlms::security::frame::Protect;
use protocol::dlms::security::hls::{self, Challenge};
use protocol::dlms::security::{Form, Frame, SystemTitle};
use protocol::link::wrapper::{HEADER_LEN, Header};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The largest APDU built.
const APDU_MAX: usize = 4_096;

/// Where a replay stands. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Score(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    entries: Vec<(usize, Entry)>,
    at: usize,
    difference: Option<String>,
    sent: usize,
    /// The meter's invocation counter, over all its associations.
    counter: u32,
}

impl Score {
    pub(super) fn new(entries: Vec<(usize, Entry)>) -> Self {
        Self(Arc::new(Mutex::new(Inner { entries, at: 0, difference: None, sent: 0, counter: 0 })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entry that is no APDU, if it comes next; it is passed.
    pub(super) fn directive(&self) -> Option<(usize, Entry)> {
        let mut inner = self.inner();
        let (line, entry) = inner.entries.get(inner.at)?.clone();
        if matches!(entry, Entry::Sent(..) | Entry::Received(..)) {
            return None;
        }
        inner.at += 1;
        Some((line, entry))
    }

    /// The line that comes next.
    pub(super) fn next_line(&self) -> Option<usize> {
        let inner = self.inner();
        inner.entries.get(inner.at).map(|(line, _)| *line)
    }

    /// Skips an APDU of the meter that nobody waited for.
    pub(super) fn skip_received(&self) -> bool {
        let mut inner = self.inner();
        let skip = matches!(inner.entries.get(inner.at), Some((_, Entry::Received(..))));
        inner.at += usize::from(skip);
        skip
    }

    /// Requests compared so far.
    pub(super) fn compared(&self) -> usize {
        self.inner().sent
    }

    fn next_counter(&self) -> u32 {
        let mut inner = self.inner();
        inner.counter += 1;
        inner.counter
    }

    pub(super) fn difference(&self) -> Option<String> {
        self.inner().difference.clone()
    }

    /// Compares a request with the recorded one and gives what the meter answered to it.
    fn asked(&self, form: Form, bytes: &[u8]) -> Vec<(Form, Vec<u8>)> {
        let mut inner = self.inner();
        if inner.difference.is_some() {
            return Vec::new();
        }
        // What the session does by itself stands in the recording as a directive too.
        while matches!(inner.entries.get(inner.at), Some((_, Entry::Open | Entry::Release))) {
            inner.at += 1;
        }
        let expected = inner.entries.get(inner.at).cloned();
        let difference = match &expected {
            Some((line, Entry::Sent(recorded_form, recorded))) => {
                difference((*recorded_form, recorded), (form, bytes))
                    .map(|what| format!("line {line}: {what}"))
            }
            Some((line, _)) => Some(format!(
                "line {line}: the recording goes on otherwise; now sent {} {}",
                form_name(form),
                hex(bytes)
            )),
            None => Some(format!("the recording is over; now sent {} {}", form_name(form), hex(bytes))),
        };
        if difference.is_some() {
            inner.difference = difference;
            return Vec::new();
        }
        inner.at += 1;
        inner.sent += 1;
        let mut answers = Vec::new();
        while let Some((_, Entry::Received(form, bytes))) = inner.entries.get(inner.at) {
            answers.push((*form, bytes.clone()));
            inner.at += 1;
        }
        answers
    }
}

/// What differs between two requests. The time that a clock is set to is not compared.
fn difference(recorded: (Form, &[u8]), now: (Form, &[u8])) -> Option<String> {
    /// SET of attribute 2 of class 8, after tag, choice and invoke-id.
    const CLOCK: [u8; 2] = [0, 8];
    let (old, new) = (recorded.1, now.1);
    let sets_clock =
        matches!(old, [0xC1, 1, _, rest @ ..] if rest.starts_with(&CLOCK) && rest.get(8) == Some(&2));
    let compared = if sets_clock { old.len().saturating_sub(12) } else { old.len() };
    let at = (0..compared.max(new.len().min(compared))).find(|at| old.get(*at) != new.get(*at));
    let at = at.or_else(|| (old.len() != new.len()).then(|| old.len().min(new.len())));
    if recorded.0 != now.0 {
        return Some(format!(
            "the request went {}, in the recording {}",
            form_name(now.0),
            form_name(recorded.0)
        ));
    }
    at.map(|at| {
        format!("another request from byte {at} on\n  recorded {}\n  now      {}", hex(old), hex(new))
    })
}

/// Serves a replay on this listener until it is dropped. `config` has the example keys of the client.
pub(super) async fn serve(listener: TcpListener, config: Config, score: Score) {
    while let Ok((stream, _)) = listener.accept().await {
        let player = Player::new(config.clone(), score.clone());
        // One association at a time: the gateway hangs up before it calls again.
        player.serve(stream).await;
    }
}

struct Player {
    config: Config,
    score: Score,
    keys: Keyring,
    to_server: Option<Challenge>,
    to_client: Option<Challenge>,
}

impl Player {
    fn new(config: Config, score: Score) -> Self {
        let keys = Keyring::new(&config);
        // Any challenge will do: who plays back is not who is to be convinced.
        let to_client = Challenge::new(&[0x5A; hls::CHALLENGE_MIN * 2]);
        Self { config, score, keys, to_server: None, to_client }
    }

    async fn serve(mut self, mut stream: TcpStream) {
        let mut head = [0; HEADER_LEN];
        while stream.read_exact(&mut head).await.is_ok() {
            let Some(header) = Header::from_wire(head) else { return };
            let mut request = vec![0; usize::from(header.length)];
            if stream.read_exact(&mut request).await.is_err() {
                return;
            }
            for answer in self.answers(&request) {
                let Ok(length) = u16::try_from(answer.len()) else { return };
                let head = Header { source: header.destination, destination: header.source, length };
                if stream.write_all(&[&head.to_wire()[..], &answer].concat()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn answers(&mut self, request: &[u8]) -> Vec<Vec<u8>> {
        self.learn(request);
        let Some(plain) = self.keys.sent(request) else { return Vec::new() };
        let proving = self.keys.is_proving();
        let recorded = self.score.asked(plain.form, &plain.bytes);
        recorded.into_iter().filter_map(|(form, bytes)| self.answer(form, &bytes, proving)).collect()
    }

    /// Takes challenge and dedicated key from an AARQ.
    fn learn(&mut self, request: &[u8]) {
        let Ok(aarq) = Aarq::from_bytes(request) else { return };
        self.to_server = aarq.calling_authentication_value.and_then(Challenge::new);
        let (Some(information), Some(authentication)) =
            (aarq.user_information, self.config.authentication_key.clone())
        else {
            return;
        };
        let Some(cipher) = self.keys.cipher(Form::Glo) else { return };
        let Ok(Some(sealed)) = protocol::dlms::security::frame::Sealed::parse(information) else { return };
        let mut out = [0; APDU_MAX];
        let title = self.config.system_title;
        let Ok(len) = sealed.open(cipher, self.config.policy.global(), &title, None, &mut out) else {
            return;
        };
        if let Some([tag, initiate @ ..]) = out.get(..len)
            && *tag == ApduTag::InitiateRequest.as_u8()
            && let Ok(initiate) = InitiateRequest::decode(&mut Reader::new(initiate))
            && let Some(key) = initiate.dedicated_key
        {
            self.keys.set_dedicated(key, &authentication);
        }
    }

    /// A recorded answer as it goes over the wire now.
    fn answer(&self, form: Form, bytes: &[u8], proving: bool) -> Option<Vec<u8>> {
        if let Ok(aare) = Aare::from_bytes(bytes) {
            let information = aare.user_information.and_then(|information| self.protected(form, information));
            let challenge = aare.responding_authentication_value.and(self.to_client);
            let aare = Aare {
                responding_authentication_value: challenge.as_ref().map(Challenge::as_bytes),
                user_information: information.as_deref(),
                ..aare
            };
            return encoded(&aare);
        }
        if let Ok(rlre) = Rlre::from_bytes(bytes) {
            let information = rlre.user_information.and_then(|information| self.protected(form, information));
            return encoded(&Rlre { user_information: information.as_deref(), ..rlre });
        }
        let mut bytes = bytes.to_vec();
        if proving {
            self.prove(&mut bytes);
        }
        self.protected(form, &bytes)
    }

    /// Puts our answer to the client's challenge where the recording has zeros: at the end of the response.
    fn prove(&self, response: &mut [u8]) {
        let (Some(challenge), Some(other)) = (self.to_server, self.to_client) else { return };
        let server = SystemTitle(SERVER_TITLE);
        let proof = if self.config.mechanism == AuthMechanism::HighGmac {
            let (cipher, counter) = (self.keys.cipher(Form::Glo), self.score.next_counter());
            cipher.map(|cipher| hls::gmac_answer(cipher, &server, counter, challenge.as_bytes()).to_vec())
        } else {
            let pass = hls::Pass {
                answerer: &server,
                asker: &self.config.system_title,
                challenge: challenge.as_bytes(),
                other: other.as_bytes(),
            };
            let secret = self.config.secret.as_ref();
            secret
                .and_then(|secret| hls::secret_answer(self.config.mechanism, secret.expose(), pass))
                .map(|answer| answer.to_vec())
        };
        if let Some(proof) = proof
            && let Some(at) = response.len().checked_sub(proof.len())
            && let Some(place) = response.get_mut(at..)
        {
            place.copy_from_slice(&proof);
        }
    }

    fn protected(&self, form: Form, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Box::new(Frame::<APDU_MAX>::new());
        frame.body_mut().get_mut(..bytes.len())?.copy_from_slice(bytes);
        frame.set_body(bytes.len());
        if form != Form::Plain {
            let (title, counter) = (SystemTitle(SERVER_TITLE), self.score.next_counter());
            let control = self.config.policy.global().control();
            let how = Protect { form, control, title: &title, counter };
            frame.protect(self.keys.cipher(form)?, how).ok()?;
        }
        Some(frame.finished().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_and_a_clocks_time_is_none() {
        let get = [0xC0, 1, 0xC1, 0, 3];
        assert_eq!(difference((Form::Glo, &get), (Form::Glo, &get)), None);
        let other = difference((Form::Glo, &get), (Form::Glo, &[0xC0, 1, 0xC1, 0, 8])).expect("differs");
        assert!(other.starts_with("another request from byte 4 on"), "{other}");
        let longer = difference((Form::Glo, &get), (Form::Glo, &[0xC0, 1, 0xC1, 0, 3, 9])).expect("differs");
        assert!(longer.starts_with("another request from byte 5 on"), "{longer}");
        let weaker = difference((Form::Glo, &get), (Form::Plain, &get)).expect("differs");
        assert_eq!(weaker, "the request went plain, in the recording glo");
        let set = |hour| [&[0xC1, 1, 0xC1, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0, 9, 12][..], &[hour; 12]].concat();
        assert_eq!(difference((Form::Glo, &set(1)), (Form::Glo, &set(2))), None);
    }
}
