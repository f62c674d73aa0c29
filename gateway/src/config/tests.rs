use super::*;
use crate::session::directory::Framing;

struct Bench;

impl Surroundings for Bench {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        match path.to_str() {
            Some("/etc/mg/shop.secret") => Ok("0123456789abcdef0123\n".into()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        }
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "BANK_SECRET").then(|| "fedcba98765432100000".into())
    }
    fn has_port(&self, path: &str) -> bool {
        path.starts_with("/dev/pts/") || ["/dev/ttyUSB0", "/dev/ttyUSB1"].contains(&path)
    }
}

const HEAD: &str = r#"[api]
listen = "127.0.0.1:8080"
[store]
path = "store.db"
[vault]
master_key_file = "master.key"
[price]
currency = "EUR"
minor_per_kwh = "25.34"
"#;

fn parse(rest: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{HEAD}{rest}"), Path::new("/etc/mg/gateway.toml"), &Bench)
}

fn refusal(rest: &str) -> String {
    parse(rest).expect_err("the config should be refused").to_string()
}

#[test]
fn a_whole_substation_is_understood_and_paths_are_relative_to_the_file() {
    let config = parse(
        r#"
[[line]]
name = "street"
kind = "tcp"
area = "T1"
[[line]]
name = "rs485-1"
kind = "serial"
port = "/dev/pts/7"
baud = 19200
parity = "even"
protocol = "dlms-hdlc"
[[line]]
name = "feeder"
kind = "modbus-tcp"
address = "127.0.0.1:1502"
[[channel]]
id = "shop"
secret_file = "shop.secret"
[[channel]]
id = "bank"
secret_env = "BANK_SECRET"
"#,
    )
    .unwrap();
    assert!(matches!(&config.store, Place::File(path) if path == Path::new("/etc/mg/store.db")));
    assert_eq!(config.price.per_kwh_e4, 253_400);
    assert_eq!(config.channels[0].secret, ChannelSecret::Plain(b"0123456789abcdef0123".to_vec()));
    assert_eq!(config.line("street").unwrap().area.as_deref(), Some("T1"));
    assert_eq!(
        config.line("rs485-1").unwrap().kind,
        LineKind::Serial {
            port: "/dev/pts/7".into(),
            baud: 19200,
            parity: Parity::Even,
            protocol: SerialProtocol::DlmsHdlc
        }
    );
    assert!(config.line("feeder").unwrap().kind.is_modbus());
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let message = refusal("[schedule]\nread_intervall_s = 5\n");
    assert!(message.starts_with("/etc/mg/gateway.toml:11: unknown field `read_intervall_s`"), "{message}");
    let message = refusal("[[line]]\nname = \"a\"\nkind = \"tcp\"\nhost = \"x\"\n");
    assert!(message.starts_with("/etc/mg/gateway.toml:13: unknown field `host`"), "{message}");
}

#[test]
fn two_lines_of_one_name_are_refused_naming_both_places() {
    let message = refusal("[[line]]\nname = \"a\"\nkind = \"tcp\"\n[[line]]\nname = \"a\"\nkind = \"tcp\"\n");
    assert_eq!(message, "/etc/mg/gateway.toml:14: line name \"a\" is already used on line 11");
}

#[test]
fn one_wire_has_one_owner() {
    let line = |name: &str| {
        format!("[[line]]\nname = \"{name}\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:502\"\n")
    };
    let message = refusal(&format!("{}{}", line("a"), line("b")));
    assert_eq!(
        message,
        "/etc/mg/gateway.toml:17: address 127.0.0.1:502 already belongs to line \"a\" (line 13); a wire has one owner"
    );
}

#[test]
fn a_serial_port_that_is_not_there_is_named() {
    let message = refusal(
        "[[line]]\nname = \"a\"\nkind = \"serial\"\nprotocol = \"modbus-rtu\"\nport = \"/dev/ttyUSB9\"\n",
    );
    assert_eq!(message, "/etc/mg/gateway.toml:14: serial port /dev/ttyUSB9 does not exist");
}

#[test]
fn a_key_of_another_kind_of_line_is_refused() {
    let message = refusal("[[line]]\nname = \"a\"\nkind = \"tcp\"\nbaud = 9600\n");
    assert_eq!(
        message,
        "/etc/mg/gateway.toml:13: baud belongs to lines of kind serial or serial-over-tcp, this one is tcp"
    );
}

