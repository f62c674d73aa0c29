//! Puts the memory map where the linker looks for it.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::copy("memory.x", out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    for file in ["memory.x", "build.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
