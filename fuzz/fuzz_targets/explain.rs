//! The explainer on any bytes, as a stream with keys and as a file of unknown kind: no panic, offsets within the input.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../gateway/src/explain/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the explainer brings parts that this target does not call")]
mod explain;

use explain::{Keys, Space, Stream};

fuzz_target!(|data: &[u8]| {
    let keys = || Keys {
        encryption: Some((0..16).collect()),
        authentication: None,
        dedicated: None,
        system_title: Some(*b"MGW\0\0\0\0\x01"),
    };
    let stream = Stream { title: String::new(), bytes: data.to_vec(), datagrams: Vec::new() };
    let explanation = explain::explain(&[stream], keys());
    for (space, offset, _) in &explanation.broken {
        assert!(*space == Space::Plain || *offset <= data.len());
    }
    for stream in &explanation.streams {
        let _ = (stream.to_text(), stream.to_json());
    }
    if let Ok(streams) = explain::read_input(data) {
        let _ = explain::explain(&streams, keys());
    }
});
