//! Opening and closing associations: AARQ, the HLS passes, RLRQ (Green Book 9.3.2 to 9.3.5, 9.2.7.4).

use super::association_object::{self, CLASS};
use super::custody::{Association, Custody};
use super::session::{Dedicated, Session, Stage};
use super::{CHALLENGE_TIMEOUT, Core, Event, IMPLEMENTED, Peer};
use crate::codec::acse::{
    Aare, Aarq, ApplicationContext, AssociationResult, AuthMechanism, Diagnostic, ReleaseReason, Rlre, Rlrq,
    UserDiagnostic,
};
use crate::codec::axdr::Data;
use crate::codec::codec::{Decode, Encode, Reader, Result, SliceWriter};
use crate::codec::security::{SystemTitle, constant_time_eq};
use crate::codec::xdlms::{
    ActionRequest, ActionResponse, ActionResponseWithOptionalData, ActionResult, ApduTag,
    ConfirmedServiceError, Conformance, DLMS_VERSION, GetDataResult, InitiateRequest, InitiateResponse,
    SecurityControl, ServiceError, StateError, VAA_NAME_LN,
};
use crate::dlms::apdu::put;
use crate::dlms::bytes::cut_mut;
use crate::dlms::security::frame::{Protect, Sealed};
use crate::dlms::security::hls::{self, Challenge};
use crate::dlms::security::{Cipher, Form, Frame, Key, KeyUsage, Refusal};
use crate::time::Instant;

/// acse-service-user diagnostic 3: calling-AP-title-not-recognized. The codec does not name it.
const CALLING_TITLE_NOT_RECOGNISED: UserDiagnostic = UserDiagnostic::Other(3);

/// Smallest receive size worth an association: an exception-response in general-glo-ciphering, and one block with one
/// byte of data. The standard demands more than 11. With a high-level mechanism, the answer to the challenge as well.
const CLIENT_PDU_MIN: u16 = 48;

/// Length of the server's challenge in bytes; the standard allows 8 to 64, and 32 to 64 with signatures.
const fn challenge_len(mechanism: AuthMechanism) -> usize {
    if matches!(mechanism, AuthMechanism::HighEcdsa) { 32 } else { 16 }
}

/// The `initiateError` numbers of ConfirmedServiceError.
#[derive(Clone, Copy)]
enum InitiateError {
    VersionTooLow = 1,
    IncompatibleConformance = 2,
    PduSizeTooShort = 3,
}

/// Why an AARQ is refused.
enum Refused {
    Diagnostic(UserDiagnostic),
    /// The xDLMS part is at fault; the user-information says how.
    Initiate(InitiateError),
    /// The user-information could not be opened.
    Sealed(Refusal),
}

impl From<UserDiagnostic> for Refused {
    fn from(d: UserDiagnostic) -> Self {
        Self::Diagnostic(d)
    }
}

/// What was agreed about the mechanism.
enum Proof {
    Done,
    Challenge(Challenge),
}

