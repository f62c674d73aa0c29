//! Wrong input at the command line: an exact message, an exit code that fits, and nothing changed. The API's own refusals,
//! one by one, stand beside it (`gateway/src/api/tests.rs`); refused configurations in `bad_config.rs`.

use tests::{GatewayProcess, Street};

const EX_DATA: i32 = 65;
const EX_UNAVAILABLE: i32 = 69;
const EX_PERMISSION: i32 = 77;

#[test]
fn wrong_input_is_refused_exactly_and_changes_nothing() {
    let street = Street::start(1, "wrapper", &[]);
    let serial = street.meter(1)["serial"].as_str().expect("a serial number").to_owned();
    let gateway = GatewayProcess::start();
    gateway.add_meter(&serial, &format!("{}:{}", street.host(1), street.port), "wrapper");
    gateway.until_commissioned(&serial);
    let before = changes(&gateway);

    let beyond = "the amount is beyond a token's range: one token carries at most 1820162.4 kWh, which costs 54604872 minor units";
    for (who, amount, message) in [
        ("01000000099", "500", "there is no meter 01000000099"),
        (&serial, "0", "the amount must be above zero, it is zero"),
        (&serial, "-5", "the amount must be above zero, it is -5"),
        (&serial, "0.5", "amount 0.5 is a fraction of the smallest unit, 0.01 EUR"),
        (&serial, "100000000", beyond),
        (
            &serial,
            "ten",
            "amount \"ten\" is not a whole number of minor units (the smallest unit is 0.01 EUR)",
        ),
    ] {
        refused(gateway.top_up(who, amount), EX_DATA, message);
    }
    let folder = gateway.folder();
    let wrong = folder.file("wrong.secret", "not the secret of the till");
    let wrong = wrong.to_str().expect("text");
    refused(
        gateway.run(&["top-up", &serial, "500", "--channel", "till", "--secret-file", wrong]),
        EX_PERMISSION,
        "the signature is not one of channel till over this request",
    );
    refused(
        gateway.run(&["disconnect", &serial]),
        EX_DATA,
        "a disconnect needs a reason: one of planned, fault",
    );
    refused(
        gateway.run(&["disconnect", &serial, "--reason", "spite"]),
        EX_DATA,
        "reason \"spite\" is none of planned, fault, peak_avoidance, breach_of_contract, arrears",
    );
    refused(gateway.run(&["read", "nobody"]), EX_DATA, "there is no meter nobody");
    let mut stranger = gateway.command(&["meter", "list"]);
    stranger.env("METER_GATEWAY_TOKEN", "guess");
    refused(finish(&mut stranger), EX_PERMISSION, "");
    let mut lost = gateway.command(&["meter", "list"]);
    lost.env("METER_GATEWAY_URL", "http://127.0.0.1:9");
    refused(finish(&mut lost), EX_UNAVAILABLE, "no gateway at http://127.0.0.1:9: ");

    assert_eq!(changes(&gateway), before, "a refused request changed something");
    assert_eq!(street.look("/meters/1")["contact_closed"], true);
}

#[test]
fn a_csv_with_bad_rows_gives_the_good_ones_and_says_which_were_not_taken() {
    let gateway = GatewayProcess::start();
    let keys = "000102030405060708090A0B0C0D0E0F,D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF";
    let file = gateway.folder().file(
        "meters.csv",
        &format!(
            "serial,line,address,framing,model,sgc,ek,ak\n\
             01000000016,street,127.0.0.1:9,wrapper,reference-dlms,123457,{keys}\n\
             01000000017,street,127.0.0.1:10,wrapper,reference-dlms,123457,{keys}\n\
             01000000024,street,127.0.0.1:9,wrapper,reference-dlms,123457,{keys}\n\
             01000000032,street,127.0.0.1:11,hdlc,reference-dlms,123457,{keys}\n"
        ),
    );
    let path = file.to_str().expect("text");
    let (code, said) = gateway.run(&["meter", "import", path]);
    assert_eq!(code, Some(EX_DATA), "{said}");
    for line in [
        "2 meters entered".to_owned(),
        format!("{path}:3: 01000000017: serial 01000000017 has a wrong check digit"),
        format!(
            "{path}:4: 01000000024: address 127.0.0.1:9 on line street belongs to meter 01000000016 already"
        ),
        format!("meter-gateway: 2 rows of {path} were not taken"),
    ] {
        assert!(said.lines().any(|said| said == line), "no line {line:?} in\n{said}");
    }
    let listed = gateway.get("/meters");
    let serials: Vec<_> = listed.as_array().expect("a list").iter().map(|meter| &meter["serial"]).collect();
    assert_eq!(serials, ["01000000016", "01000000032"]);
}

#[test]
fn a_token_of_the_wrong_length_is_refused_at_the_command_line() {
    for (token, message) in
        [("1234567890123456789", "field `token`"), ("123456789012345678901", "field `token`")]
    {
        let folder = tests::Folder::new("token");
        let request = folder.file("request.json", &serde_json::json!({"token": token}).to_string());
        let mut decode = tests::program("meter-gateway");
        decode.args(["token", "decode", "--json"]);
        let output =
            decode.stdin(std::fs::File::open(request).expect("just written")).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(EX_DATA), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(!said.contains(token), "token digits are not repeated: {said}");
    }
}

fn finish(command: &mut std::process::Command) -> (Option<i32>, String) {
    tests::Process::start(command).finish(std::time::Duration::from_secs(30))
}

fn refused((code, said): (Option<i32>, String), expected: i32, message: &str) {
    assert!(
        said.starts_with(&format!("meter-gateway: {message}")),
        "should say {message:?} and said:\n{said}"
    );
    assert_eq!(code, Some(expected), "{said}");
}

/// Everything that a request could have changed: money, payments and commands.
fn changes(gateway: &GatewayProcess) -> String {
    let count = |path: &str| gateway.get(path).as_array().map(Vec::len);
    format!("{} {:?} {:?}", gateway.get("/accounts/balance"), count("/top-ups"), count("/commands"),)
}
