//! Somebody on the wire between the gateway and a meter: hears every frame of the wrapper, and slips in one of his own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Frames of one connection, each whole with its header.
#[derive(Debug, Default, Clone)]
pub struct Overheard {
    /// What the client sent.
    pub requests: Vec<Vec<u8>>,
    /// What the meter answered.
    pub answers: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Desk {
    connections: Vec<Overheard>,
    to_inject: Option<Vec<u8>>,
    answer_to_injected: Option<Vec<u8>>,
}

/// The one between. He lives as long as the test program.
#[derive(Debug)]
pub struct Proxy {
    /// Where he listens.
    pub address: String,
    desk: Arc<Mutex<Desk>>,
}

impl Proxy {
    /// Listens on a new port and passes everything on to the meter.
    ///
    /// # Panics
    /// When the system has no port left.
    #[must_use]
    pub fn start(meter: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let desk = Arc::new(Mutex::new(Desk::default()));
        let (shared, meter) = (Arc::clone(&desk), Arc::new(meter));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (desk, meter) = (Arc::clone(&shared), Arc::clone(&meter));
                std::thread::spawn(move || pass_on(client, &meter, &desk));
            }
        });
        Self { address, desk }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything heard so far, connection by connection.
    #[must_use]
    pub fn heard(&self) -> Vec<Overheard> {
        self.desk().connections.clone()
    }

    /// Sends `frame` to the meter ahead of the next ciphered request of an open association; the client never sees the answer.
    pub fn inject(&self, frame: Vec<u8>) {
        self.desk().to_inject = Some(frame);
    }

    /// What the meter said to the injected frame.
    ///
    /// # Panics
    /// When the frame was not sent in time.
    #[must_use]
    pub fn answer_to_injected(&self, timeout: Duration) -> Vec<u8> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(answer) = self.desk().answer_to_injected.take() {
                return answer;
            }
            assert!(Instant::now() < deadline, "nothing was injected");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// One whole frame: 8 bytes of header and the APDU.
fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 8];
    stream.read_exact(&mut frame)?;
    let length = usize::from(u16::from_be_bytes([frame[6], frame[7]]));
    frame.resize(8 + length, 0);
    stream.read_exact(&mut frame[8..])?;
    Ok(frame)
}

/// GET, SET and ACTION requests with global ciphering.
fn is_ciphered_request(frame: &[u8]) -> bool {
    matches!(frame.get(8), Some(0xC8 | 0xC9 | 0xCB))
}

fn pass_on(mut client: TcpStream, meter: &str, desk: &Mutex<Desk>) -> std::io::Result<()> {
    let mut meter = TcpStream::connect(meter)?;
    client.set_nodelay(true)?;
    meter.set_nodelay(true)?;
    let lock = || desk.lock().unwrap_or_else(PoisonError::into_inner);
    let place = {
        let mut desk = lock();
        desk.connections.push(Overheard::default());
        desk.connections.len() - 1
    };
    // The first ciphered request of a connection is still part of the authentication.
    let mut ciphered = 0;
    loop {
        let request = frame(&mut client)?;
        ciphered += usize::from(is_ciphered_request(&request));
        let foreign = if ciphered > 1 { lock().to_inject.take() } else { None };
        if let Some(foreign) = foreign {
            meter.write_all(&foreign)?;
            let answer = frame(&mut meter)?;
            lock().answer_to_injected = Some(answer);
        }
        meter.write_all(&request)?;
        lock().connections[place].requests.push(request);
        let answer = frame(&mut meter)?;
        client.write_all(&answer)?;
        lock().connections[place].answers.push(answer);
    }
}
