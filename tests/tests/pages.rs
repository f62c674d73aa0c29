//! Both pages as a person uses them, in a real browser: what is pressed is held against the meter itself, and against what the
//! page shows then.

use serde_json::{Value, json};
use tests::browser::Browser;
use tests::{GatewayProcess, Street};

/// The browser at the page of meter 1 of a street whose meters wait for their button.
struct Person {
    street: Street,
    browser: Browser,
}

impl Person {
    fn at_a_meter() -> Self {
        // A street where a relay is armed by credit and closed by the person at the meter.
        let street = Street::train("N03");
        let mut browser = Browser::start();
        browser.open(street.page());
        let serial = street.meter(1)["serial"].as_str().expect("a meter has a serial number");
        browser.until_shown("tbody tr:first-child", serial);
        browser.click("tbody tr:first-child a", None);
        browser.until("the meter's own page", "document.body.dataset.meter === '1'");
        browser.until("its script", "document.readyState === 'complete'");
        Self { street, browser }
    }

    /// What the simulator says of the meter.
    fn meter(&self) -> Value {
        self.street.look("/meters/1")
    }

    fn press(&mut self, button: &str) {
        self.browser.click("button", Some(button));
    }

    /// Waits until the page answers this to what was pressed.
    fn answered(&mut self, text: &str) {
        self.browser.until_shown("#answer", text);
    }

    /// Waits until the front panel shows this.
    fn shown(&mut self, text: &str) {
        self.browser.until_shown("section[data-source]", text);
    }

    fn fill(&mut self, field: &str, text: &str, button: &str) {
        self.browser.type_into(field, text);
        self.press(button);
    }
}

#[test]
fn chromium_credit_runs_out_a_token_is_typed_and_the_button_closes_the_relay() {
    let mut person = Person::at_a_meter();
    person.shown("Supply on");
    person.fill("#watts", "3000", "Switch");
    person.answered("done");
    assert_eq!(person.meter()["extra_load_w"], 3000);
    person.fill("#advance", "1h", "Pass");
    person.shown("off: no credit");
    assert_eq!(person.meter()["contact_closed"], false);

    person.press("Press the button");
    person.answered("not now");
    assert_eq!(person.meter()["contact_closed"], false);

    let token = person.street.token(1, 20_000, 0);
    person.fill("#keys", &token, "Enter");
    person.answered("CREDIT");
    assert_eq!(person.meter()["credited_wh"], 20_000);
    assert_eq!(person.browser.evaluate("document.getElementById('keys').value"), "", "digits do not stay");
    person.shown("armed");
    person.fill("#keys", &token, "Enter");
    person.answered("used on this meter before");
    assert_eq!(person.meter()["credited_wh"], 20_000);

    person.press("Press the button");
    person.answered("supply closed");
    assert_eq!(person.meter()["contact_closed"], true);
    person.shown("Supply on");
    assert_eq!(person.browser.exceptions(), [""; 0]);
}

#[test]
fn chromium_power_is_cut_and_comes_back_and_faults_begin_and_end() {
    let mut person = Person::at_a_meter();
    let lives = person.meter()["lives"].as_u64().unwrap();
    person.press("Cut power");
    person.shown("no power");
    assert_eq!(person.meter()["powered"], false);
    assert_eq!(person.browser.text("ol.display"), "", "the display is dark");
    person.press("Press the button");
    person.answered("power");
    person.press("Restore power");
    person.shown("CREDIT");
    person.shown(&format!("started {} times", lives + 1));
    let back = person.meter();
    assert_eq!((back["powered"].clone(), back["lives"].as_u64()), (json!(true), Some(lives + 1)));

    person.browser.choose("#fault", "relay_welded");
    person.press("Begin");
    person.shown("end relay_welded");
    person.press("Open cover");
    person.shown("end cover_open");
    assert_eq!(person.meter()["faults"].as_array().map(Vec::len), Some(2), "{}", person.meter());
    person.press("end relay_welded");
    person.browser.until("the fault to be gone", "!document.body.innerText.includes('end relay_welded')");
    assert_eq!(person.meter()["faults"], json!(["cover_open"]));
    person.press("Close cover");
    person.shown("nothing is wrong");
    assert_eq!(person.meter()["faults"], json!([]));

    person.browser.click("header a", Some("all meters"));
    person.browser.until("the street's page", "document.body.dataset.meter === undefined");
    person.browser.until_shown("tbody", person.street.meter(1)["serial"].as_str().unwrap());
    assert_eq!(person.browser.exceptions(), [""; 0]);
}

fn page_link(gateway: &GatewayProcess) -> String {
    let made = gateway.command(&["page-link"]).output().expect("the command line starts");
    String::from_utf8(made.stdout).expect("a link is text").trim().to_owned()
}

/// The row's credit is so many tenths of a kilowatt-hour: the household uses a little meanwhile.
fn credit_shown(row: &str, tenths: &str) -> String {
    format!(r"/^{tenths}\d kWh$/m.test(document.querySelector('{row}').innerText)")
}

#[test]
fn chromium_the_gateways_page_opens_by_its_link_once_and_follows_a_top_up_to_verified() {
    let street = Street::start(1, "wrapper", &["--balance-wh", "700"]);
    let gateway = GatewayProcess::start();
    let serial = street.meter(1)["serial"].as_str().unwrap().to_owned();
    gateway.add_meter(&serial, &format!("{}:{}", street.host(1), street.port), "wrapper");
    gateway.until_commissioned(&serial);

    let mut browser = Browser::start();
    browser.open(&format!("http://{}/", gateway.address()));
    browser.until_shown("body", "opens through a link that works once");
    let link = page_link(&gateway);
    browser.open(&link);
    browser.until_shown("#live", "live");
    let row = format!("#meter-{serial}");
    browser.until("its credit", &credit_shown(&row, r"0\.[67]"));
    browser.evaluate("document.body.dataset.opened = 'once'");

    let (code, said) = gateway.top_up(&serial, "900");
    assert_eq!(code, Some(0), "{said}");
    browser.until_shown("#log", "verified");
    browser.until("its new credit", &credit_shown(&row, r"30\.[67]"));
    browser.until_shown("#summary", "9.00 EUR\nreceived");
    browser.until_shown("#summary", "9.00 EUR\ncredit accepted");
    // Every step was told, each once, the newest on top; and by events, for the page was never loaded again.
    let log = browser.text("#log");
    let top_up = log.lines().rev().filter(|line| line.starts_with("top-up #")).collect::<Vec<_>>();
    let steps: Vec<&str> = top_up.iter().filter_map(|line| line.split([' ', ':']).nth(2)).collect();
    assert_eq!(steps, ["recorded", "queued", "sending", "accepted", "verified"], "{log}");
    assert_eq!(browser.evaluate("document.body.dataset.opened"), "once");
    // The meter says the same.
    assert_eq!(street.look("/meters/1")["credited_wh"], 30_000);

    browser.click("body", None);
    assert_eq!(browser.exceptions(), [""; 0]);
    let mut stranger = Browser::start();
    stranger.open(&link);
    stranger.until_shown("body", "opens through a link that works once");
}
