//! Puts `memory.x` where the linker looks for it, and `device.x`, which names interrupts that a PAC would bring: the
//! board's vector table has no names to give defaults for.
use std::{env, fs, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x lies beside build.rs");
    fs::write(out.join("device.x"), "").expect("the output directory can be written");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=build.rs");
}
