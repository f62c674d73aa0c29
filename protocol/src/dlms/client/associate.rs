//! AARQ and AARE, the HLS passes, RLRQ and RLRE, from the client's side.

use super::answer::{Action, Returned};
use super::event::{Agreed, Error, StartError};
use super::{Client, Happened, IMPLEMENTED, Pending, SHORT_NAMES, State};
use crate::codec::acse::{Aare, Aarq, ApplicationContext, AuthMechanism, Referencing, ReleaseReason, Rlrq};
use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Encode, Reader};
use crate::codec::obis::Obis;
use crate::codec::security::SystemTitle;
use crate::codec::xdlms::{
    ActionRequest, ActionResult, Apdu, ApduTag, ConfirmedServiceError, Conformance, InitiateRequest,
    InitiateResponse, InvokeId, MethodDescriptor,
};
use crate::dlms::security::frame::{Protect, Sealed};
use crate::dlms::security::hls::{self, Challenge};
use crate::dlms::security::{Form, Frame, Key, Refusal, ecdsa};
use crate::time::Instant;

/// The current association object, 0.0.40.0.0.255, class 15: method 1 is reply_to_HLS_authentication.
const REPLY_TO_HLS: MethodDescriptor = MethodDescriptor::new(15, Obis::new(0, 0, 40, 0, 0, 255), 1);

