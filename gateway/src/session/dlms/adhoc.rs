//! What an engineer asks of one attribute or method. Reading changes nothing; what is set is read back; a method whose answer was
//! lost is never invoked again by us.

use super::meter::Meter;
use crate::session::order::{AdHoc, Target};
use crate::session::trouble::Trouble;
use crate::session::work::Ending;
use protocol::codec::axdr::Data;
use protocol::dlms::model::{Attribute, Method};

/// The longest value that is shown in evidence, in hexadecimal digits.
const SHOWN_MAX: usize = 400;

impl Target {
    fn attribute(&self) -> Attribute {
        Attribute { class_id: self.class_id, logical_name: self.name, index: self.index }
    }
}

impl Meter<'_> {
    /// Does it, and says what came of it.
    pub(super) async fn ad_hoc(&mut self, what: &AdHoc) -> Result<Ending, Trouble> {
        let done = match what {
            AdHoc::Get(target) => {
                let value = self.raw(target.attribute()).await?;
                self.show(target, &value);
                return Ok(Ending::Done);
            }
            AdHoc::Set(target, value) => {
                self.attempt.note(format!("SET {target}: sending {}", hex(value)));
                self.attempt.about_to_send();
                self.association.set(self.pipe, target.attribute(), value, "an engineer's value").await
            }
            AdHoc::Invoke(target, parameter) => {
                let method =
                    Method { class_id: target.class_id, logical_name: target.name, index: target.index };
                self.attempt.note(format!("ACTION {target}: sending {}", hex(parameter)));
                self.attempt.about_to_send();
                self.act(method, parameter, "an engineer's action").await
            }
        };
        match done {
            Ok(()) => self.attempt.note("success"),
            Err(Trouble::Refused { reason, code }) => {
                self.attempt.note(&reason);
                return Ok(Ending::Rejected { reason, code });
            }
            Err(trouble) => return Err(trouble),
        }
        match what {
            AdHoc::Set(..) => self.is_set(what).await,
            _ => Ok(Ending::Done),
        }
    }

    /// Looks whether an attribute has the value that was set; changes nothing.
    pub(super) async fn is_set(&mut self, what: &AdHoc) -> Result<Ending, Trouble> {
        let AdHoc::Set(target, wanted) = what else {
            return Err(Trouble::NotReady("only what was set can be looked at".into()));
        };
        let value = self.raw(target.attribute()).await?;
        self.show(target, &value);
        if value == *wanted {
            return Ok(Ending::Done);
        }
        let reason = format!("the attribute is {}, not as it was to be set", hex(&value));
        Ok(Ending::Rejected { reason, code: None })
    }

    fn show(&mut self, target: &Target, value: &[u8]) {
        let meaning = Data::from_bytes_in(value).map(|data| format!("{data:?}")).unwrap_or_default();
        let meaning: String = meaning.chars().take(SHOWN_MAX).collect();
        self.attempt.note(format!("GET {target}: {} {meaning}", hex(value)));
    }
}

fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(SHOWN_MAX / 2).map(|byte| format!("{byte:02X}")).collect();
    if bytes.len() > SHOWN_MAX / 2 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}