#[test]
fn channels_need_a_good_secret() {
    assert_eq!(
        refusal("[[channel]]\nid = \"shop\"\n"),
        "/etc/mg/gateway.toml:11: channel \"shop\" needs exactly one of secret, secret_file and secret_env"
    );
    assert_eq!(
        refusal("[[channel]]\nid = \"shop\"\nsecret_env = \"NOPE\"\n"),
        "/etc/mg/gateway.toml:12: environment variable NOPE is not set"
    );
}

#[test]
fn secrets_never_reach_debug_output() {
    let config = parse("[[channel]]\nid = \"bank\"\nsecret_env = \"BANK_SECRET\"\n").unwrap();
    assert!(!format!("{config:?}").contains("fedcba"));
}

#[test]
fn a_price_is_exact_or_refused() {
    assert_eq!(Price::new("EUR", 2, "0.0001").unwrap().per_kwh_e4, 1);
    assert!(Price::new("EUR", 2, "0.00001").unwrap_err().contains("more than four decimals"));
    assert!(Price::new("EUR", 2, "0").unwrap_err().contains("above 0"));
    assert!(Price::new("EUR", 2, "-1").unwrap_err().contains("above 0"));
    assert!(Price::new("euro", 2, "1").unwrap_err().contains("ISO 4217"));
}

#[test]
fn a_demo_clock_goes_on_after_a_restart_where_it_would_have_been() {
    let config =
        parse("[clock]\nspeed = 60\norigin = \"2026-01-01T00:00:00Z\"\nstarted = \"2026-11-21T12:00:00Z\"\n")
            .unwrap();
    let restarted: Timestamp = "2026-11-21T12:10:00Z".parse().unwrap();
    let now = config.clock.clock(restarted).now();
    let expected: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
    assert!(now.duration_since(expected) < SignedDuration::from_mins(10), "{now}");
    assert!(now >= expected);
    assert!(refusal("[clock]\nspeed = 60\n").contains("clock origin is needed"));
}

#[test]
fn the_example_is_good() {
    let text = include_str!("../../gateway.example.toml");
    let config = Config::parse(text, Path::new("/etc/mg/gateway.toml"), &Bench).unwrap();
    let names: Vec<_> = config.lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["street", "bus", "modbus", "feeder"]);
    assert_eq!(config.schedule.read_interval, Duration::from_secs(900));
}

#[test]
fn a_sinks_url_says_what_is_at_the_other_side() {
    let config = parse(
        r#"
[[sink]]
name = "utility"
url = "mqtt://broker.example"
topic = "substations/north"
user = "gw"
password_env = "BANK_SECRET"
[[sink]]
name = "fleet"
url = "nats://127.0.0.1:4333"
stream = "facts"
[[sink]]
name = "hook"
url = "http://127.0.0.1:9/meters"
secret_file = "shop.secret"
"#,
    )
    .unwrap();
    let [utility, fleet, hook] = &config.sinks[..] else { panic!("{:?}", config.sinks) };
    let SinkKind::Mqtt(broker) = &utility.kind else { panic!("{utility:?}") };
    assert_eq!((broker.host.as_str(), broker.port), ("broker.example", 1883));
    assert_eq!(broker.topic, "substations/north");
    assert_eq!(broker.login.as_ref().map(|login| login.password.reveal()), Some("fedcba98765432100000"));
    let SinkKind::Nats(server) = &fleet.kind else { panic!("{fleet:?}") };
    assert_eq!(
        (server.port, server.stream.as_str(), server.subject.as_str()),
        (4333, "facts", "meter-gateway")
    );
    assert!(matches!(&hook.kind, SinkKind::Webhook(endpoint) if endpoint.url.path() == "/meters"));
    assert!(!format!("{config:?}").contains("fedcba"));
}

