//! Every typed class, served and asked through both engines, with values written by another author's implementation.

mod image;
mod measured;
mod schedules;
mod setup;

use protocol::codec::xdlms::{ActionResult, DataAccessResult};
use protocol::cosem::class::Value;
use protocol::cosem::{Attr, Meth};
use protocol::dlms::client::{self, Error, Failure};

use crate::meter::*;

/// A reader whose meter has one object of the class under test.
pub struct Desk(Pair<256, 256>);

impl Desk {
    pub fn new(object: impl Served + 'static) -> Self {
        let mut pair = Pair::new(config(WAYS[1]), READER);
        pair.meter.shelf = Some(Box::new(object));
        assert_eq!(pair.associate(), Outcome::Associated);
        Self(pair)
    }

    /// The bytes of an attribute.
    pub fn read<T>(&mut self, attribute: Attr<T>) -> Vec<u8> {
        match self.0.get(attribute.of(SHELF)) {
            Outcome::Value(value) => value,
            other => panic!("{attribute:?}: {other:?}"),
        }
    }

    pub fn write<T: Value>(&mut self, attribute: Attr<T>, value: &T::Of<'_>) -> Result<(), DataAccessResult> {
        self.0.client.set_value(self.0.now, attribute, SHELF, value).unwrap();
        match self.0.run() {
            Outcome::Done => Ok(()),
            Outcome::Failed(Failure { error: Error::DataAccess(result), .. }) => Err(result),
            other => panic!("{attribute:?}: {other:?}"),
        }
    }

    pub fn invoke<T: Value>(&mut self, method: Meth<T>, parameter: &T::Of<'_>) -> Result<(), ActionResult> {
        self.0.client.invoke(self.0.now, method, SHELF, parameter).unwrap();
        match self.0.run() {
            Outcome::Done => Ok(()),
            Outcome::Failed(Failure { error: Error::Action(result), outcome: client::Outcome::NotDone }) => {
                Err(result)
            }
            other => panic!("{method:?}: {other:?}"),
        }
    }
}

/// The bytes that the other implementation gives for an attribute (origin in the file).
pub fn vector(class_id: u16, index: i8) -> Vec<u8> {
    let text = include_str!("../../../vectors/dlms/classes.txt");
    let name = format!("{class_id}.{index} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
    (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// What the meter gives is what the other implementation gives, and decodes.
pub fn agrees<T: Value>(desk: &mut Desk, attribute: Attr<T>) {
    let ours = desk.read(attribute);
    assert_eq!(ours, vector(attribute.class_id, attribute.index), "{attribute:?}");
    attribute.decode_bytes(&ours).unwrap();
}