impl<const N: usize, const LONG: usize> Core<N, LONG> {
    pub(super) fn associate<M: Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        apdu: &[u8],
        rx: &mut [u8; N],
        meter: &mut M,
    ) {
        let Ok(aarq) = Aarq::from_bytes(apdu) else {
            let error = ServiceError::OtherReason;
            return self.exception_plain(StateError::ServiceNotAllowed, error, None);
        };
        match self.open(now, peer, &aarq, rx, meter) {
            Ok(()) => {}
            Err(refused) => self.refuse(peer, &aarq, refused, meter),
        }
    }

    fn open<M: Custody>(
        &mut self,
        now: Instant,
        peer: Peer,
        aarq: &Aarq<'_>,
        rx: &mut [u8; N],
        meter: &mut M,
    ) -> core::result::Result<(), Refused> {
        let row = meter.association(peer.client_sap).ok_or(UserDiagnostic::NoReasonGiven)?;
        let ciphered = !row.policy.is_none();
        if row.policy.broadcast() {
            return Err(UserDiagnostic::NoReasonGiven.into());
        }
        if aarq.application_context != Some(context(ciphered)) {
            return Err(UserDiagnostic::ApplicationContextNameNotSupported.into());
        }
        let proof = check_mechanism(&row, aarq, meter)?;
        let keyed = ciphered || row.mechanism == AuthMechanism::HighGmac;
        let needs_title =
            keyed || matches!(row.mechanism, AuthMechanism::HighSha256 | AuthMechanism::HighEcdsa);
        let title = aarq.calling_ap_title.and_then(|t| SystemTitle::from_slice(t).ok());
        if needs_title && title.is_none() {
            return Err(CALLING_TITLE_NOT_RECOGNISED.into());
        }
        let title = title.unwrap_or_default();
        let cipher = if keyed {
            let key = |usage| meter.key(row.key_set, usage);
            let made = key(KeyUsage::GlobalUnicastEncryption)
                .zip(key(KeyUsage::Authentication))
                .and_then(|(ek, ak)| Cipher::new(row.policy.suite, &ek, &ak));
            Some(made.ok_or(UserDiagnostic::NoReasonGiven)?)
        } else {
            None
        };
        let (initiate, form) = open_initiate(&row, cipher.as_ref(), &title, aarq, rx, meter)?;
        let conformance = check_initiate(&row, &initiate)?;
        let dedicated = match initiate.dedicated_key {
            Some(bytes) if ciphered => Some(dedicated(&row, bytes, meter)?),
            _ => None,
        };
        let stage = match proof {
            Proof::Done => Stage::Associated,
            Proof::Challenge(to_server) => {
                let mut bytes = [0u8; hls::CHALLENGE_MAX];
                let bytes = cut_mut(&mut bytes, challenge_len(row.mechanism)).0;
                meter.random(bytes);
                let to_client = Challenge::new(bytes).ok_or(UserDiagnostic::NoReasonGiven)?;
                Stage::Challenged { to_client, to_server }
            }
        };
        // The link carries one association: a new one ends whatever was there. A refused AARQ ends nothing, or else
        // anybody could end an association with a recorded one.
        self.end();
        let dedicated = dedicated.map(|mut dedicated| {
            if let Some((key, floor)) = &self.spent
                && constant_time_eq(key.expose(), dedicated.key.expose())
            {
                dedicated.floor = *floor;
            }
            dedicated
        });
        let session = Session {
            row,
            server_sap: peer.server_sap,
            stage,
            cipher,
            dedicated,
            peer: title,
            conformance,
            client_max_pdu: initiate.client_max_receive_pdu_size,
            server_max_pdu: u16::try_from(N).unwrap_or(u16::MAX),
            form,
            control: SecurityControl::default(),
            reply: None,
        };
        if stage == Stage::Associated {
            self.deadline = (!row.inactivity.is_zero()).then(|| now + row.inactivity);
            self.event(Event::Associated { client_sap: row.client_sap });
        } else {
            self.deadline = Some(now + CHALLENGE_TIMEOUT);
        }
        self.session = Some(session);
        let with_title = needs_title || aarq.calling_ap_title.is_some();
        if self.accept(with_title, meter).is_err() {
            self.end();
            return Err(UserDiagnostic::NoReasonGiven.into());
        }
        Ok(())
    }

    /// The AARE of an accepted association; diagnostic 14 where HLS follows.
    fn accept<M: Custody>(&mut self, with_title: bool, meter: &mut M) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let response = InitiateResponse {
            negotiated_conformance: session.conformance,
            server_max_receive_pdu_size: session.server_max_pdu,
            vaa_name: VAA_NAME_LN,
            ..Default::default()
        };
        let mut info = Frame::<96>::new();
        info.build(|w| put(ApduTag::InitiateResponse, &response, w))?;
        seal_information(session, &mut info, meter)?;
        info.finish();
        let title = meter.system_title();
        let challenge = match &session.stage {
            Stage::Challenged { to_client, .. } => Some(to_client.as_bytes()),
            Stage::Associated => None,
        };
        let authenticated = session.row.mechanism != AuthMechanism::None;
        let aare = Aare {
            application_context: Some(context(!session.row.policy.is_none())),
            result: AssociationResult::Accepted,
            diagnostic: Diagnostic::User(match challenge {
                Some(_) => UserDiagnostic::AuthenticationRequired,
                None => UserDiagnostic::Null,
            }),
            responding_ap_title: with_title.then_some(&title.0[..]),
            // With LLS too: a client may insist that the mechanism it proposed is named in the answer.
            responder_acse_requirements: authenticated,
            mechanism_name: authenticated.then_some(session.row.mechanism),
            responding_authentication_value: challenge,
            user_information: info.take(),
        };
        self.tx.build(|w| aare.encode(w))?;
        self.tx.finish();
        Ok(())
    }

    fn refuse<M: Custody>(&mut self, peer: Peer, aarq: &Aarq<'_>, refused: Refused, meter: &mut M) {
        let diagnostic = match refused {
            Refused::Diagnostic(d) => d,
            Refused::Initiate(_) => UserDiagnostic::NoReasonGiven,
            Refused::Sealed(refusal) => {
                self.event(Event::SecurityAlarm { client_sap: peer.client_sap, refusal });
                if let Refusal::Replay { duplicate: true, .. } = refusal
                    && self.session.is_some()
                {
                    // The frame that opened this association once more: its answer is on the way.
                    return;
                }
                if let Refusal::Replay { expected, .. } = refusal {
                    // The only answer that tells an honest client which counter to go on with.
                    let error = ServiceError::InvocationCounterError;
                    return self.exception_plain(StateError::ServiceNotAllowed, error, Some(expected));
                }
                match refusal {
                    Refusal::CounterNotStored => UserDiagnostic::NoReasonGiven,
                    _ => UserDiagnostic::AuthenticationFailure,
                }
            }
        };
        self.event(Event::Refused { client_sap: peer.client_sap, diagnostic });
        let error = match refused {
            Refused::Initiate(e) => {
                // ConfirmedServiceError: initiateError [1], ServiceError initiate [6], the number.
                let mut bytes = [0u8; 4];
                let error = ConfirmedServiceError { service: 1, error_class: 6, error_code: e as u8 };
                let mut w = SliceWriter::new(&mut bytes);
                let _ = put(ApduTag::ConfirmedServiceError, &error, &mut w);
                Some(bytes)
            }
            _ => None,
        };
        let title = meter.system_title();
        let aare = Aare {
            // The context that was asked for: a client checks that the answer is about its proposal.
            application_context: aarq.application_context,
            result: AssociationResult::RejectedPermanent,
            diagnostic: Diagnostic::User(diagnostic),
            responding_ap_title: aarq.calling_ap_title.is_some().then_some(&title.0[..]),
            user_information: error.as_ref().map(|b| &b[..]),
            ..Default::default()
        };
        if self.tx.build(|w| aare.encode(w)).is_ok() {
            self.tx.finish();
        }
    }

    /// Passes 3 and 4 of HLS: ACTION reply_to_HLS_authentication on the current association object.
    pub(super) fn hls_reply<M: Custody>(&mut self, now: Instant, body: &[u8], meter: &mut M) -> Result<()> {
        let request = ActionRequest::decode(&mut Reader::new(body))?;
        let Some(session) = &mut self.session else { return Ok(()) };
        let Stage::Challenged { to_client, to_server } = session.stage else { return Ok(()) };
        let answer = match request {
            ActionRequest::Normal { invoke_id, descriptor, parameters: Some(Data::OctetString(answer)) }
                if descriptor.class_id == CLASS
                    && descriptor.method_id == 1
                    && association_object::is_own(session, descriptor.instance_id) =>
            {
                Some((invoke_id, answer))
            }
            _ => None,
        };
        let Some((invoke_id, answer)) = answer else {
            let error = ServiceError::OperationNotPossible;
            self.exception(StateError::ServiceNotAllowed, error, meter);
            return Ok(());
        };
        let proof = prove(session, answer, &to_client, &to_server, meter);
        let client_sap = session.row.client_sap;
        let response = match &proof {
            Some(proof) => {
                session.stage = Stage::Associated;
                let inactivity = session.row.inactivity;
                self.deadline = (!inactivity.is_zero()).then(|| now + inactivity);
                self.event(Event::Associated { client_sap });
                ActionResponseWithOptionalData {
                    result: ActionResult::Success,
                    return_parameters: Some(GetDataResult::Data(Data::OctetString(proof))),
                }
            }
            None => {
                let diagnostic = UserDiagnostic::AuthenticationFailure;
                self.event(Event::Refused { client_sap, diagnostic });
                ActionResponseWithOptionalData {
                    result: ActionResult::ReadWriteDenied,
                    return_parameters: None,
                }
            }
        };
        let answer = ActionResponse::Normal { invoke_id, response };
        self.build(|w| put(ApduTag::ActionResponse, &answer, w))?;
        self.send(meter);
        if proof.is_none() {
            self.end();
        }
        Ok(())
    }

    /// RLRQ. In a ciphered association one whose user-information does not verify changes nothing: or else anybody
    /// could end it. One without user-information is accepted, as clients in the field send it.
    pub(super) fn release<M: Custody>(&mut self, peer: Peer, apdu: &[u8], rx: &mut [u8; N], meter: &mut M) {
        let Ok(rlrq) = Rlrq::from_bytes(apdu) else {
            let error = ServiceError::OtherReason;
            return self.exception_plain(StateError::ServiceNotAllowed, error, None);
        };
        let Some(session) = self.session.as_mut().filter(|s| s.row.client_sap == peer.client_sap) else {
            // Nothing to release. Answering lets a client whose link survived our restart go on.
            return self.released(None);
        };
        let ciphered = !session.row.policy.is_none();
        let mut info = Frame::<96>::new();
        if let Some(bytes) = rlrq.user_information
            && ciphered
        {
            let opened = match Sealed::parse(bytes) {
                Ok(Some(sealed)) => super::unseal(session, &sealed, rx, meter),
                Ok(None) => Err(Refusal::Weak),
                Err(e) => Err(Refusal::Malformed(e)),
            };
            if let Err(refusal) = opened {
                return self.refuse_sealed(peer, refusal);
            }
            session.form = session.form.global();
            let response = InitiateResponse {
                negotiated_conformance: session.conformance,
                server_max_receive_pdu_size: session.server_max_pdu,
                ..Default::default()
            };
            let built = info.build(|w| put(ApduTag::InitiateResponse, &response, w));
            if built.and_then(|()| seal_information(session, &mut info, meter)).is_ok() {
                info.finish();
            }
        }
        self.end();
        self.released(info.take());
    }

    fn released(&mut self, user_information: Option<&[u8]>) {
        let rlre = Rlre { reason: Some(ReleaseReason::Normal), user_information };
        if self.tx.build(|w| rlre.encode(w)).is_ok() {
            self.tx.finish();
        }
    }
}

