//! `cargo bench -p gateway --bench modbus`: Modbus points a second over loopback TCP, both ends in this process, by requests that the
//! optimiser joined and one by one. Option after `--`: `--seconds S` (2 for each of four measurements).
//!
//! A point is one register. The dense map is 1,000 neighbours; the sparse one 1,000 points with five unused registers after each, which are
//! read along. The server answers any read with zeros.

use gateway::driver::{Endpoint, TcpEndpoint};
use gateway::session::modbus::{Framing, Limits, ReadRequest, Wire, optimise};
use gateway::session::model::Table;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const POINTS: u16 = 1_000;
/// Meters read at the same time, each over its own connection.
const METERS: u16 = 4;
/// Points a second that we want, both ends on two cores, sparse maps too.
const BAR: u64 = 100_000;

/// Answers reads of registers with zeros.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 12];
    loop {
        stream.read_exact(&mut request).await?;
        let bytes = u16::from_be_bytes([request[10], request[11]]) * 2;
        let mut answer = Vec::with_capacity(9 + usize::from(bytes));
        answer.extend(&request[..4]);
        answer.extend((bytes + 3).to_be_bytes());
        answer.extend([request[6], request[7], bytes as u8]);
        answer.resize(9 + usize::from(bytes), 0);
        stream.write_all(&answer).await?;
    }
}

/// Points a second of these requests, repeated for so long by every meter.
async fn measure(server: SocketAddr, requests: &[ReadRequest], time: Duration) -> Result<u64, String> {
    let begun = Instant::now();
    let mut meters = tokio::task::JoinSet::new();
    for _ in 0..METERS {
        let requests = requests.to_vec();
        meters.spawn(async move {
            let connect_timeout = Duration::from_secs(5);
            let endpoint = Endpoint::Tcp(TcpEndpoint { address: server, connect_timeout, source: None });
            let mut wire = Wire::new(endpoint, Framing::Tcp, Arc::default());
            let mut rounds = 0u64;
            while begun.elapsed() < time {
                for request in &requests {
                    wire.read(1, *request, connect_timeout).await.map_err(|trouble| trouble.to_string())?;
                }
                rounds += 1;
            }
            Ok::<u64, String>(rounds)
        });
    }
    let mut rounds = 0;
    while let Some(done) = meters.join_next().await {
        rounds += done.map_err(|error| error.to_string())??;
    }
    let nanoseconds = begun.elapsed().as_nanos().max(1);
    let points = u128::from(rounds) * u128::from(POINTS) * 1_000_000_000 / nanoseconds;
    u64::try_from(points).map_err(|error| error.to_string())
}

async fn run(time: Duration) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let server = listener.local_addr().map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection ends with its client.
            tokio::spawn(async move { serve(stream).await.ok() });
        }
    });
    let limits = Limits { registers_max: 125, gap_max: 6, unreadable: &[] };
    for (map, step) in [("dense", 1), ("sparse", 6)] {
        let naive: Vec<ReadRequest> =
            (0..POINTS).map(|n| ReadRequest { table: Table::Holding, address: n * step, count: 1 }).collect();
        let joined = optimise(naive.clone(), &limits);
        let fast = measure(server, &joined, time).await?;
        let slow = measure(server, &naive, time).await?;
        println!(
            "{{\"bench\":\"modbus\",\"map\":\"{map}\",\"requests\":{},\"one_by_one_requests\":{},\
             \"points_per_second\":{fast},\"one_by_one_points_per_second\":{slow},\"bar\":{BAR}}}",
            joined.len(),
            naive.len()
        );
        if fast < BAR {
            return Err(format!("{map}: {fast} points a second; the bar is {BAR}"));
        }
    }
    Ok(())
}

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = seconds.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(2);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(run(Duration::from_secs(seconds)))
}
