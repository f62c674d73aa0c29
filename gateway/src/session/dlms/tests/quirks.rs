//! Each quirk of a meter that a model can name: with the default manner the meter cannot be used, with the quirk set it can.
//! Over real connections, because a refused association is tried again over another.

use super::habits::{self, Habits, SECRET};
use super::*;
use protocol::codec::acse::AuthMechanism;
use protocol::dlms::security::{Secret, SecurityPolicy, SecuritySuite};
use toml::Table;

/// The reference model with these settings changed; a setting of `""` is taken out. Answers are not waited for long.
pub(super) fn model(changes: &[&str]) -> DlmsModel {
    match Model::parse("quirky.toml", &model_text(changes)) {
        Ok(Model::Dlms(model)) => model,
        other => panic!("{changes:?}: {other:?}"),
    }
}

/// The text of that model.
pub(super) fn model_text(changes: &[&str]) -> String {
    let reference = include_str!("../../../../models/reference-dlms.toml");
    let mut text: Table = reference.parse().expect("good");
    text.insert("response_timeout_ms".into(), 250.into());
    for changes in changes {
        merge(&mut text, changes.parse().expect(changes));
    }
    text.to_string()
}

fn merge(into: &mut Table, changes: Table) {
    for (key, change) in changes {
        match (into.get_mut(&key), change) {
            (Some(toml::Value::Table(old)), toml::Value::Table(change)) => merge(old, change),
            (_, toml::Value::String(nothing)) if nothing.is_empty() => drop(into.remove(&key)),
            (_, change) => drop(into.insert(key, change)),
        }
    }
}

/// A meter with these habits behind a listener, and a gateway with its keys.
pub(super) struct Scene {
    pub(super) context: Context,
    pub(super) at: MeterEndpoint,
}

impl Scene {
    pub(super) async fn new(meter: TestMeter, attached: Attached) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (encryption, authentication) = meter.habits.keys();
        let context = context_with(DlmsKeys {
            encryption: Some(encryption),
            authentication: Some(authentication),
            secret: Secret::new(SECRET).ok(),
            master: None,
            signing: meter.habits.keys_that_sign().map(|keys| keys.gateway),
            meter_public: meter.habits.keys_that_sign().map(|keys| keys.meter.public_key()),
        });
        let served = shared(meter);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, vec![(served.clone(), attached)], Duration::ZERO));
            }
        });
        let framing = if attached == Attached::Wrapper { Framing::Wrapper } else { Framing::Hdlc };
        Self { context, at: endpoint(SERIAL, &address, framing) }
    }

    pub(super) async fn once(&self, model: &DlmsModel, work: Work) -> Report {
        let mut talker = DlmsTalker::network(Arc::default());
        let report = perform_as(&mut talker, &self.context, &self.at, model, work).await;
        talker.release().await;
        report
    }
}

/// Fails with the plain manner of `base` and works with the quirk besides.
async fn needs(habits: Habits, attached: Attached, work: Work, base: &str, quirk: &str) {
    let scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, attached).await;
    let without = scene.once(&model(&[base]), work.clone()).await;
    assert_ne!(without.ending, Ending::Done, "without {quirk:?}: {:?}", without.evidence);
    let with = scene.once(&model(&[base, quirk]), work).await;
    assert_eq!(with.ending, Ending::Done, "with {quirk:?}: {:?}", with.evidence);
    assert_eq!(with.facts.import_wh, Some(987_650), "with {quirk:?}");
}

const OPEN: &str = "security = { authentication = \"none\", policy = \"none\" }";

#[tokio::test]
async fn an_aare_without_user_information_is_believed_only_of_a_meter_that_is_known_for_it() {
    let habits = Habits { says: habits::aare_without_user_information, ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "", "association = { aare_user_information = false }").await;
}

#[tokio::test]
async fn a_clock_that_forbids_the_deviation_is_set_and_read_in_its_own_zone() {
    let habits = Habits { deviation: Some(false), ..Habits::default() };
    let quirk = "clock = { deviation = \"forbidden\", zone = \"WAT-1\" }";
    needs(habits.clone(), Attached::Wrapper, Work::Commission, "", quirk).await;
    let scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, Attached::Wrapper).await;
    let report = scene.once(&model(&[quirk]), Work::Commission).await;
    assert!(report.facts.clock_offset_s.is_some_and(|offset| offset.abs() <= 2), "{:?}", report.facts);
}

