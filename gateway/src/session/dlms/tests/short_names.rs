//! A legacy meter that speaks short names, scripted: Read and Write over the wrapper, with a password.

use super::habits::SECRET;
use super::quirks::model;
use super::*;
use protocol::codec::acse::{
    Aare, Aarq, ApplicationContext, AssociationResult, AuthMechanism, Diagnostic, ReleaseReason, Rlre,
    UserDiagnostic,
};
use protocol::codec::codec::{Decode, Encode, SliceWriter};
use protocol::codec::xdlms::{Apdu, Conformance, InitiateResponse};
use protocol::cosem::obis;
use protocol::dlms::model::Attribute;
use protocol::link::wrapper::{HEADER_LEN, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where the meter has its objects: class, logical name, base name.
const OBJECTS: [(u16, protocol::codec::obis::Obis, u16); 4] = [
    (1, obis::SERIAL, 0x0100),
    (8, obis::CLOCK, 0x0200),
    (3, obis::IMPORT_ENERGY, 0x2BC0),
    (3, obis::IMPORT_POWER, 0x2C00),
];

const LEGACY: &str = r#"
referencing = "short-names"
security = { authentication = "lls", policy = "none" }
short_names = { serial = 0x0100, clock = 0x0200, import = 0x2BC0, power = 0x2C00 }
"#;
const PLAIN: &str = r#"
security = { authentication = "lls", policy = "none" }
[objects]
account = ""
credit = ""
token_gateway = ""
disconnect_control = ""
relay_reason = ""
invocation_counter = ""
security_setup = ""
limiter = ""
tariff_active = ""
tariff_passive = ""
tariff_activation = ""
event_log = ""
activity_calendar = ""
tariff_scripts = ""
special_days = ""
special_days_passive = ""
image_transfer = ""
firmware_version = ""
charges = ""
"#;

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut out = [0; 256];
    let mut writer = SliceWriter::new(&mut out);
    value.encode(&mut writer).expect("it fits");
    writer.as_slice().to_vec()
}

fn aare(aarq: &Aarq<'_>) -> Vec<u8> {
    let refused = |diagnostic| {
        encoded(&Aare {
            application_context: aarq.application_context,
            result: AssociationResult::RejectedPermanent,
            diagnostic: Diagnostic::User(diagnostic),
            ..Aare::default()
        })
    };
    if aarq.application_context != Some(ApplicationContext::ShortName) {
        return refused(UserDiagnostic::ApplicationContextNameNotSupported);
    }
    if aarq.calling_authentication_value != Some(SECRET) {
        return refused(UserDiagnostic::AuthenticationFailure);
    }
    let information = encoded(&Apdu::InitiateResponse(InitiateResponse {
        negotiated_conformance: Conformance::READ | Conformance::WRITE | Conformance::MULTIPLE_REFERENCES,
        server_max_receive_pdu_size: 500,
        vaa_name: 0xFA00,
        ..Default::default()
    }));
    encoded(&Aare {
        application_context: Some(ApplicationContext::ShortName),
        responder_acse_requirements: true,
        mechanism_name: Some(AuthMechanism::Low),
        user_information: Some(&information),
        ..Aare::default()
    })
}

/// The attribute behind a short name.
fn attribute(name: u16) -> Option<Attribute> {
    let (class_id, logical_name, base) =
        OBJECTS.into_iter().filter(|(.., base)| *base <= name).max_by_key(|(.., base)| *base)?;
    let index = i8::try_from((name - base) / 8 + 1).ok()?;
    Some(Attribute { class_id, logical_name, index })
}

/// ReadResponse: data (0) or data-access-error (1) for each name.
fn read(request: &[u8], meter: &TestMeter) -> Vec<u8> {
    let mut answer = vec![0x0C, request[1]];
    for name in request[2..].chunks(3) {
        assert_eq!(name[0], 2, "a variable name");
        let mut value = [0; 64];
        let mut writer = SliceWriter::new(&mut value);
        let at = attribute(u16::from_be_bytes([name[1], name[2]]));
        match at.map(|at| meter.write(at, &mut writer)) {
            Some(Ok(())) => {
                answer.push(0);
                answer.extend_from_slice(writer.as_slice());
            }
            _ => answer.extend([1, 4]),
        }
    }
    answer
}

/// WriteResponse to the one thing that is ever written: the clock, as an octet string of 12.
fn write(request: &[u8], meter: &mut TestMeter) -> Vec<u8> {
    assert_eq!(request[..8], [6, 1, 2, 0x02, 0x08, 1, 9, 12], "attribute 2 of the clock");
    let time = protocol::codec::axdr::DateTime::from_bytes(request[8..20].try_into().expect("twelve bytes"));
    meter.utc_s = protocol::cosem::clock::utc_s(time, 60).expect("a time");
    vec![0x0D, 1, 0]
}

async fn serve_short_names(mut stream: tokio::net::TcpStream, meter: Shared) {
    let mut head = [0; HEADER_LEN];
    while stream.read_exact(&mut head).await.is_ok() {
        let header = Header::from_wire(head).expect("a header");
        let mut request = vec![0; usize::from(header.length)];
        stream.read_exact(&mut request).await.expect("a whole APDU");
        let answer = match request[0] {
            0x60 => aare(&Aarq::from_bytes(&request).expect("an AARQ")),
            0x05 => read(&request, &meter.lock().expect("not poisoned")),
            0x06 => write(&request, &mut meter.lock().expect("not poisoned")),
            _ => encoded(&Rlre { reason: Some(ReleaseReason::Normal), user_information: None }),
        };
        let length = u16::try_from(answer.len()).expect("short");
        let head = Header { source: header.destination, destination: header.source, length };
        stream.write_all(&[&head.to_wire()[..], &answer].concat()).await.expect("heard");
    }
}

#[tokio::test]
async fn a_legacy_meter_is_read_by_its_short_names() {
    let meter = shared(TestMeter::new(SERIAL));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = endpoint(SERIAL, &listener.local_addr().expect("bound").to_string(), Framing::Wrapper);
    let served = meter.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_short_names(stream, served.clone()));
        }
    });
    let keys = DlmsKeys { secret: protocol::dlms::security::Secret::new(SECRET).ok(), ..DlmsKeys::default() };
    let context = context_with(keys);
    let mut talker = DlmsTalker::network(Arc::default());
    let named = perform_as(&mut talker, &context, &at, &model(&[PLAIN]), Work::Read).await;
    assert!(
        matches!(&named.ending, Ending::NotSent { reason } if reason.contains("ApplicationContextName")),
        "{named:?}"
    );
    let short = model(&[PLAIN, LEGACY]);
    let report = perform_as(&mut talker, &context, &at, &short, Work::Commission).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    let facts = report.facts;
    assert_eq!(
        (facts.serial.as_deref(), facts.import_wh, facts.power_w),
        (Some(SERIAL), Some(987_650), Some(742))
    );
    assert!(facts.clock_offset_s.is_some_and(|offset| offset.abs() <= 2), "{:?}", facts.clock_offset_s);
    talker.release().await;
}