/// Verifies the client's answer (pass 3) and gives ours (pass 4).
fn prove<M: Custody>(
    session: &Session,
    answer: &[u8],
    to_client: &Challenge,
    to_server: &Challenge,
    meter: &mut M,
) -> Option<hls::Answer> {
    let title = meter.system_title();
    let mechanism = session.row.mechanism;
    if mechanism == AuthMechanism::HighGmac {
        let cipher = session.cipher.as_ref()?;
        if !hls::gmac_verify(cipher, &session.peer, to_client.as_bytes(), answer) {
            return None;
        }
        let counter = meter.next_counter(session.row.key_set)?;
        let proof = hls::gmac_answer(cipher, &title, counter, to_server.as_bytes());
        return hls::Answer::from_slice(&proof).ok();
    }
    let (c, s) = (to_client.as_bytes(), to_server.as_bytes());
    let theirs = hls::Pass { answerer: &session.peer, asker: &title, challenge: c, other: s };
    let ours = hls::Pass { answerer: &title, asker: &session.peer, challenge: s, other: c };
    if mechanism == AuthMechanism::HighEcdsa {
        let (suite, client_sap) = (session.row.policy.suite, session.row.client_sap);
        if !meter.verify(suite, client_sap, &session.peer, &theirs.signed(), answer) {
            return None;
        }
        return hls::Answer::from_slice(&meter.sign(suite, &ours.signed())?).ok();
    }
    let secret = meter.secret(session.row.client_sap)?;
    if !hls::secret_verify(mechanism, secret.expose(), theirs, answer) {
        return None;
    }
    hls::secret_answer(mechanism, secret.expose(), ours)
}