#[test]
fn a_sink_that_cannot_work_is_refused_with_its_line_and_the_remedy() {
    let refused = |rest: &str| refusal(&format!("[[sink]]\nname = \"a\"\n{rest}"));
    for (rest, said) in [
        (
            "url = \"amqp://x\"\n",
            "12: a sink's url begins with one of mqtt, mqtts, nats, nats+tls, http, https; \"amqp\" is none",
        ),
        (
            "url = \"mqtt://x\"\nstream = \"y\"\n",
            "13: stream means nothing for mqtt:, which takes topic, user, password_file, password_env",
        ),
        (
            "url = \"mqtt://u:p@x\"\n",
            "12: user and password belong into user and password_file, not into the url",
        ),
        (
            "url = \"mqtt://x\"\ntopic = \"a/+/b\"\n",
            "13: topic \"a/+/b\" must be words of letters, digits, '-' and '_', separated by '/'",
        ),
        (
            "url = \"nats://x\"\nsubject = \"a..b\"\n",
            "13: subject \"a..b\" must be words of letters, digits, '-' and '_', separated by '.'",
        ),
        ("url = \"mqtt://x\"\npassword_env = \"BANK_SECRET\"\n", "11: a password needs a user"),
        (
            "url = \"mqtt://x\"\nuser = \"u\"\n",
            "13: user \"u\" needs exactly one of password_file and password_env",
        ),
        ("url = \"http://x/\"\n", "12: sink \"a\" needs exactly one of secret_file and secret_env"),
        (
            "url = \"mqtts://x\"\nca_file = \"shop.secret\"\n",
            "13: ca_file /etc/mg/shop.secret: holds no certificate in PEM form",
        ),
        (
            "url = \"mqtt://x\"\n[[sink]]\nname = \"a\"\nurl = \"mqtt://y\"\n",
            "14: sink name \"a\" is used twice",
        ),
    ] {
        assert_eq!(refused(rest), format!("/etc/mg/gateway.toml:{said}"));
    }
}

#[test]
fn the_rules_of_disconnection_are_read_and_what_makes_no_sense_is_refused_with_its_line() {
    let config = parse(
        "[disconnection]\nzone = \"CST-8\"\nquiet_hours = \"20:00-08:00\"\nquiet_days = [\"sunday\"]\n\
         quiet_dates = [\"2026-10-01\"]\ndemands_min = 3\nsecond_person = []\nnotice_hours = { arrears = 168 }\n",
    )
    .expect("a good one");
    let rules = config.disconnection.rules;
    assert_eq!((rules.overdue_days, rules.demands_min, rules.second_person.len()), (30, 3, 0));
    assert_eq!(rules.notice_hours.into_iter().collect::<Vec<_>>(), [("arrears", 168)]);
    for (line, said) in [
        ("quiet_hours = \"20:00\"", "quiet_hours \"20:00\" is not two times, like \"20:00-08:00\""),
        ("quiet_days = [\"sonntag\"]", "\"sonntag\" is none of monday, tuesday"),
        ("quiet_dates = [\"2026-02-30\"]", "\"2026-02-30\" is not a date"),
        ("zone = \"Beijing\"", "zone \"Beijing\" is not a POSIX time zone"),
        ("second_person = [\"spite\"]", "\"spite\" is none of planned, fault"),
        ("notice_hours = { no_credit = 1 }", "\"no_credit\" is none of planned, fault"),
    ] {
        let refused = refusal(&format!("[disconnection]\n{line}\n"));
        assert!(refused.contains(said), "{refused}");
        assert!(refused.contains(":11: "), "the line is named: {refused}");
    }
}

fn with_store(store: &str) -> Result<Config, ConfigError> {
    Config::parse(&HEAD.replace("path = \"store.db\"", store), Path::new("/etc/mg/gateway.toml"), &Bench)
}

#[test]
fn a_store_on_a_server_has_its_password_apart_from_its_url() {
    let config =
        with_store("url = \"postgres://mg@db.example:5433/meters\"\npassword_env = \"BANK_SECRET\"").unwrap();
    let shown = format!("{:?}", config.store);
    assert_eq!(shown, "Server(postgres database meters at db.example:5433)", "and no password");
    let refused = |store: &str| with_store(store).unwrap_err().to_string();
    let leaked = refused("url = \"postgres://mg:hush@db.example/meters\"");
    assert!(leaked.contains("password_file or password_env") && !leaked.contains("hush"), "{leaked}");
    assert!(refused("url = \"mysql://db.example/meters\"").contains("begins with postgres:"));
    assert!(
        refused("path = \"a\"\nurl = \"postgres://db.example/meters\"")
            .contains("exactly one of path and url")
    );
    assert!(refused("path = \"a\"\npassword_env = \"BANK_SECRET\"").contains("a file has none"));
    assert!(refused("url = \"postgres://db.example/m\"\npassword_env = \"X\"").contains("X is not set"));
}

