//! Durable vends per second: each is a payment, its ledger entries, a reserved token id, a sealed token, a recorded delivery
//! and its events, in two synced commits shared with whoever pays at the same time. Beside it, what the disk and SQLite could do at
//! best: the same rows without a gateway, in commits of as many vends.
//!
//! `cargo bench -p gateway --bench vends [-- --vends N] [--meters N] [--channels N]`

#[path = "vends/reference.rs"]
mod reference;

use gateway::clock::Clock;
use gateway::config::Price;
use gateway::session::directory::Framing;
use gateway::session::work::Serial;
use gateway::store::meter::{self, BalanceHolder, InsertMeterError, Meter, Role};
use gateway::store::payment::NewPayment;
use gateway::store::{Store, StoreError};
use gateway::units::MinorUnits;
use gateway::vault::ceremony::KeyBytes;
use gateway::vault::{Actor, MasterKey, SoftVault, StsIdentity, VendingKeyImport};
use gateway::vending::Vending;
use jiff::Timestamp;
use protocol::sts::KeyType;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// The vending key of the published vectors: it protects nothing.
const VENDING_KEY: &str = "abababababababab949494949494949401234567";

fn argument(name: &str, default: u32) -> u32 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// The DRN of manufacturer 01 and this serial, with its Luhn check digit.
fn drn(serial: u32) -> String {
    let body = format!("01{serial:08}");
    let sum: u32 = body
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0') << u32::from(place % 2 == 0);
            digit / 10 + digit % 10
        })
        .sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn meter(number: u32) -> Meter {
    let drn = drn(number);
    let sts = StsIdentity {
        iin: "600727".into(),
        drn: drn.clone(),
        sgc: 123_457,
        ti: 1,
        krn: 1,
        kt: 2,
        ken: 255,
        base_year: 2014,
        ea: 11,
    };
    Meter {
        serial: Serial(drn),
        line: "street".into(),
        address: format!("127.0.0.1:{number}"),
        framing: Framing::Wrapper,
        model: "reference-dlms".into(),
        balance: BalanceHolder::Meter,
        role: Role::Customer,
        area: String::new(),
        sts: Some(sts),
        load: gateway::store::meter::LoadRecord::default(),
        added_at: Timestamp::now(),
    }
}

async fn street(store: &Store, meters: u32) -> anyhow::Result<()> {
    store
        .write::<_, InsertMeterError, _>(move |conn| {
            Box::pin(async move {
                for number in 1..=meters {
                    meter::insert(conn, &meter(number)).await?;
                }
                Ok(())
            })
        })
        .await?;
    Ok(())
}

fn vault(directory: &Path) -> anyhow::Result<SoftVault> {
    let vault = SoftVault::open_file(&directory.join("vault.sealed"), &MasterKey::from_bytes([7; 32]))?;
    let import = VendingKeyImport {
        sgc: 123_457,
        krn: 1,
        key_type: KeyType::Dutk,
        ken: 255,
        expires_at: None,
        utc_offset_minutes: None,
        key: KeyBytes::from_hex(VENDING_KEY)?,
    };
    vault.import_vending_key(&import, &Actor { name: "bench".into(), at: Timestamp::now() })?;
    Ok(vault)
}

fn payment(number: u32, meters: u32) -> NewPayment {
    NewPayment {
        channel: "shop".into(),
        idempotency_key: format!("key-{number}"),
        request_digest: number.to_be_bytes().to_vec(),
        serial: Serial(drn(number % meters + 1)),
        amount: MinorUnits(1000),
        correlation: format!("bench-{number}"),
    }
}

async fn measure(directory: &Path) -> anyhow::Result<()> {
    let (vends, meters) = (argument("--vends", 20_000), argument("--meters", 1_000));
    let channels = argument("--channels", 256);
    let store = Store::open(&directory.join("store.db")).await?;
    street(&store, meters).await?;
    let price = Price::new("EUR", 2, "25.34").map_err(anyhow::Error::msg)?;
    let vending = Vending::new(store.clone(), Arc::new(vault(directory)?), Clock::real(), price);
    let began = Instant::now();
    let tasks: Vec<_> = (0..channels)
        .map(|channel| {
            let vending = vending.clone();
            tokio::spawn(async move {
                for number in (channel..vends).step_by(usize::try_from(channels).unwrap_or(1)) {
                    vending.top_up(payment(number, meters)).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let millis = began.elapsed().as_millis().max(1);
    let money = store.money_balance().await?;
    anyhow::ensure!(money.balanced, StoreError::Corrupt(format!("{money:?}")));
    let rate = u128::from(vends) * 1000 / millis;
    // Half of the channels have a write of one kind in a group at a time.
    let group = (channels / 2).clamp(1, 128);
    let raw = raw_rows(directory, vends, meters, group).await?;
    let percent = rate * 100 / raw.max(1);
    println!(
        "{vends} durable vends by {channels} channels to {meters} meters in {millis} ms: {rate} per second, {percent} % of the \
         {raw} per second at which their rows alone can be written in commits of {group}"
    );
    println!(
        "{}",
        serde_json::json!({"bench": "vends", "vends": vends, "channels": channels, "ms": millis, "per_second": rate,
            "raw_per_second": raw, "percent_of_raw": percent})
    );
    Ok(())
}

async fn raw_rows(directory: &Path, vends: u32, meters: u32, group: u32) -> anyhow::Result<u128> {
    let path = directory.join("rows.db");
    street(&Store::open(&path).await?, meters).await?;
    let serials: Vec<String> = (1..=meters).map(drn).collect();
    tokio::task::spawn_blocking(move || reference::measure(&path, &serials, vends, group)).await?
}

fn main() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("meter-gateway-vends-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(measure(&directory));
    std::fs::remove_dir_all(&directory)?;
    measured
}
