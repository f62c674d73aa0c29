//! A rollover to a new base date over a simulated street: the firmware judges each token, a meter is silent, another forgets a
//! part of its set, the gateway is killed in between. In the end every meter takes a token that counts from the new base date.

use gateway::demo::{METERS_MIN, Options, Stage, steps, wait};
use serde_json::{Value, json};
use simulator::faults::Fault;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tests::{Folder, free_port, program};

/// 1 March 2036: ids of the base date 2014 go on until 2045, those of 2035 have begun.
const MARCH_2036: u32 = 2_087_942_400;
/// 1 January 2035, 00:00.
const BASE_2035: i64 = 2_051_222_400;
/// How long the whole campaign may take, in real time.
const OVER_WITHIN: Duration = Duration::from_secs(90);

fn stage(folder: &Folder) -> Stage {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = Options {
        meters: METERS_MIN,
        line_meters: 1,
        modbus_meters: 1,
        meter_port: 0,
        feeder: loopback(0),
        speed: 20,
        starts_at_s: Some(MARCH_2036),
        seed: 1,
        data: folder.path().to_owned(),
        listen: loopback(free_port()),
        program: program("meter-gateway").get_program().into(),
        quiet: true,
    };
    Stage::start(&options).expect("the stage is set")
}

/// How the gateway shows a meter of the campaign.
fn meter_of(stage: &Stage, campaign: &str, serial: &str) -> Result<Value, String> {
    let meters = stage.client.get(&format!("{campaign}/meters"))?;
    let found = meters.as_array().into_iter().flatten().find(|meter| meter["serial"] == serial);
    found.cloned().ok_or_else(|| format!("meter {serial} is not in the campaign"))
}

fn post(stage: &Stage, path: &str, body: &Value) -> Result<Value, String> {
    stage.client.post(path, "application/json", &body.to_string())?.ok()
}

fn roll_over(stage: &mut Stage) -> Result<(), String> {
    let cast = stage.cast.clone();
    // The forgetful one is on the 9,600-baud line, where a part takes long enough to be watched.
    let (silent, forgetful) = (&cast.lost_answer, &cast.neighbour);
    let takes_part = [&cast.spender, silent, &cast.killed, &cast.works_site, forgetful];
    let mut serials: Vec<&str> = takes_part.iter().map(|meter| meter.serial.as_str()).collect();
    serials.push(&cast.held.serial);
    let mut body = json!({
        "action": {"kind": "key_change", "base_year": 2035}, "selection": {"serials": serials},
        "reason": "rollover", "sets_max": 4,
    });
    let preview = post(stage, "/campaigns/preview", &body)?;
    assert_eq!(preview["included"].as_array().map(Vec::len), Some(5), "{preview:#}");
    assert_eq!(preview["excluded"][0]["serial"], cast.held.serial.as_str());
    body["expected"] = 5.into();

    assert!(stage.street.inject(silent.index, Fault::Silence { on: true }));
    let started = post(stage, "/campaigns", &body)?;
    let campaign = format!("/campaigns/{}", started["id"]);

    // Between two parts of its set, more than ten minutes pass at the meter, and it forgets what it has.
    wait("a part to arrive", OVER_WITHIN, || {
        let meter = meter_of(stage, &campaign, &forgetful.serial)?;
        Ok((meter["taken"].as_u64() > Some(0)).then_some(()))
    })?;
    assert!(stage.street.inject(forgetful.index, Fault::ClockJump { seconds: 700 }));
    stage.kill_gateway()?;
    stage.restart_gateway()?;
    let half = stage.client.get(&campaign)?;
    assert_eq!(half["state"], "running", "{half:#}");
    assert!(stage.street.inject(silent.index, Fault::Silence { on: false }));

    wait("the campaign to end", OVER_WITHIN, || {
        let campaign = stage.client.get(&campaign)?;
        Ok((campaign["state"] == "done").then_some(()))
    })
    .map_err(|why| {
        format!("{why}: {:#}", stage.client.get(&format!("{campaign}/meters")).unwrap_or_default())
    })?;
    let ended = stage.client.get(&campaign)?;
    assert_eq!(ended["meters"], json!({"done": 5, "excluded": 1}), "{ended:#}");
    let forgot = meter_of(stage, &campaign, &forgetful.serial)?;
    assert_eq!(forgot["rounds"], 2, "{forgot:#}");

    for meter in takes_part {
        let before = stage.credited_wh(meter.index)?;
        let (receipt, _) = stage.pay(&meter.serial, 1_000)?;
        let command = receipt["command_id"].as_i64().ok_or("the payment has no delivery")?;
        stage.verified(command)?;
        let gained = stage.credited_wh(meter.index)? - before;
        assert_eq!(Some(gained), receipt["energy_wh"].as_i64());
        let minutes = (i64::from(MARCH_2036) - BASE_2035) / 60;
        let tid = receipt["tid"].as_i64().unwrap_or_default();
        assert!((minutes..minutes + 24 * 60).contains(&tid), "token id {tid}, the story began at {minutes}");
    }
    Ok(())
}

#[test]
fn a_rollover_reaches_every_meter_and_each_takes_a_token_of_the_new_base_date() {
    let folder = Folder::new("rollover");
    let mut stage = stage(&folder);
    for act in [steps::commission_the_meters, roll_over] {
        if let Err(why) = act(&mut stage) {
            panic!("{why}\n(data and the gateway's log: {})", folder.path().display());
        }
    }
}
