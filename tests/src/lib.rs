//! What the system tests stand on: our programs as processes of their own, other people's as peers, and nothing else.
//!
//! Every process is ended when its guard is dropped, every port is one the system gave, every file lives in a directory that
//! goes away with the test.

pub mod browser;
pub mod classroom;
pub mod folder;
pub mod gateway_process;
pub mod matrix;
pub mod peers;
pub mod postgres;
pub mod power_loss;
pub mod process;
pub mod proxy;
pub mod qemu;
pub mod scale;
pub mod street;
pub mod wire;

pub use classroom::Classroom;
pub use folder::Folder;
pub use gateway_process::GatewayProcess;
pub use process::{Process, program, project_root};
pub use street::Street;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Mutex;

/// Ports given out by this process: a program may take a while before it listens on its own.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A TCP port on loopback that was free a moment ago, and that no other test of this process was given.
///
/// # Panics
/// When the system has none left.
#[must_use]
pub fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        if GIVEN.lock().expect("nobody panics with it").insert(port) {
            return port;
        }
    }
}
