//! The nine steps of the story. Each is a function of its own and says why, if it was not verified.

mod account;
mod commission;
mod held;
mod keypad;
mod kill;
mod lost_answer;
mod operator;
mod run_out;
mod top_up;

pub use account::account_for_energy_and_money;
pub use commission::commission_the_meters;
pub use held::hold_a_modbus_meters_balance;
pub use keypad::refuse_tokens_at_the_keypad;
pub use kill::finish_once_after_a_kill;
pub use lost_answer::ask_after_a_lost_answer;
pub use operator::disconnect_and_reconnect;
pub use run_out::run_out_of_credit;
pub use top_up::top_up_a_meter;

use super::stage::Stage;

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What it shows.
    pub title: &'static str,
    /// Does it. The error says what was not as it should be.
    pub act: fn(&mut Stage) -> Result<(), String>,
}

/// The story, in order. Step 1 comes before every other; steps 3 and 4 belong together, the rest stand alone.
pub const STEPS: [Step; 9] = [
    Step { title: "The meters are commissioned from a CSV file", act: commission_the_meters },
    Step { title: "A meter runs out of credit and opens its relay", act: run_out_of_credit },
    Step { title: "A payment becomes a token, and supply comes back", act: top_up_a_meter },
    Step { title: "Used and foreign tokens are refused at the keypad", act: refuse_tokens_at_the_keypad },
    Step { title: "An operator disconnects a meter and reconnects it", act: disconnect_and_reconnect },
    Step { title: "A Modbus meter is prepaid through the gateway", act: hold_a_modbus_meters_balance },
    Step { title: "The answer to a token is lost on the wire", act: ask_after_a_lost_answer },
    Step { title: "The gateway is killed while a token is under way", act: finish_once_after_a_kill },
    Step { title: "Energy and money are accounted for", act: account_for_energy_and_money },
];

/// An error unless it holds.
fn insist(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
