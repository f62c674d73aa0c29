//! Puts the linker scripts where the linker looks for them, and the meter's decoder key where the image includes it.

use protocol::dlms::security::ecdsa::{Curve, PrivateKey};
use protocol::sts::{
    BaseDate, Drn, EncryptionAlgorithm, KeyAttributes, KeyRevision, KeyType, MeterPan, SupplyGroup,
    TariffIndex, VendingKey, derive,
};
use std::{env, error::Error, fs, path::PathBuf};

include!("src/identity.rs");

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::copy("memory.x", out.join("memory.x"))?;
    // Names that a PAC would give to interrupts; the board's vector table has none to give defaults for.
    fs::write(out.join("device.x"), "")?;
    fs::write(out.join("decoder_key.rs"), format!("{:?}", decoder_key()?))?;
    fs::write(out.join("signing_key.rs"), format!("{:?}", signing_key()?))?;
    println!("cargo:rustc-link-search={}", out.display());
    for file in ["memory.x", "build.rs", "src/identity.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}

/// The public half of the published key that test images are signed with (`test-signing-key.pem`).
fn signing_key() -> Result<Vec<u8>, Box<dyn Error>> {
    let key = PrivateKey::from_bytes(Curve::P256, &SIGNING_NUMBER).ok_or("not a private key")?;
    Ok(key.public_key().to_bytes().to_vec())
}

/// What a factory does before it writes a meter's key into it. The vending key is the one of the published vectors.
fn decoder_key() -> Result<Vec<u8>, Box<dyn Error>> {
    let vending: Vec<u8> =
        [[0xAB; 8], [0x94; 8]].concat().into_iter().chain([0x01, 0x23, 0x45, 0x67]).collect();
    let pan = MeterPan::from_drn(&Drn::from_parts(MANUFACTURER, SERIAL)?);
    let attributes = KeyAttributes {
        supply_group: SupplyGroup::try_from(SUPPLY_GROUP)?,
        tariff_index: TariffIndex::try_from(TARIFF_INDEX)?,
        key_revision: KeyRevision::try_from(KEY_REVISION)?,
        key_type: KeyType::Dutk,
        base_date: BaseDate::Year2014,
    };
    let key = derive(&VendingKey::from_bytes(&vending)?, EncryptionAlgorithm::Ea11, &pan, &attributes)?;
    Ok(key.expose().to_vec())
}
