//! New firmware for a street: one meter first, the others when that one runs it; the gateway is killed in the middle of a transfer
//! and goes on by the meter's own bitmap.

use firmware::image::format::Version;
use serde_json::{Value, json};
use simulator::vendor::firmware_image;
use std::time::{Duration, Instant};
use tests::{GatewayProcess, Street};

const METERS: usize = 3;
/// Long enough for a kill in the middle: some eight hundred blocks.
const PROGRAM: usize = 200_000;
const OVER_WITHIN: Duration = Duration::from_secs(240);

fn until<T>(gateway: &GatewayProcess, what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + OVER_WITHIN;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} in time\n{}", gateway.process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn progress(gateway: &GatewayProcess, id: &str) -> Value {
    gateway.get(&format!("/bulk-commands/{id}"))["meters"].clone()
}

#[test]
fn an_image_reaches_one_meter_and_then_the_others_over_a_kill_and_each_says_its_new_version() {
    let street = Street::start(METERS as u32, "wrapper", &[]);
    let mut gateway = GatewayProcess::start();
    let serials: Vec<String> = (1..=METERS)
        .map(|number| street.meter(number)["serial"].as_str().expect("a serial number").to_owned())
        .collect();
    for (at, serial) in serials.iter().enumerate() {
        gateway.add_meter(serial, &format!("{}:{}", street.host(at + 1), street.port), "wrapper");
    }
    serials.iter().for_each(|serial| gateway.until_commissioned(serial));
    // A transfer takes eight seconds or more: there is time to look and to kill in its middle on any machine.
    for number in 1..=METERS {
        street.act(&format!("/meters/{number}/faults"), &json!({ "fault": "slow_meter", "delay_ms": 10 }));
    }
    let image = firmware_image(Version(1, 2, 3), &vec![0x42; PROGRAM]).expect("an image");
    let file = gateway.folder().path().join("new.image");
    std::fs::write(&file, image).expect("written");
    let file = file.to_str().expect("a path of ours is text");
    let about = ["--identifier", "MGW-SIM 1.2.3", "--version", "1.2.3"];
    gateway.must(&[["image", "add", "v123", file].as_slice(), &about].concat());
    let (code, said) = gateway.run(&[["image", "add", "v123", file].as_slice(), &about].concat());
    assert_eq!(code, Some(65), "an image is never changed: {said}");
    let (code, said) = gateway.run(&["image", "send", "v999", &serials[0]]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("there is no image \"v999\""), "{said}");

    let preview = ["bulk", "preview", "update_image", "--image", "v123", "--canary", "1", "--text", "a fix"];
    let said = gateway.must(&preview);
    let id =
        said.lines().last().and_then(|line| line.rsplit(' ').next()).expect("how to start it").to_owned();
    gateway.must(&["bulk", "start", &id]);
    until(&gateway, "the middle of the first transfer", || {
        let commands = gateway.get("/commands?limit=10");
        let sent = |command: &Value| {
            command["kind"] == "update_image"
                && command["outcome"].as_str().is_some_and(|line| line.contains("% of its blocks"))
        };
        commands.as_array().into_iter().flatten().any(sent).then_some(())
    });
    assert_eq!(progress(&gateway, &id)["waiting"], METERS - 1, "the others wait for the first");
    gateway.kill();
    gateway.start_again();
    let done = until(&gateway, "all meters to run it", || {
        let bulk = gateway.get(&format!("/bulk-commands/{id}"));
        assert_ne!(bulk["state"], "paused", "{bulk:#}");
        (bulk["state"] == "done").then_some(bulk)
    });
    assert_eq!(done["meters"], json!({"done": METERS}), "{done:#}");
    let commands = gateway.get("/commands?limit=100");
    let images: Vec<&Value> = commands
        .as_array()
        .into_iter()
        .flatten()
        .filter(|command| command["kind"] == "update_image")
        .collect();
    assert_eq!(images.len(), METERS, "each meter was told once");
    let first = gateway.get(&format!("/commands/{}", images.last().expect("the first")["id"]));
    let evidence = first.to_string();
    assert_eq!(evidence.matches("initiate MGW-SIM 1.2.3").count(), 1, "it went on where it was: {first:#}");
    assert!(evidence.contains("firmware version: 1.2.3"), "{first:#}");
    let again = gateway.must(&["image", "send", "v123", &serials[0]]);
    assert!(again.contains("the meter has the image"), "{again}");
}
