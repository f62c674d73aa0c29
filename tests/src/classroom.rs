//! A training case as a person plays it: `meter-simulator train … --control`, hands at its meters, and a gateway beside it.

use crate::gateway_process::GatewayProcess;
use crate::street::Street;
use serde_json::{Value, json};

/// A case's street, and a gateway.
#[derive(Debug)]
pub struct Classroom {
    /// The street.
    pub street: Street,
    /// The gateway.
    pub gateway: GatewayProcess,
}

impl Classroom {
    /// The street of the case with this id and a gateway that has commissioned all its meters.
    ///
    /// # Panics
    /// When one of them does not start, or a meter is not commissioned.
    #[must_use]
    pub fn open(id: &str) -> Self {
        let room = Self::before_commissioning(id);
        for number in 1..=room.street.count() {
            room.add(number);
        }
        for number in 1..=room.street.count() {
            room.gateway.until_commissioned(&room.serial(number));
        }
        room
    }

    /// The same, and the gateway knows of no meter yet.
    ///
    /// # Panics
    /// When street or gateway do not start.
    #[must_use]
    pub fn before_commissioning(id: &str) -> Self {
        let street = Street::train(id);
        let feeder =
            street.look("/street")["modbus_tcp"].as_str().expect("the feeder has an address").to_owned();
        let gateway = GatewayProcess::start_with(|_| {
            // The classroom's hours pass in a moment of the gateway's: nothing that is used then is too much.
            format!(
                "[[line]]\nname = \"feeder\"\nkind = \"modbus-tcp\"\naddress = \"{feeder}\"\narea = \"T1\"\n\
                 [plausibility]\ncustomer_power_max_kw = 50000\nfeeder_power_max_kw = 500000\n"
            )
        });
        Self { street, gateway }
    }

    /// Tells the gateway of a meter.
    pub fn add(&self, number: usize) {
        let address = format!("{}:{}", self.street.host(number), self.street.port);
        self.gateway.add_meter(&self.serial(number), &address, "wrapper");
    }

    /// Tells the gateway of the feeder's meter, and waits until it is commissioned. Its serial number.
    ///
    /// # Panics
    /// When it is not commissioned.
    #[must_use]
    pub fn add_feeder(&self) -> String {
        let serial = self.street.look("/street")["feeder"]["serial"].as_str().expect("a feeder").to_owned();
        let who = ["meter", "add", "--serial", &serial, "--model", "feeder-modbus"];
        let place = ["--line", "feeder", "--address", "1", "--role", "feeder", "--balance", "none"];
        self.gateway.must(&[&who[..], &place].concat());
        self.gateway.until_commissioned(&serial);
        serial
    }

    /// Serial number of a meter.
    ///
    /// # Panics
    /// When there is no such meter.
    #[must_use]
    pub fn serial(&self, number: usize) -> String {
        self.street.meter(number)["serial"].as_str().expect("a meter has a serial number").to_owned()
    }

    /// So much time passes at once: `20m`.
    pub fn pass(&self, span: &str) {
        let _ = self.street.act("/time", &json!({ "advance": span }));
    }

    /// Switches a constant load on.
    pub fn load(&self, meters: &[usize], watts: u32) {
        for number in meters {
            let _ = self.street.put(&format!("/meters/{number}/load"), &json!({ "watts": watts }));
        }
    }

    /// Makes something go wrong at these meters: `{"fault": "silence"}`.
    pub fn begin(&self, meters: &[usize], mut fault: Value) {
        fault["meters"] = json!(meters);
        let _ = self.street.act("/faults", &fault);
    }

    /// Ends it.
    pub fn end(&self, number: usize, fault: &str) {
        let _ = self.street.delete(&format!("/meters/{number}/faults/{fault}"));
    }

    /// How it really stands with a meter.
    #[must_use]
    pub fn truth(&self, number: usize) -> Value {
        self.street.look(&format!("/meters/{number}"))
    }

    /// Whether supply is really on.
    #[must_use]
    pub fn supplied(&self, number: usize) -> bool {
        self.truth(number)["contact_closed"] == true
    }

    /// Presses the button: whether the relay closed.
    #[must_use]
    pub fn press_button(&self, number: usize) -> bool {
        self.street.act(&format!("/meters/{number}/button"), &Value::Null)["closed"] == true
    }

    /// Types at the keypad: what the display answers.
    ///
    /// # Panics
    /// When the meter is dark.
    #[must_use]
    pub fn type_keys(&self, number: usize, keys: &str) -> String {
        let answer = self.street.act(&format!("/meters/{number}/keypad"), &json!({ "keys": keys }));
        answer["display"].as_str().expect("the display answers").to_owned()
    }

    /// Runs one of the gateway's subcommands about a meter: its exit code and what it said.
    #[must_use]
    pub fn command(&self, verb: &str, number: usize, more: &[&str]) -> (Option<i32>, String) {
        self.gateway.run(&[&[verb, &self.serial(number)], more].concat())
    }

    /// A subcommand about a meter that has to succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn must(&self, verb: &str, number: usize, more: &[&str]) {
        self.gateway.must(&[&[verb, &self.serial(number)], more].concat());
    }

    /// The meter as the gateway shows it.
    #[must_use]
    pub fn shown(&self, number: usize) -> Value {
        self.gateway.get(&format!("/meters/{}", self.serial(number)))
    }

    /// Has the gateway read the meter, and gives it as it is shown then.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, number: usize) -> Value {
        self.must("read", number, &[]);
        self.shown(number)
    }

    /// The energy register of a meter as the gateway reads it now, in watt-hours.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn energy_wh(&self, number: usize) -> i64 {
        self.read(number)["reading"]["import_wh"].as_i64().expect("a reading")
    }
}