#[tokio::test]
async fn a_clock_that_requires_the_deviation_gets_it() {
    let habits = Habits { deviation: Some(true), ..Habits::default() };
    let without = "clock = { deviation = \"forbidden\", zone = \"WAT-1\" }";
    needs(habits, Attached::Wrapper, Work::Commission, without, "clock = { deviation = \"required\" }").await;
}

#[tokio::test]
async fn a_meter_that_refuses_large_offers_and_one_that_takes_less_than_it_says_get_small_apdus() {
    let habits = Habits { hears: habits::small_offers, ..Habits::open() };
    needs(habits, Attached::Wrapper, Work::Read, OPEN, "receive_pdu_max = 256").await;
    let habits = Habits { hears: habits::short_apdus, ..Habits::open() };
    needs(habits, Attached::Wrapper, Work::Read, OPEN, "send_pdu_max = 70").await;
}

#[tokio::test]
async fn hdlc_addresses_have_the_length_that_the_meter_hears() {
    let habits = Habits { hears_bytes: habits::two_byte_addresses, ..Habits::default() };
    let two = "link = { address_bytes = 2, physical_address = 17 }";
    needs(habits, Attached::HdlcTcp, Work::Read, "", two).await;
    let habits = Habits { hears_bytes: habits::four_byte_addresses, ..Habits::default() };
    needs(habits, Attached::HdlcTcp, Work::Read, two, "link = { address_bytes = 4 }").await;
}

#[tokio::test]
async fn a_snrm_without_parameters_and_short_frames_are_for_meters_that_hear_no_others() {
    let habits = Habits { hears_bytes: habits::bare_snrm, ..Habits::default() };
    needs(habits, Attached::HdlcTcp, Work::Read, "", "link = { bare_snrm = true }").await;
    let habits = Habits { hears_bytes: habits::short_frames, ..Habits::default() };
    needs(habits, Attached::HdlcTcp, Work::Read, "", "link = { information_field = 64 }").await;
}

#[tokio::test]
async fn client_and_server_addresses_are_the_models() {
    let habits = Habits { client_sap: 1, server_sap: 16, ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "client_sap = 1", "server_address = 16").await;
    let habits = Habits { client_sap: 3, ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "", "client_sap = 3").await;
}

#[tokio::test]
async fn a_meter_without_counter_object_is_believed_about_the_counter_it_expects() {
    let habits = Habits { public: false, ..Habits::default() };
    let meter = TestMeter { habits, seen: 5_000, ..TestMeter::new(SERIAL) };
    let scene = Scene::new(meter, Attached::Wrapper).await;
    let without = scene.once(&model(&[]), Work::Read).await;
    assert!(matches!(without.ending, Ending::NotSent { .. }), "{:?}", without.ending);
    let with = scene.once(&model(&["objects = { invocation_counter = \"\" }"]), Work::Read).await;
    assert_eq!(with.ending, Ending::Done, "{:?}", with.evidence);
}

#[tokio::test]
async fn a_counter_that_is_too_far_ahead_is_not_believed_from_an_answer_that_anybody_can_forge() {
    for (public, object) in [(true, ""), (false, "objects = { invocation_counter = \"\" }")] {
        let habits = Habits { public, ..Habits::default() };
        let meter = TestMeter { habits, seen: 2_000_000, ..TestMeter::new(SERIAL) };
        let scene = Scene::new(meter, Attached::Wrapper).await;
        let report = scene.once(&model(&[object]), Work::Read).await;
        let Ending::NotSent { reason } = report.ending else { panic!("{:?}", report.ending) };
        assert!(reason.contains("counter 2000000") && reason.contains("new keys"), "{reason}");
    }
}

#[tokio::test]
async fn a_meter_that_sleeps_is_woken_and_one_that_needs_a_pause_gets_it() {
    let habits = Habits { wakes_to: Some((&[0x55; 4], Duration::from_millis(60))), ..Habits::default() };
    let quirk = "link = { wake_up = \"55 55 55 55 55 55\", wake_up_pause_ms = 100 }";
    needs(habits, Attached::Wrapper, Work::Read, "", quirk).await;
    let habits = Habits { deaf_after_speaking: Duration::from_millis(40), ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "", "link = { pause_ms = 80 }").await;
}

