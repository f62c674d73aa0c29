//! The operations of the matrix in this process: with our client on the foreign meter `tests/peers/prepay_meter.py`, and with the
//! engines of `dlms-cosem-rs`.

use protocol::codec::axdr::{Data, DateTime};
use protocol::codec::codec::Decode;
use protocol::codec::obis::Obis;
use protocol::cosem::obis;
use protocol::dlms::client::selection;
use protocol::dlms::model::Attribute;

use protocol::codec::xdlms::SelectiveAccess;

use super::client::Done;
use super::meter::NOTE;
use super::{PROFILE, PUSH, ROWS, TOKEN_WH};

/// Where the foreign meter's push setup is; its method pushes.
const PUSH_SETUP: Obis = Obis::new(0, 7, 25, 9, 0, 255);
/// What the foreign meter pushes.
const PUSHED: i64 = 1_234_567;
const EXECUTION_OK: i64 = 3;
const SLACK_WH: i64 = 50;

const fn at(class_id: u16, logical_name: Obis, index: i8) -> Attribute {
    Attribute { class_id, logical_name, index }
}

/// The buffer of the load profile.
pub(super) const ROWS_OF: Attribute = at(7, obis::LOAD_PROFILE, 2);

fn expect(holds: bool, what: &str) -> Done<()> {
    if holds { Ok(()) } else { Err(format!("failed: {what}")) }
}

/// The rows in the bytes of a profile's buffer, each as its clock and its energy.
pub(super) fn rows(bytes: &[u8]) -> Done<Vec<(DateTime, i64)>> {
    let wrong = || "failed: the buffer is no array of rows".to_owned();
    let array = Data::from_bytes(bytes).ok().and_then(|data| data.as_array()).ok_or_else(wrong)?;
    let row = |data: Data<'_>| {
        let cells = data.as_structure()?;
        let mut cells = cells.iter();
        let stamp = DateTime::from_bytes(*cells.next()?.ok()?.as_bytes()?.first_chunk()?);
        Some((stamp, cells.next()?.ok()?.as_i64()?))
    };
    array.iter().map(|item| item.ok().and_then(row).ok_or_else(wrong)).collect()
}

