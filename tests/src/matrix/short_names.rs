//! Our client on the foreign meter by short names.

use protocol::codec::acse::{AuthMechanism, Referencing};
use protocol::codec::axdr::Data;
use protocol::codec::codec::Decode;
use protocol::codec::xdlms::{DataAccessResult, GetDataResult, List};
use protocol::dlms::client::{Config, SHORT_NAMES};
use protocol::dlms::security::Secret;

use super::client::{Done, OurClient};
use super::operations::rows;
use crate::peers::ForeignMeter;

/// Short names of the foreign meter's values, and one that nothing has.
const NAME: u16 = 0x0108;
const ENERGY: u16 = 0x0208;
const NOTE: u16 = 0x0308;
const PROFILE: u16 = 0x1008;
const NOTHING: u16 = 0x7008;
const ROWS: usize = 2_000;

/// Reads, reads several, reads in blocks and writes on a `pydlms-client` meter.
///
/// # Errors
/// What did not come out as it must.
pub fn read_and_write(framing: &str) -> Done<()> {
    let rows_of_meter = ROWS.to_string();
    let arguments = ["--framing", framing, "--wide", "--short-names", "--rows", &rows_of_meter];
    let meter = ForeignMeter::start(&arguments);
    let config = Config {
        mechanism: AuthMechanism::Low,
        secret: Secret::new(b"Reader01").ok(),
        referencing: Referencing::ShortName,
        conformance: SHORT_NAMES,
        response_timeout: std::time::Duration::from_secs(20),
        ..Config::default()
    };
    let mut client = OurClient::open(meter.port, framing, 17, config, 0)?;
    let is = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };

    let name = client.read(NAME)?;
    is(name.get(2..10) == Some(b"PYDMETER"), "the logical device name is the meter's")?;
    let list = client.read_list(&[NAME, ENERGY, NOTHING])?;
    let list: List<'_, GetDataResult<'_>> = List::from_bytes(&list).map_err(|e| e.to_string())?;
    let list: Vec<_> = list.iter().flatten().collect();
    let undefined = GetDataResult::Error(DataAccessResult::ObjectUndefined);
    is(list.len() == 3 && list[1] == GetDataResult::Data(Data::DoubleLongUnsigned(1_234_567)), "the energy")?;
    is(list[2] == undefined, "what is not there is undefined, and the others are read")?;
    let alone = client.read_list(&[NOTHING])?;
    is(alone == [1, 1, 4], "alone in a list it is undefined too")?;
    is(
        client.read(NOTHING) == Err("data access result 4 (ObjectUndefined)".into()),
        "alone it is a refusal",
    )?;

    is(rows(&client.read(PROFILE)?)?.len() == ROWS, "the profile comes in blocks")?;

    client.write(NOTE, b"by short name")?;
    is(client.read(NOTE)? == *b"\x09\x0Dby short name", "what was written is read")?;
    is(
        client.write(NOTHING, b"") == Err("data access result 4 (ObjectUndefined)".into()),
        "a refused write",
    )?;
    client.release()
}
