//! Sessions that are recorded and run again: nothing secret is written down, the same session goes through, another one is
//! told from it.

use super::habits::{Habits, SECRET};
use super::quirks::{Scene, model, model_text};
use super::*;
use crate::explain::{Keys, explain, read_input};
use crate::session::record::{Recording, Recordings, replay};
use protocol::codec::acse::AuthMechanism;
use protocol::dlms::security::{SecurityPolicy, SecuritySuite};

const FOR: Duration = Duration::from_secs(60);

/// Records these pieces of work with a meter of these habits.
async fn record(habits: Habits, attached: Attached, changes: &[&str], works: &[Work]) -> String {
    let scene = Scene::new(TestMeter { habits, ..TestMeter::new(SERIAL) }, attached).await;
    let serial = Serial(SERIAL.into());
    let now = scene.context.clock.now();
    scene.context.recordings.start(&serial, "quirky", now, FOR).expect("room for one");
    let (model, mut talker) = (model(changes), DlmsTalker::network(Arc::default()));
    for work in works {
        perform_as(&mut talker, &scene.context, &scene.at, &model, work.clone()).await;
    }
    talker.release().await;
    scene.context.recordings.text(&serial).expect("recorded").0
}

/// The models with one of this name.
fn models(changes: &[&str]) -> Models {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("random numbers");
    let dir = std::env::temp_dir().join(format!("models-{:016x}", u64::from_be_bytes(random)));
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("quirky.toml"), model_text(changes)).expect("a file");
    let models = Models::load(Some(&dir)).expect("good");
    std::fs::remove_dir_all(&dir).expect("ours");
    models
}

fn works() -> Vec<Work> {
    let other = TokenDigits::new("99999999999999999999").expect("twenty digits");
    vec![
        Work::Commission,
        Work::DeliverToken(token()),
        Work::DeliverToken(other),
        Work::Disconnect,
        Work::Read,
    ]
}

#[tokio::test]
async fn a_session_is_recorded_without_secrets_and_goes_the_same_way_again() {
    let text = record(Habits::default(), Attached::Wrapper, &[], &works()).await;
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let titles: [&[u8]; 2] = [b"MGW\xFE\0\0\0\x01", b"MGW\0\0\0\0\x01"];
    for secret in [SERIAL.as_bytes(), TOKEN.as_bytes(), &[b'9'; 20], &EK, &AK, titles[0], titles[1]] {
        assert!(!bare.contains(&hex(secret)), "{secret:?} in\n{text}");
    }
    assert!(!text.contains(SERIAL) && !text.contains(TOKEN), "{text}");
    let replayed =
        replay(&text, &models(&[])).await.unwrap_or_else(|difference| panic!("{difference}\n{text}"));
    assert_eq!(replayed.works, 5);
    assert_eq!(replayed.requests, text.lines().filter(|line| line.contains(" sent ")).count());
}

#[tokio::test]
async fn what_was_learnt_of_a_meter_before_its_recording_is_asked_again_in_it() {
    let scene = Scene::new(TestMeter::new(SERIAL), Attached::Wrapper).await;
    let (serial, recordings) = (Serial(SERIAL.into()), &scene.context.recordings);
    let (model, mut talker) = (model(&[]), DlmsTalker::network(Arc::default()));
    let report = perform_as(&mut talker, &scene.context, &scene.at, &model, Work::Read).await;
    assert_eq!(report.ending, Ending::Done, "{:?}", report.evidence);
    // The second recording begins while the association of the first is open.
    for _ in 0..2 {
        recordings.start(&serial, "quirky", scene.context.clock.now(), FOR).expect("room for one");
        for work in [Work::Read, Work::Disconnect] {
            perform_as(&mut talker, &scene.context, &scene.at, &model, work).await;
        }
        let text = recordings.text(&serial).expect("recorded").0;
        let replayed = replay(&text, &models(&[])).await;
        let replayed = replayed.unwrap_or_else(|difference| panic!("{difference}\n{text}"));
        assert_eq!(replayed.works, 2);
    }
}