const fn context(ciphered: bool) -> ApplicationContext {
    if ciphered { ApplicationContext::LogicalNameCiphered } else { ApplicationContext::LogicalName }
}

/// Compares what the client offers with what its row demands.
fn check_mechanism<M: Custody>(
    row: &Association,
    aarq: &Aarq<'_>,
    meter: &mut M,
) -> core::result::Result<Proof, UserDiagnostic> {
    let offered = aarq.mechanism_name.unwrap_or(AuthMechanism::None);
    if row.mechanism == AuthMechanism::None {
        // A client that authenticates without need is told so instead of being let in on another footing.
        return match offered {
            AuthMechanism::None => Ok(Proof::Done),
            _ => Err(UserDiagnostic::AuthenticationMechanismNameNotRecognised),
        };
    }
    if offered == AuthMechanism::None {
        return Err(if aarq.sender_acse_requirements {
            UserDiagnostic::AuthenticationMechanismNameRequired
        } else {
            UserDiagnostic::AuthenticationRequired
        });
    }
    if offered != row.mechanism {
        return Err(UserDiagnostic::AuthenticationMechanismNameNotRecognised);
    }
    let failure = UserDiagnostic::AuthenticationFailure;
    let value = aarq.calling_authentication_value.ok_or(failure)?;
    match row.mechanism {
        AuthMechanism::Low => {
            let secret = meter.secret(row.client_sap).ok_or(failure)?;
            if constant_time_eq(secret.expose(), value) { Ok(Proof::Done) } else { Err(failure) }
        }
        high if hls::is_supported(high) => Challenge::new(value).map(Proof::Challenge).ok_or(failure),
        _ => Err(UserDiagnostic::AuthenticationMechanismNameNotRecognised),
    }
}