#[test]
fn a_line_where_meters_dial_in_says_how_they_say_who_they_are() {
    let line = |more: &str| {
        format!("[[line]]\nname = \"calls\"\nkind = \"tcp-in\"\naddress = \"192.0.2.1:4060\"\n{more}")
    };
    let kind = |more: &str| parse(&line(more)).unwrap().lines[0].kind.clone();
    let of = |hello, idle_s| LineKind::TcpIn {
        address: "192.0.2.1:4060".parse().unwrap(),
        hello,
        connections_max: 64,
        idle: Duration::from_secs(idle_s),
    };
    assert_eq!(kind("hello = \"line\"\nidle_s = 90\n"), of(Hello::Line, 90));
    assert_eq!(kind("hello = \"ip\"\n"), of(Hello::Ip, 86_400));
    assert_eq!(kind("hello = \"title\"\n"), of(Hello::Title, 86_400));
    let name = Hello::Name { model: "reference-dlms".into(), framing: Framing::Hdlc };
    assert_eq!(kind("hello = \"name\"\nframing = \"hdlc\"\n"), of(name, 86_400));
    assert!(refusal(&line("")).contains("needs hello"));
    let wrong = refusal(&line("hello = \"ip\"\nmodel = \"reference-dlms\"\n"));
    assert!(wrong.contains("model belongs to hello = \"name\""), "{wrong}");
    let elsewhere = refusal("[[line]]\nname = \"x\"\nkind = \"tcp\"\nidle_s = 9\n");
    assert!(elsewhere.contains("idle_s belongs to lines of kind tcp-in"), "{elsewhere}");
    assert!(refusal(&line("hello = \"horn\"\n")).contains("horn"));
}

#[test]
fn an_inbox_names_its_principals_and_what_they_may_do() {
    let inbox = |more: &str| format!("[[inbox]]\nname = \"control\"\nurl = \"nats://192.0.2.9\"\n{more}");
    let principal =
        "[[inbox.principal]]\nname = \"dispatcher\"\nscopes = [\"operate\"]\nsecret = \"dispatch\"\n";
    let config = parse(&inbox(principal)).unwrap();
    let found = &config.inboxes[0];
    assert_eq!((found.server.port, found.server.stream.as_str()), (4222, "meter-gateway-commands"));
    assert_eq!(found.server.subject, "meter-gateway-commands");
    assert_eq!((found.replies.as_str(), found.ack_wait.as_secs()), ("meter-gateway-replies", 30));
    assert_eq!(found.principals[0].scopes, [crate::store::access::Scope::Operate]);
    assert_eq!(found.principals[0].secret, ChannelSecret::Vault("dispatch".into()));
    for (more, said) in [
        (String::new(), "needs an [[inbox.principal]]"),
        (format!("{principal}{principal}"), "principal \"dispatcher\" is named twice"),
        (principal.replace("operate", "rule"), "scope \"rule\" is none of read, operate"),
        (principal.replace("dispatcher", "dis.patcher"), "principal name \"dis.patcher\" must be letters"),
        (
            principal.replace("secret = \"dispatch\"\n", ""),
            "needs exactly one of secret, secret_file and secret_env",
        ),
        (format!("replies = \"meter-gateway-commands.r\"\n{principal}"), "answers are no commands"),
        (format!("topic = \"x\"\n{principal}"), "topic"),
    ] {
        let refused = refusal(&inbox(&more));
        assert!(refused.contains(said), "{more}: {refused}");
    }
    let elsewhere = inbox(principal).replace("nats:", "mqtt:");
    assert!(refusal(&elsewhere).contains("begins with nats: or nats+tls:"));
    let twice = refusal(&format!("{0}{0}", inbox(principal)));
    assert!(twice.contains("inbox name \"control\" is used twice"), "{twice}");
    let short = principal.replace("secret = \"dispatch\"", "secret_env = \"HOME\"");
    assert!(refusal(&inbox(&short)).contains("HOME is not set"));
}