impl<const N: usize, const LONG: usize> Client<N, LONG> {
    /// Sends the AARQ. `challenge` is 8 to 64 fresh random bytes where the mechanism is a high-level one, at least 32 with
    /// ECDSA.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn associate(&mut self, now: Instant, challenge: &[u8]) -> Result<(), StartError> {
        if self.state != State::Idle {
            return Err(StartError::WrongState);
        }
        if self.config.policy.broadcast() {
            return Err(StartError::Configuration);
        }
        let ciphered = !self.config.policy.is_none();
        let high = self.config.mechanism.is_high_level();
        if (ciphered || self.config.mechanism == AuthMechanism::HighGmac) && self.global.is_none() {
            return Err(StartError::Configuration);
        }
        if self.config.policy.dedicated() && self.dedicated.is_none() {
            return Err(StartError::Configuration);
        }
        if !self.config.suits_general() {
            return Err(StartError::Configuration);
        }
        let short_names = self.config.referencing == Referencing::ShortName;
        let challenge = match self.config.mechanism {
            _ if high && short_names => return Err(StartError::Configuration),
            AuthMechanism::None | AuthMechanism::Low => None,
            high if hls::is_supported(high) => {
                if !self.has_credentials(high) || challenge.len() < hls::challenge_min(high) {
                    return Err(StartError::Configuration);
                }
                Some(Challenge::new(challenge).ok_or(StartError::Configuration)?)
            }
            _ => return Err(StartError::Configuration),
        };
        self.conformance = self.proposed();
        self.server_max_pdu = 0;
        self.dedicated_counter = None;
        let mut info = self.initiate_request()?;
        let secret = match (self.config.mechanism, &self.config.secret) {
            (AuthMechanism::Low, Some(secret)) => Some(secret.expose()),
            (AuthMechanism::Low, None) => return Err(StartError::Configuration),
            _ => None,
        };
        let authenticated = self.config.mechanism != AuthMechanism::None;
        let aarq = Aarq {
            application_context: Some(self.context()),
            calling_ap_title: (ciphered || high).then_some(&self.config.system_title.0[..]),
            sender_acse_requirements: authenticated,
            mechanism_name: authenticated.then_some(self.config.mechanism),
            calling_authentication_value: challenge.as_ref().map(Challenge::as_bytes).or(secret),
            user_information: info.take(),
            ..Default::default()
        };
        self.tx.build(|w| aarq.encode(w)).map_err(|_| StartError::TooLong)?;
        self.tx.finish();
        self.state = State::Associating;
        self.wait(now, Pending::Aare { challenge });
        Ok(())
    }

    /// Releases the association. In a ciphered one the request carries a protected InitiateRequest, so that nobody else
    /// can release it.
    ///
    /// # Errors
    /// [`StartError`]; nothing has left.
    pub fn release(&mut self, now: Instant) -> Result<(), StartError> {
        if self.state != State::Associated {
            return Err(StartError::WrongState);
        }
        if self.pending != Pending::None {
            return Err(StartError::Busy);
        }
        let mut info = if self.config.policy.is_none() { Frame::new() } else { self.initiate_request()? };
        let rlrq = Rlrq { reason: Some(ReleaseReason::Normal), user_information: info.take() };
        self.tx.build(|w| rlrq.encode(w)).map_err(|_| StartError::TooLong)?;
        self.tx.finish();
        self.state = State::Releasing;
        self.wait(now, Pending::Release);
        Ok(())
    }

    /// Takes the association for open without a word to the meter, whose configuration has it open for us: `services` and
    /// `server_max_pdu` (zero: no bound) are what was configured there. It is not released: [`Client::link_down`] ends it here.
    ///
    /// # Errors
    /// [`StartError`]: an association is open; or the configuration asks for a mechanism or a dedicated key, for which an AARQ
    /// is needed, or lacks the keys or the meter's title for its policy.
    pub fn pre_established(&mut self, services: Conformance, server_max_pdu: u16) -> Result<(), StartError> {
        if self.state != State::Idle {
            return Err(StartError::WrongState);
        }
        let known = self.global.is_some() && self.config.server_title.is_some();
        if self.config.mechanism != AuthMechanism::None
            || self.config.policy.dedicated()
            || !(known || self.config.policy.is_none())
            || !self.config.suits_general()
        {
            return Err(StartError::Configuration);
        }
        self.server_title = self.config.server_title;
        self.prepare_content().map_err(|_| StartError::Configuration)?;
        self.conformance = services & self.proposed();
        self.server_max_pdu = server_max_pdu;
        self.state = State::Associated;
        Ok(())
    }

    /// The InitiateRequest, protected with the global keys where there is protection at all.
    fn initiate_request(&mut self) -> Result<Frame<160>, StartError> {
        let request = InitiateRequest {
            dedicated_key: self
                .config
                .dedicated_key
                .as_ref()
                .filter(|_| self.dedicated.is_some())
                .map(Key::expose),
            proposed_conformance: self.proposed(),
            client_max_receive_pdu_size: self.config.max_pdu.min(u16::try_from(N).unwrap_or(u16::MAX)),
            ..Default::default()
        };
        let mut info = Frame::<160>::new();
        info.build(|w| Apdu::InitiateRequest(request).encode(w)).map_err(|_| StartError::TooLong)?;
        if let (Some(cipher), false) = (&self.global, self.config.policy.is_none()) {
            let counter = self.counters.take().ok_or(StartError::CountersExhausted)?;
            // Service-specific even where requests go in a general form: what every meter in the field knows.
            let form = Form::Glo;
            let how = Protect { form, control: self.control(), title: &self.config.system_title, counter };
            info.protect(cipher, how).map_err(|_| StartError::TooLong)?;
        }
        info.finish();
        Ok(info)
    }

    pub(super) fn handle_aare(&mut self, now: Instant, apdu: &[u8]) {
        let Pending::Aare { challenge } = self.pending else { return };
        if let Err(error) = self.accept_aare(now, apdu, challenge) {
            self.fail(error);
        }
    }

    fn accept_aare(&mut self, now: Instant, apdu: &[u8], challenge: Option<Challenge>) -> Result<(), Error> {
        let aare = Aare::from_bytes(apdu).map_err(Error::Malformed)?;
        if !aare.is_accepted() {
            if let Some([tag, rest @ ..]) = aare.user_information
                && *tag == ApduTag::ConfirmedServiceError.as_u8()
                && let Ok(error) = ConfirmedServiceError::from_bytes(rest)
            {
                return Err(Error::Initiate(error));
            }
            return Err(Error::Rejected { result: aare.result, diagnostic: aare.diagnostic });
        }
        if aare.application_context.is_some_and(|c| c != self.context()) {
            return Err(Error::Downgrade);
        }
        self.learn_title(&aare)?;
        self.prepare_content()?;
        let information = match aare.user_information {
            Some(bytes) => Some(self.open_initiate(bytes)?),
            None => None,
        };
        self.information_missing = information.is_none();
        if let Some(response) = information {
            response.check_version().map_err(Error::Malformed)?;
            self.conformance &= response.negotiated_conformance;
            self.server_max_pdu = response.server_max_receive_pdu_size;
        }
        let Some(ours) = challenge else {
            self.associated();
            return Ok(());
        };
        // Some servers leave the diagnostic at 0 where HLS follows; the challenge tells.
        let theirs = aare.responding_authentication_value.and_then(Challenge::new);
        let theirs = theirs.ok_or(Error::Downgrade)?;
        if theirs == ours || aare.mechanism_name.is_some_and(|m| m != self.config.mechanism) {
            return Err(Error::Downgrade);
        }
        self.send_hls_reply(now, ours, &theirs).map_err(|e| match e {
            StartError::CountersExhausted => Error::CountersExhausted,
            _ => Error::TooLong,
        })
    }

    fn learn_title(&mut self, aare: &Aare<'_>) -> Result<(), Error> {
        let told = aare.responding_ap_title.and_then(|t| SystemTitle::from_slice(t).ok());
        match (self.config.server_title, told) {
            (Some(known), Some(told)) if known != told => Err(Error::Protection(Refusal::WrongTitle)),
            (known, told) => {
                self.server_title = told.or(known);
                Ok(())
            }
        }
    }

    /// The InitiateResponse in the AARE; a plain one in a ciphered context is a downgrade.
    fn open_initiate(&mut self, bytes: &[u8]) -> Result<InitiateResponse, Error> {
        let ciphered = !self.config.policy.is_none();
        let sealed = Sealed::parse(bytes).map_err(Error::Malformed)?;
        let plain = match sealed {
            None if ciphered => return Err(Error::Downgrade),
            None => bytes,
            Some(_) if !ciphered => return Err(Error::Unexpected),
            Some(sealed) => {
                let peer = self.server_title.ok_or(Error::Protection(Refusal::WrongTitle))?;
                let cipher = self.global.as_ref().ok_or(Error::Downgrade)?;
                let policy = self.config.policy.global();
                let len = sealed
                    .open(cipher, policy, &peer, self.peer_counter, &mut self.rx)
                    .map_err(Error::Protection)?;
                self.peer_counter = Some(sealed.counter);
                self.rx.get(..len).unwrap_or(&[])
            }
        };
        match plain {
            [tag, rest @ ..] if *tag == ApduTag::InitiateResponse.as_u8() => {
                InitiateResponse::decode(&mut Reader::new(rest)).map_err(Error::Malformed)
            }
            [tag, rest @ ..] if *tag == ApduTag::ConfirmedServiceError.as_u8() => {
                Err(ConfirmedServiceError::from_bytes(rest).map_or_else(Error::Malformed, Error::Initiate))
            }
            _ => Err(Error::Unexpected),
        }
    }

    fn associated(&mut self) {
        self.state = State::Associated;
        self.pending = Pending::None;
        self.deadline = None;
        self.happened = Some(Happened::Associated(Agreed {
            conformance: self.conformance,
            server_max_pdu: self.server_max_pdu,
            server_title: self.server_title,
            user_information_missing: self.information_missing,
        }));
    }

    /// Pass 3: our answer to the meter's challenge.
    fn send_hls_reply(
        &mut self,
        now: Instant,
        ours: Challenge,
        theirs: &Challenge,
    ) -> Result<(), StartError> {
        let answer = self.hls_answer(&ours, theirs)?;
        let invoke_id = self.next_invoke_id();
        let request = ActionRequest::Normal {
            invoke_id: InvokeId::confirmed(invoke_id),
            descriptor: REPLY_TO_HLS,
            parameters: Some(Data::OctetString(&answer)),
        };
        self.tx.build(|w| Apdu::ActionRequest(request).encode(w)).map_err(|_| StartError::TooLong)?;
        self.send(self.service_form())?;
        self.wait(now, Pending::Hls { invoke_id, ours, theirs: *theirs });
        Ok(())
    }

    /// What proves us under a high-level mechanism is configured.
    fn has_credentials(&self, mechanism: AuthMechanism) -> bool {
        let config = &self.config;
        match mechanism {
            AuthMechanism::HighGmac => true,
            AuthMechanism::HighEcdsa => {
                let curve = ecdsa::Curve::of_suite(config.policy.suite);
                let ours = config.signing_key.as_ref().map(ecdsa::PrivateKey::curve);
                let theirs = config.server_public_key.as_ref().map(ecdsa::PublicKey::curve);
                curve.is_some() && ours == curve && theirs == curve
            }
            _ => config.secret.is_some(),
        }
    }

    fn hls_answer(&mut self, ours: &Challenge, theirs: &Challenge) -> Result<hls::Answer, StartError> {
        let title = &self.config.system_title;
        if self.config.mechanism == AuthMechanism::HighGmac {
            let cipher = self.global.as_ref().ok_or(StartError::Configuration)?;
            let counter = self.counters.take().ok_or(StartError::CountersExhausted)?;
            let answer = hls::gmac_answer(cipher, title, counter, theirs.as_bytes());
            return hls::Answer::from_slice(&answer).map_err(|_| StartError::TooLong);
        }
        // Only mechanisms 6 and 7 bind the titles; zeros stand for one a meter did not tell.
        let asker = &self.server_title.unwrap_or_default();
        let (challenge, other) = (theirs.as_bytes(), ours.as_bytes());
        let pass = hls::Pass { answerer: title, asker, challenge, other };
        if self.config.mechanism == AuthMechanism::HighEcdsa {
            let signature = self.config.signing_key.as_ref().and_then(|key| key.sign(&pass.signed()));
            let signature = signature.ok_or(StartError::Configuration)?;
            return hls::Answer::from_slice(&signature).map_err(|_| StartError::TooLong);
        }
        let secret = self.config.secret.as_ref().ok_or(StartError::Configuration)?;
        hls::secret_answer(self.config.mechanism, secret.expose(), pass).ok_or(StartError::Configuration)
    }

    fn hls_verified(&self, ours: &Challenge, theirs: &Challenge, answer: &[u8]) -> bool {
        let title = self.server_title.unwrap_or_default();
        if self.config.mechanism == AuthMechanism::HighGmac {
            return self
                .global
                .as_ref()
                .is_some_and(|cipher| hls::gmac_verify(cipher, &title, ours.as_bytes(), answer));
        }
        let (challenge, other) = (ours.as_bytes(), theirs.as_bytes());
        let pass = hls::Pass { answerer: &title, asker: &self.config.system_title, challenge, other };
        if self.config.mechanism == AuthMechanism::HighEcdsa {
            let key = self.config.server_public_key.as_ref();
            return key.is_some_and(|key| key.verify(&pass.signed(), answer));
        }
        self.config
            .secret
            .as_ref()
            .is_some_and(|secret| hls::secret_verify(self.config.mechanism, secret.expose(), pass, answer))
    }

    /// Pass 4: the meter's answer to our challenge.
    pub(super) fn handle_hls_answer(&mut self, id: u8, answer: &Action) {
        let Pending::Hls { invoke_id, ours, theirs } = self.pending else { return };
        let Action::Result(result, returned) = answer else { return };
        if id != invoke_id {
            return;
        }
        if *result != ActionResult::Success {
            return self.fail(Error::Action(*result));
        }
        let answer = match returned {
            Returned::Value(range) => self.rx.get(range.clone()).and_then(|b| Data::from_bytes(b).ok()),
            _ => None,
        };
        let verified = match answer {
            Some(Data::OctetString(answer)) => self.hls_verified(&ours, &theirs, answer),
            _ => false,
        };
        if verified {
            self.associated();
        } else {
            self.fail(Error::NotAuthentic);
        }
    }

    fn proposed(&self) -> Conformance {
        match self.config.referencing {
            Referencing::LogicalName => self.config.conformance & IMPLEMENTED,
            Referencing::ShortName => self.config.conformance & SHORT_NAMES,
        }
    }

    fn context(&self) -> ApplicationContext {
        ApplicationContext::for_referencing(self.config.referencing, !self.config.policy.is_none())
    }
}
