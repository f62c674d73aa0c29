//! Walking an 81-node push telegram: our walk, and the codec's data tree. `cargo bench -p protocol --bench telegram`.
//! Each figure is the best of ten runs.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Reader};
use protocol::dlms::axdr_walk::{Value, Walk};
use std::hint::black_box;
use std::time::Instant;

const RUNS: u32 = 20_000;

fn telegram() -> Vec<u8> {
    let text = include_str!("../vectors/link/telegram.txt");
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// Something every node takes part in, so that none can be left out.
fn walked(body: &[u8]) -> (usize, u64) {
    Walk::new(body).fold((0, 0), |(count, sum), node| match node.unwrap().value {
        Value::Unsigned(v) => (count + 1, sum + v),
        Value::Octets(bytes) => (count + 1, sum + bytes.len() as u64),
        _ => (count + 1, sum),
    })
}

fn recursed(data: Data<'_>) -> (usize, u64) {
    match data {
        Data::Array(seq) | Data::Structure(seq) => seq.iter().fold((1, 0), |(count, sum), element| {
            let (c, s) = recursed(element.unwrap());
            (count + c, sum + s)
        }),
        Data::DoubleLongUnsigned(v) => (1, v.into()),
        Data::LongUnsigned(v) => (1, v.into()),
        Data::OctetString(bytes) => (1, bytes.len() as u64),
        _ => (1, 0),
    }
}

/// Nanoseconds of one call, best of ten runs.
fn best(mut call: impl FnMut() -> (usize, u64)) -> u128 {
    let run = |call: &mut dyn FnMut() -> (usize, u64)| {
        let start = Instant::now();
        for _ in 0..RUNS {
            black_box(call());
        }
        start.elapsed().as_nanos() / u128::from(RUNS)
    };
    (0..10).map(|_| run(&mut call)).min().unwrap()
}

fn main() {
    let apdu = telegram();
    let body = &apdu[18..];
    let tree = || recursed(Data::decode(&mut Reader::new(black_box(body))).unwrap());
    assert_eq!(walked(body), tree());
    assert_eq!(walked(body).0, 81);
    let (ours, theirs) = (best(|| walked(black_box(body))), best(tree));
    println!("walk an 81-node telegram: {ours} ns, the codec's tree {theirs} ns, bar 1000 ns");
}
