//! The Cortex-M image in QEMU: its UART is a TCP port here, its storage a file in a directory of the test's.

use crate::folder::Folder;
use crate::process::{Process, project_root};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running emulator.
#[derive(Debug)]
pub struct Qemu {
    /// The process; what the image prints through semihosting is what it says.
    pub process: Process,
    /// The TCP port that is the meter's UART.
    pub port: u16,
    /// The TCP port that is the meter's optical port.
    pub optical_port: u16,
}

impl Qemu {
    /// Starts the image in `folder`, where its storage lives on after it.
    ///
    /// # Panics
    /// When the emulator does not start: `tests/run --install-only` installs it.
    #[must_use]
    pub fn start(image: &Path, folder: &Folder) -> Self {
        Self::start_on(image, folder, crate::free_port())
    }

    /// The same, with its UART on this TCP port: for a meter that comes back after a power cut.
    ///
    /// # Panics
    /// When the emulator does not start.
    #[must_use]
    pub fn start_on(image: &Path, folder: &Folder, port: u16) -> Self {
        Self::start_with(image, folder, port, "")
    }

    /// The same with more semihosting options: `,arg=meter,arg=FILE,arg=stack` names the storage's file and asks for reports
    /// of the stack's depth.
    ///
    /// # Panics
    /// When the emulator does not start.
    #[must_use]
    pub fn start_with(image: &Path, folder: &Folder, port: u16, semihosting: &str) -> Self {
        let optical_port = crate::free_port();
        let serial = |port: u16| format!("tcp:127.0.0.1:{port},server=on,wait=off,nodelay=on");
        let process = Process::start(
            Command::new("qemu-system-arm")
                .args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"])
                .args(["-semihosting-config", &format!("enable=on,target=native{semihosting}")])
                .args(["-serial", &serial(port), "-serial", &serial(optical_port)])
                .arg("-kernel")
                .arg(image)
                .current_dir(folder.path()),
        );
        Self { process, port, optical_port }
    }
}

/// Builds the image for a board (or finds it built) and says where it is.
///
/// # Panics
/// When it does not build; with what the build said.
#[must_use]
pub fn image(board: &str) -> PathBuf {
    let built = Command::new(project_root().join("firmware/build-image"))
        .arg(board)
        .output()
        .expect("the script starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let path = String::from_utf8(built.stdout).expect("a path is text");
    PathBuf::from(path.trim())
}