#[test]
fn a_converter_and_meters_behind_udp_are_lines_and_a_converter_has_one_owner() {
    let converter = |name: &str| {
        format!(
            "[[line]]\nname = \"{name}\"\nkind = \"serial-over-tcp\"\naddress = \"192.0.2.20:4001\"\nbaud = 2400\n\
             parity = \"even\"\nprotocol = \"modbus-rtu\"\n"
        )
    };
    let config =
        parse(&format!("{}[[line]]\nname = \"far\"\nkind = \"udp\"\n", converter("roof"))).expect("good");
    let LineKind::Converter { address, baud, parity, .. } = config.line("roof").expect("it is there").kind
    else {
        panic!("{config:?}")
    };
    assert_eq!((address.to_string().as_str(), baud, parity), ("192.0.2.20:4001", 2_400, Parity::Even));
    assert!(config.line("roof").expect("it is there").kind.is_modbus());
    assert_eq!(config.line("far").expect("it is there").kind, LineKind::Udp { connections_max: 64 });
    let twice = refusal(&format!("{}{}", converter("roof"), converter("cellar")));
    assert!(twice.contains("address 192.0.2.20:4001 already belongs to line \"roof\""), "{twice}");
    let unknown = refusal("[[line]]\nname = \"x\"\nkind = \"pigeon\"\n");
    assert!(
        unknown.contains("it is one of tcp, tcp-in, udp, serial, serial-over-tcp, modbus-tcp"),
        "{unknown}"
    );
}

#[test]
fn listeners_thresholds_and_the_terms_of_clocks_are_read_and_what_contradicts_itself_is_refused() {
    let config = parse(
        "[[listen]]\nname = \"alarms\"\nkind = \"tcp\"\naddress = \"192.0.2.1:4059\"\n[[listen]]\nname = \"gasps\"\n\
         kind = \"udp\"\naddress = \"192.0.2.1:4059\"\n[plausibility]\ncustomer_power_max_kw = 20\nno_use_days = 0\n\
         [clock_check]\ntolerance_s = 30\nshift_max_s = 5000\n",
    )
    .expect("a good one");
    let kinds: Vec<ListenKind> = config.listeners.iter().map(|listen| listen.kind).collect();
    assert_eq!(kinds, [ListenKind::Tcp, ListenKind::Udp]);
    assert_eq!(config.plausibility.customer_power_max_w, 20_000);
    assert!(config.plausibility.no_use_after.is_zero());
    assert_eq!(
        (config.clock_check.tolerance_s, config.clock_check.shift_max_s),
        (30, 900),
        "class 8 shifts no more"
    );
    for (rest, said) in [
        ("kind = \"tcp\"\naddress = \"here\"", "address \"here\" is not address:port"),
        (
            "kind = \"udp\"\naddress = \"192.0.2.1:1\"\npeers_max = 3",
            "peers_max belongs to listeners of kind tcp",
        ),
        ("kind = \"tcp\"\naddress = \"192.0.2.1:1\"\npeers_max = 0", "peers_max must be at least 1"),
    ] {
        let refused = refusal(&format!("[[listen]]\nname = \"a\"\n{rest}\n"));
        assert!(refused.contains(said), "{refused}");
    }
    let hours = parse("[schedule]\nprofile_hours = \"22:00-06:00\"\n").expect("good").schedule.profile_hours;
    assert_eq!(hours.map(|(from, until)| (from.hour(), until.hour())), Some((22, 6)));
    let refused = refusal("[schedule]\nprofile_hours = \"at night\"\n");
    assert!(refused.contains("profile_hours \"at night\" is not two times"), "{refused}");
}

#[test]
fn history_is_kept_as_long_as_is_said_and_for_a_default_time_else() {
    let days = |days: i64| jiff::SignedDuration::from_hours(24 * days);
    let keep = with_store("path = \"a\"").unwrap().keep;
    assert_eq!((keep.readings, keep.events, keep.command_steps), (days(1_096), days(92), days(1_096)));
    assert_eq!((keep.free_min, keep.size_max), (256 << 20, None));
    let keep = with_store("path = \"a\"\nkeep_events_days = 7\nsize_max_mib = 1024").unwrap().keep;
    assert_eq!((keep.events, keep.size_max), (days(7), Some(1 << 30)));
    let refused = |more: &str| with_store(&format!("path = \"a\"\n{more}")).unwrap_err().to_string();
    assert!(refused("keep_readings_days = 0").contains("at least a day"));
    assert!(refused("size_max_mib = 300").contains("twice free_min_mib"));
}