#[tokio::test]
async fn every_authentication_and_protection_is_replayed() {
    let both = SecurityPolicy::authenticated_encrypted;
    let gmac = |policy| Habits { policy, ..Habits::default() };
    let plain = |mechanism| Habits { mechanism, ..Habits::open() };
    for (habits, attached, quirk) in [
        (
            plain(AuthMechanism::Low),
            Attached::HdlcTcp,
            "security = { authentication = \"lls\", policy = \"none\" }",
        ),
        (
            plain(AuthMechanism::HighMd5),
            Attached::Wrapper,
            "security = { authentication = \"hls-md5\", policy = \"none\" }",
        ),
        (
            plain(AuthMechanism::HighSha256),
            Attached::Wrapper,
            "security = { authentication = \"hls-sha256\", policy = \"none\" }",
        ),
        (gmac(both(SecuritySuite::Suite2)), Attached::Wrapper, "security = { suite = 2 }"),
        (gmac(both(SecuritySuite::Suite0)), Attached::Wrapper, "security = { ciphering = \"general\" }"),
        (gmac(both(SecuritySuite::Suite0)), Attached::Wrapper, "security = { dedicated_key = true }"),
        (gmac(both(SecuritySuite::Suite0)), Attached::Wrapper, "association = { keep_open = false }"),
    ] {
        let text = record(habits, attached, &[quirk], &[Work::Read, Work::Disconnect]).await;
        let secret = SECRET.iter().map(|byte| format!("{byte:02X} ")).collect::<String>();
        assert!(!text.contains(secret.trim()), "{quirk}: the password is in\n{text}");
        let replayed = replay(&text, &models(&[quirk])).await;
        let replayed = replayed.unwrap_or_else(|difference| panic!("{quirk}: {difference}\n{text}"));
        assert_eq!(replayed.works, 2, "{quirk}");
    }
}

#[tokio::test]
async fn a_replay_names_the_first_difference_with_its_line() {
    let text = record(Habits::default(), Attached::Wrapper, &[], &[Work::Read]).await;
    // The recorded gateway asked with a list; this model does not propose any.
    let modest = "association = { services = [\"get\", \"set\", \"action\"] }";
    let other = replay(&text, &models(&[modest])).await.expect_err("another proposal");
    let line = text.lines().position(|line| line.contains(" sent ")).expect("a request") + 1;
    assert!(other.starts_with(&format!("line {line}: another request from byte")), "{other}");
    // A meter that answers otherwise leads to another ending.
    let refusing = text.replace("#: ending done", "#: ending rejected");
    let ending = replay(&refusing, &models(&[])).await.expect_err("another ending");
    assert!(ending.contains("ended rejected in the recording, now done"), "{ending}");
    // A request that is missing from the recording, and one too many in it.
    let release = text.rfind("\n+").expect("an APDU");
    let release = text[..release].rfind("\n+").expect("the request before it");
    let over = replay(&text[..=release], &models(&[])).await;
    assert!(over.expect_err("the release is missing").contains("the recording is over"));
    let longer = format!("{text}+9.000 sent glo C0 01 C1\n");
    let more = replay(&longer, &models(&[])).await.expect_err("one more");
    assert!(more.ends_with("this was not asked now"), "{more}");
}

#[tokio::test]
async fn a_recording_is_explained() {
    let text = record(Habits::default(), Attached::Wrapper, &[], &[Work::Read]).await;
    let streams = read_input(text.as_bytes()).expect("it is text with hex in it");
    assert_eq!(
        streams.len(),
        Recording::parse(&text).expect("good").entries.len() - 4,
        "each APDU, no directive"
    );
    let explanation = explain(&streams, Keys::default());
    assert!(explanation.broken.is_empty(), "{:?}", explanation.broken);
}

#[tokio::test]
async fn a_recording_has_an_end_and_there_are_not_too_many() {
    let recordings = Recordings::default();
    let now = jiff::Timestamp::now();
    for number in 0..16 {
        recordings.start(&Serial(number.to_string()), "m", now, FOR).expect("room");
    }
    assert!(recordings.start(&Serial("17".into()), "m", now, FOR).is_err());
    recordings.start(&Serial("3".into()), "m", now, FOR).expect("its own place");
    assert!(recordings.start(&Serial("3".into()), "m", now, Duration::from_secs(9_000)).is_err());
    assert!(recordings.running(&Serial("3".into())).is_some());
    assert!(
        recordings.running(&Serial("99".into())).is_none() && recordings.text(&Serial("99".into())).is_none()
    );
}