#[tokio::test]
async fn every_mechanism_of_authentication_is_spoken() {
    for (mechanism, name) in [
        (AuthMechanism::None, "none"),
        (AuthMechanism::Low, "lls"),
        (AuthMechanism::HighManufacturer, "hls-2"),
        (AuthMechanism::HighMd5, "hls-md5"),
        (AuthMechanism::HighSha1, "hls-sha1"),
        (AuthMechanism::HighGmac, "hls-gmac"),
        (AuthMechanism::HighSha256, "hls-sha256"),
    ] {
        let habits = Habits { mechanism, ..Habits::open() };
        let quirk = format!("security = {{ authentication = \"{name}\", policy = \"none\" }}");
        needs(habits, Attached::Wrapper, Work::Read, "", &quirk).await;
    }
}

#[tokio::test]
async fn signatures_on_both_curves_open_an_association() {
    for (suite, number) in [(SecuritySuite::Suite1, 1), (SecuritySuite::Suite2, 2)] {
        let policy = SecurityPolicy::authenticated_encrypted(suite);
        let habits = Habits { mechanism: AuthMechanism::HighEcdsa, policy, ..Habits::default() };
        let base = format!("security = {{ suite = {number} }}");
        let quirk = "security = { authentication = \"hls-ecdsa\" }";
        needs(habits, Attached::Wrapper, Work::Read, &base, quirk).await;
    }
}

#[tokio::test]
async fn a_meter_that_signs_with_another_key_is_not_believed() {
    let policy = SecurityPolicy::authenticated_encrypted(SecuritySuite::Suite1);
    let habits = Habits { mechanism: AuthMechanism::HighEcdsa, policy, ..Habits::default() };
    let keys = habits.keys_that_sign().expect("suite 1 signs");
    let (encryption, authentication) = habits.keys();
    let mut scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, Attached::Wrapper).await;
    scene.context.keys = Arc::new(TestKeys(DlmsKeys {
        encryption: Some(encryption),
        authentication: Some(authentication),
        // The gateway's own public key: a point of the curve, and not the meter's.
        meter_public: Some(keys.gateway.public_key()),
        signing: Some(keys.gateway),
        ..DlmsKeys::default()
    }));
    let model = model(&["security = { suite = 1, authentication = \"hls-ecdsa\" }"]);
    let report = scene.once(&model, Work::Read).await;
    assert!(
        matches!(&report.ending, Ending::NotSent { reason } if reason.starts_with("no association")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_no_association() {
    let habits = Habits { mechanism: AuthMechanism::Low, ..Habits::open() };
    let mut scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, Attached::Wrapper).await;
    let secret = Secret::new(b"battery staple").ok();
    scene.context.keys = Arc::new(TestKeys(DlmsKeys { secret, ..DlmsKeys::default() }));
    let lls = model(&["security = { authentication = \"lls\", policy = \"none\" }"]);
    let report = scene.once(&lls, Work::Read).await;
    assert!(
        matches!(&report.ending, Ending::NotSent { reason } if reason.starts_with("no association")),
        "{report:?}"
    );
}

#[tokio::test]
async fn every_policy_and_suite_is_spoken() {
    let both = SecurityPolicy::authenticated_encrypted;
    for (policy, quirk) in [
        (SecurityPolicy { encrypted: false, ..both(SecuritySuite::Suite0) }, "policy = \"authenticated\""),
        (SecurityPolicy { authenticated: false, ..both(SecuritySuite::Suite0) }, "policy = \"encrypted\""),
        (both(SecuritySuite::Suite1), "suite = 1"),
        (both(SecuritySuite::Suite2), "suite = 2"),
    ] {
        let habits = Habits { policy, ..Habits::default() };
        needs(habits, Attached::Wrapper, Work::Read, "", &format!("security = {{ {quirk} }}")).await;
    }
}

#[tokio::test]
async fn general_ciphering_and_dedicated_keys_are_for_meters_that_take_nothing_else() {
    let habits = Habits { hears: habits::general, ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "", "security = { ciphering = \"general\" }").await;
    let habits = Habits { hears: habits::dedicated, ..Habits::default() };
    needs(habits, Attached::Wrapper, Work::Read, "", "security = { dedicated_key = true }").await;
}

#[tokio::test]
async fn only_the_services_of_the_model_are_proposed() {
    let habits = Habits { hears: habits::modest_proposals, ..Habits::open() };
    let quirk = "association = { services = [\"get\", \"set\", \"action\", \"get-blocks\"] }";
    needs(habits, Attached::Wrapper, Work::Read, OPEN, quirk).await;
}

#[tokio::test]
async fn a_meter_whose_counters_restart_is_read_again() {
    let habits = Habits { counter_restarts: true, ..Habits::default() };
    let scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, Attached::Wrapper).await;
    let first = scene.once(&model(&[]), Work::Read).await;
    assert_eq!(first.ending, Ending::Done, "{:?}", first.evidence);
    let again = scene.once(&model(&[]), Work::Read).await;
    assert!(
        matches!(&again.ending, Ending::NotSent { reason } if reason.contains("Replay")),
        "{:?}",
        again.ending
    );
    let restarting = model(&["security = { answer_counters = \"restart\" }"]);
    for _ in 0..2 {
        let report = scene.once(&restarting, Work::Read).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    }
}

