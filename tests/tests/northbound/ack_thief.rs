//! Somebody on the way to a NATS server who can make acknowledgements vanish.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub struct AckThief {
    port: u16,
    steals: Arc<AtomicBool>,
    stolen: Arc<AtomicU64>,
}

impl AckThief {
    /// Passes everything on to the server on that port.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (steals, stolen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thief = Self { port, steals: Arc::clone(&steals), stolen: Arc::clone(&stolen) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (mut down, mut from_server) =
                    (client.try_clone().expect("a handle"), upstream.try_clone().expect("a handle"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_server, &mut down);
                    let _ = down.shutdown(std::net::Shutdown::Both);
                });
                let (steals, stolen) = (Arc::clone(&steals), Arc::clone(&stolen));
                std::thread::spawn(move || {
                    let _ = pass_on(BufReader::new(client), &upstream, &steals, &stolen);
                    let _ = upstream.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        thief
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on acknowledgements vanish, or not.
    pub fn steal(&self, yes: bool) {
        self.steals.store(yes, Ordering::SeqCst);
    }

    /// How many vanished.
    pub fn stolen(&self) -> u64 {
        self.stolen.load(Ordering::SeqCst)
    }
}

/// A client's lines, and the payloads that some have: their last word is the length.
fn pass_on(
    mut client: BufReader<TcpStream>,
    mut server: &TcpStream,
    steals: &AtomicBool,
    stolen: &AtomicU64,
) -> std::io::Result<()> {
    loop {
        let mut said = String::new();
        if client.read_line(&mut said)? == 0 {
            return Ok(());
        }
        let mut payload = Vec::new();
        if said.starts_with("PUB ") || said.starts_with("HPUB ") {
            let length: usize =
                said.trim_end().rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            payload.resize(length + 2, 0);
            client.read_exact(&mut payload)?;
        }
        if said.starts_with("PUB $JS.ACK.") && steals.load(Ordering::SeqCst) {
            stolen.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        server.write_all(said.as_bytes())?;
        server.write_all(&payload)?;
    }
}