/// The InitiateRequest in the AARQ, opened; and how it was protected.
fn open_initiate<'b, M: Custody>(
    row: &Association,
    cipher: Option<&Cipher>,
    title: &SystemTitle,
    aarq: &Aarq<'b>,
    rx: &'b mut [u8],
    meter: &mut M,
) -> core::result::Result<(InitiateRequest<'b>, Form), Refused> {
    let bytes = aarq.user_information.ok_or(Refused::Sealed(Refusal::Weak))?;
    let (plain, form) = match Sealed::parse(bytes).map_err(|e| Refused::Sealed(e.into()))? {
        None if row.policy.is_none() => (bytes, Form::Plain),
        None => return Err(Refused::Sealed(Refusal::Weak)),
        Some(sealed) => {
            let cipher = cipher.filter(|_| !row.policy.is_none() && !sealed.form.is_dedicated());
            let cipher = cipher.ok_or(Refused::Sealed(Refusal::Weak))?;
            let floor = meter.last_seen(row.key_set, title);
            let len = sealed.open(cipher, row.policy.global(), title, floor, rx).map_err(Refused::Sealed)?;
            if !meter.accept(row.key_set, title, sealed.counter) {
                return Err(Refused::Sealed(Refusal::CounterNotStored));
            }
            (rx.get(..len).unwrap_or(&[]), sealed.form)
        }
    };
    let malformed = |e| Refused::Sealed(Refusal::Malformed(e));
    let mut r = Reader::new(plain);
    if r.u8().map_err(malformed)? != ApduTag::InitiateRequest.as_u8() {
        return Err(Refused::Sealed(Refusal::WrongService));
    }
    Ok((InitiateRequest::decode(&mut r).map_err(malformed)?, form))
}

fn check_initiate(
    row: &Association,
    initiate: &InitiateRequest<'_>,
) -> core::result::Result<Conformance, Refused> {
    if initiate.proposed_dlms_version < DLMS_VERSION {
        return Err(Refused::Initiate(InitiateError::VersionTooLow));
    }
    let conformance = initiate.proposed_conformance & row.conformance & IMPLEMENTED;
    if conformance.is_empty() {
        return Err(Refused::Initiate(InitiateError::IncompatibleConformance));
    }
    let max = initiate.client_max_receive_pdu_size;
    let answer = CLIENT_PDU_MIN - 1 + hls::answer_len(row.mechanism) as u16;
    let min = if row.mechanism.is_high_level() { answer } else { CLIENT_PDU_MIN };
    if max != 0 && max < min {
        return Err(Refused::Initiate(InitiateError::PduSizeTooShort));
    }
    Ok(conformance)
}

fn dedicated<M: Custody>(
    row: &Association,
    bytes: &[u8],
    meter: &M,
) -> core::result::Result<Dedicated, Refused> {
    let refused = || Refused::Diagnostic(UserDiagnostic::NoReasonGiven);
    let key = Key::from_slice(bytes).map_err(|_| refused())?;
    let ak = meter.key(row.key_set, KeyUsage::Authentication).ok_or_else(refused)?;
    let cipher = Cipher::new(row.policy.suite, &key, &ak).ok_or_else(refused)?;
    Ok(Dedicated { key, cipher, floor: None })
}

/// Protects the user-information of an AARE or RLRE with the global keys, in the form the client used.
fn seal_information<M: Custody>(session: &Session, info: &mut Frame<96>, meter: &mut M) -> Result<()> {
    let (Some(cipher), false) = (&session.cipher, session.row.policy.is_none()) else { return Ok(()) };
    let exhausted = crate::codec::Error::new(crate::codec::ErrorKind::Unsupported, 0);
    let counter = meter.next_counter(session.row.key_set).ok_or(exhausted)?;
    let title = meter.system_title();
    let how = Protect { form: session.form, control: session.own_control(), title: &title, counter };
    info.protect(cipher, how)
}