/// What a client can do over an open association.
pub trait Conversation {
    /// Reads an attribute, or a selected part of it: the value's bytes.
    ///
    /// # Errors
    /// What the meter or the wire said.
    fn get(&mut self, at: Attribute, selection: Option<SelectiveAccess<'_>>) -> Done<Vec<u8>>;
    /// Reads several attributes at once: how many values came.
    ///
    /// # Errors
    /// What the meter or the wire said.
    fn get_list(&mut self, items: &[Attribute]) -> Done<usize>;
    /// Writes an octet-string.
    ///
    /// # Errors
    /// What the meter or the wire said.
    fn set(&mut self, at: Attribute, octets: &[u8]) -> Done<()>;
    /// Invokes a method.
    ///
    /// # Errors
    /// What the meter or the wire said.
    fn action(&mut self, class_id: u16, logical_name: Obis, index: i8, parameter: Data<'_>) -> Done<()>;
    /// The oldest notification that came and was not taken yet: its body, and whether it was protected.
    fn pushed(&mut self) -> Option<(Vec<u8>, bool)> {
        None
    }
    /// Whether the association is ciphered.
    fn is_protected(&self) -> bool {
        false
    }
    /// Reads a number.
    ///
    /// # Errors
    /// What the meter or the wire said, or that it is none.
    fn number(&mut self, class_id: u16, logical_name: Obis, index: i8) -> Done<i64> {
        let bytes = self.get(at(class_id, logical_name, index), None)?;
        let number = Data::from_bytes(&bytes).ok().and_then(|data| data.as_i64());
        number.ok_or_else(|| format!("{bytes:02X?} is no number"))
    }
}

/// Does one operation and checks what came of it.
///
/// # Errors
/// What did not come out as it must, or what the meter said.
pub fn operate(client: &mut impl Conversation, operation: &str, token: &str) -> Done<()> {
    match operation {
        "GET" => {
            let name = client.get(at(1, obis::LOGICAL_DEVICE_NAME, 2), None)?;
            let is_meter = [&b"PYDMETER"[..], b"MGW00000"].contains(&name.get(2..10).unwrap_or_default());
            expect(is_meter, "the logical device name is the meter's")
        }
        "GET with-list" => {
            let wanted = [at(1, obis::LOGICAL_DEVICE_NAME, 2), at(3, obis::IMPORT_ENERGY, 2)];
            expect(client.get_list(&wanted)? == 2, "two values")
        }
        "GET in blocks" => {
            let objects = client.get(at(15, obis::ASSOCIATION, 2), None)?;
            let count =
                Data::from_bytes(&objects).ok().and_then(|data| data.as_array()).map_or(0, |a| a.len());
            expect(count > 9 && objects.len() > 512, "the object list comes in blocks")
        }
        "SET" => write_and_read(client, b"eight by"),
        "SET in blocks" => write_and_read(client, &[0xA5; 2_304]),
        "ACTION" => {
            let before = client.number(7, obis::LOAD_PROFILE, 7)?;
            client.action(7, obis::LOAD_PROFILE, 2, Data::Integer(0))?;
            expect(client.number(7, obis::LOAD_PROFILE, 7)? == before + 1, "a row was captured")
        }
        "by entry" => {
            let mut buffer = [0; 32];
            let some = selection::by_entry(&mut buffer, 11, 14, 1, 0).map_err(|e| e.to_string())?;
            let some = rows(&client.get(ROWS_OF, Some(some))?)?;
            let mut buffer = [0; 32];
            let one = selection::by_entry(&mut buffer, 12, 12, 1, 0).map_err(|e| e.to_string())?;
            let one = rows(&client.get(ROWS_OF, Some(one))?)?;
            expect(some.len() == 4 && one.first() == some.get(1), "rows 11 to 14, and row 12")
        }
        "by range" => by_range(client),
        "token entry" => {
            let before = client.number(112, obis::TOKEN_CREDIT, 2)?;
            client.action(115, obis::TOKEN_GATEWAY, 1, Data::OctetString(token.as_bytes()))?;
            let status = client.get(at(115, obis::TOKEN_GATEWAY, 6), None)?;
            let status = Data::from_bytes(&status).ok().and_then(|data| data.field(0).ok()?.as_i64());
            expect(status == Some(EXECUTION_OK), "token status is 'execution OK'")?;
            let gain = client.number(112, obis::TOKEN_CREDIT, 2)? - before;
            // A house may have consumed meanwhile.
            let worth = i64::from(TOKEN_WH);
            expect((worth - SLACK_WH..=worth).contains(&gain), "credit rose by the token's worth")
        }
        "disconnect" => {
            for (method, closed) in [(1, false), (2, true)] {
                client.action(70, obis::DISCONNECT, method, Data::Integer(0))?;
                let output = client.get(at(70, obis::DISCONNECT, 2), None)?;
                expect(output == [3, u8::from(closed)], "the output state follows")?;
            }
            Ok(())
        }
        PROFILE => {
            let all = rows(&client.get(ROWS_OF, None)?)?;
            expect(all.len() >= ROWS as usize, "10,000 rows at least")?;
            let rising = all.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            expect(rising, "their energy never falls")
        }
        PUSH => {
            client.action(40, PUSH_SETUP, 1, Data::Integer(i8::from(client.is_protected())))?;
            let (body, protected) = client.pushed().ok_or("failed: no push came")?;
            let value = Data::from_bytes(&body).ok().and_then(|data| data.field(0).ok()?.as_i64());
            expect(value == Some(PUSHED), "the push carries the meter's energy")?;
            expect(protected == client.is_protected(), "the push is protected as the association is")
        }
        other => Err(format!("no operation {other}")),
    }
}

fn write_and_read(client: &mut impl Conversation, octets: &[u8]) -> Done<()> {
    client.set(NOTE, octets)?;
    let read = client.get(NOTE, None)?;
    let same = Data::from_bytes(&read).ok().and_then(|data| data.as_bytes().map(|read| read == octets));
    expect(same == Some(true), "what was written is read")
}

/// The whole profile's first rows give the range.
fn by_range(client: &mut impl Conversation) -> Done<()> {
    let mut buffer = [0; 32];
    let first = selection::by_entry(&mut buffer, 21, 24, 1, 0).map_err(|e| e.to_string())?;
    let first = rows(&client.get(ROWS_OF, Some(first))?)?;
    let (Some((from, _)), Some((to, _))) = (first.first(), first.last()) else {
        return Err("failed: no rows to make a range of".into());
    };
    let mut buffer = [0; 128];
    let range = selection::by_clock(&mut buffer, *from, *to, &[]).map_err(|e| e.to_string())?;
    let ranged = rows(&client.get(ROWS_OF, Some(range))?)?;
    expect(ranged == first, "rows 21 to 24 by their times are rows 21 to 24")
}
