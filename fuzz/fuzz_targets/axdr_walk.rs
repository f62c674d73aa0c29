//! Our walk over A-XDR data against the codec's decoder: what the codec reads whole, the walk reads to the same end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::codec::axdr::Data;
use protocol::codec::codec::{Decode, Reader};
use protocol::dlms::axdr_walk::{Value, Walk};

fuzz_target!(|data: &[u8]| {
    let mut walk = Walk::new(data);
    let nodes: Vec<_> = walk.by_ref().collect();
    let end = walk.consumed();
    for pair in nodes.windows(2) {
        let (Ok(before), Ok(after)) = (pair[0], pair[1]) else { continue };
        assert!(after.offset > before.offset, "offsets grow");
    }
    let mut reader = Reader::new(data);
    let theirs = Data::decode(&mut reader);
    // Compact arrays are checked deeper by the codec, and it stops at another depth.
    let compact = nodes.iter().flatten().any(|node| matches!(node.value, Value::Compact(_)));
    let deep = nodes.iter().flatten().any(|node| node.depth > 12);
    if theirs.is_ok() && !compact && !deep {
        assert!(nodes.iter().all(Result::is_ok), "the codec reads what the walk refuses: {nodes:?}");
        assert_eq!(end, reader.offset());
    }
});