/// Two meters share the connection of a converter; the first is deaf after an RLRQ, and so is everything behind it.
#[tokio::test]
async fn a_meter_that_is_lost_after_an_rlrq_is_left_by_closing_the_link() {
    let habits = Habits { deaf_after_rlrq: true, ..Habits::default() };
    for (settings, comes_back) in [("", false), ("association = { release = \"link-only\" }", true)] {
        let meter = shared(TestMeter { habits: habits.clone(), ..TestMeter::new(SERIAL) });
        let (ours, theirs) = tokio::io::duplex(4_096);
        tokio::spawn(serve(theirs, vec![(meter.clone(), Attached::Bus(17))], Duration::ZERO));
        let (context, model) = (context(), model(&[settings]));
        let mut talker = DlmsTalker::bus_on(Pipe::new(ours, Arc::default(), None));
        let at = endpoint(SERIAL, "17", Framing::Hdlc);
        let first = perform_as(&mut talker, &context, &at, &model, Work::Read).await;
        assert_eq!(first.ending, Ending::Done, "{:?}", first.evidence);
        talker.release().await;
        let again = perform_as(&mut talker, &context, &at, &model, Work::Read).await;
        assert_eq!(again.ending == Ending::Done, comes_back, "{settings:?}: {:?}", again.evidence);
    }
}

#[tokio::test]
async fn a_meter_with_one_session_is_left_as_soon_as_the_work_is_done() {
    for (settings, kept) in [("", true), ("association = { keep_open = false }", false)] {
        let scene = Scene::new(TestMeter::new(SERIAL), Attached::Wrapper).await;
        let mut talker = DlmsTalker::network(Arc::default());
        let model = model(&[settings]);
        let report = perform_as(&mut talker, &scene.context, &scene.at, &model, Work::Read).await;
        assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
        assert_eq!(talker.open_meter().is_some(), kept, "{settings:?}");
    }
}

#[tokio::test]
async fn a_meter_without_relay_and_token_gateway_is_read_and_refuses_the_rest_by_name() {
    let scene = Scene::new(TestMeter::new(SERIAL), Attached::Wrapper).await;
    let plain = model(&[
        "objects = { account = \"\", credit = \"\", token_gateway = \"\", disconnect_control = \"\", power = \"\" }",
    ]);
    let report = scene.once(&plain, Work::Commission).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    assert_eq!((report.facts.import_wh, report.facts.credit_wh), (Some(987_650), None));
    for (work, lacks) in
        [(Work::Disconnect, "disconnect control"), (Work::DeliverToken(token()), "token gateway")]
    {
        let reason = format!("a reference prepaid meter has no {lacks}");
        assert_eq!(scene.once(&plain, work).await.ending, Ending::Rejected { reason, code: None });
    }
}
