//! Meter models as data: one TOML file per model says how to speak to it and where its values are. Files are checked whole
//! when they are loaded; what is wrong is said with the line it stands on.

mod ability;
mod dlms;
mod frames;
mod manner;
mod modbus;
mod number;
mod profile;

pub use ability::Ability;
pub use dlms::{DlmsModel, Objects, PushField, ShortNames, TokenForm};
pub use manner::{AssociationManner, ClockManner, LinkManner, SecurityManner};
pub use modbus::{Access, ModbusModel, Point, Role, Table, ValueType, WordOrder};
pub use profile::{Cadence, ChannelModel, ProfileModel, Purpose, RowAccess};

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// File name and text of each.
macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        [$((concat!($name, ".toml"), include_str!(concat!("../../../models/", $name, ".toml")))),+]
    };
}

/// The models that come with the gateway: file name and text.
const BUILT_IN: [(&str, &str); 12] = built_in![
    "abb-b23",
    "carlo-gavazzi-em340",
    "chint-dtsu666",
    "eastron-sdm120",
    "eastron-sdm630",
    "feeder-modbus",
    "janitza-umg96rm",
    "reference-dlms",
    "reference-modbus",
    "schneider-iem3155",
    "siemens-pac3200",
    "sunspec-meter",
];

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each kind of meter, shared by all meters of it"
)]
pub enum Model {
    /// Spoken to by DLMS/COSEM.
    Dlms(DlmsModel),
    /// Spoken to by Modbus.
    Modbus(ModbusModel),
}

/// Something wrong with a model file: `reference-modbus.toml:12: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct ModelError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ModelError {
    fn at(file: &str, text: &str, span: &Range<usize>, message: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        Self { file: file.into(), line: before.matches('\n').count() + 1, message: message.into() }
    }
}

/// A check that failed, with the place in the text.
type Flaw = (Range<usize>, String);

#[derive(Deserialize)]
#[serde(tag = "protocol", rename_all = "lowercase")]
enum Protocol {
    Dlms,
    Modbus,
}

impl Model {
    /// Which edition of its file it is.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match self {
            Self::Dlms(model) => model.version,
            Self::Modbus(model) => model.version,
        }
    }

    /// What it describes, for people.
    #[must_use]
    pub fn description(&self) -> &str {
        match self {
            Self::Dlms(model) => &model.description,
            Self::Modbus(model) => &model.description,
        }
    }

    /// Reads the text of a model file. The model's name is the file name without `.toml`.
    ///
    /// # Errors
    /// The first thing wrong, with its line.
    pub fn parse(file: &str, text: &str) -> Result<Self, ModelError> {
        let protocol: Protocol = parse(file, text)?;
        let model = match protocol {
            Protocol::Dlms => DlmsModel::check(parse(file, text)?).map(Self::Dlms),
            Protocol::Modbus => ModbusModel::check(parse(file, text)?).map(Self::Modbus),
        };
        model.map_err(|(span, message)| ModelError::at(file, text, &span, message))
    }
}

/// The edition of a file that does not say one.
const fn first_edition() -> u32 {
    1
}

fn parse<'a, T: Deserialize<'a>>(file: &str, text: &'a str) -> Result<T, ModelError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        ModelError::at(file, text, &error.span().unwrap_or(0..0), error.message().trim())
    })
}

/// All models the gateway knows, by name. Cloning shares them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Models(Arc<BTreeMap<String, Arc<Model>>>);

impl Models {
    /// The models that come with the gateway, and those of a directory if one is given. A file there replaces the
    /// built-in model of the same name.
    ///
    /// # Errors
    /// The first thing wrong, with file and line.
    pub fn load(directory: Option<&Path>) -> Result<Self, ModelError> {
        let mut models = BTreeMap::new();
        for (file, text) in BUILT_IN {
            models.insert(name_of(file), Arc::new(Model::parse(file, text)?));
        }
        if let Some(directory) = directory {
            for (file, text) in files_of(directory)? {
                let model = Model::parse(&file, &text)?;
                frames::check_beside(directory, &file, &model)?;
                models.insert(name_of(&file), Arc::new(model));
            }
        }
        Ok(Self(Arc::new(models)))
    }

    /// The model of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Arc<Model>> {
        self.0.get(name).cloned()
    }

    /// All models with their names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Model)> {
        self.0.iter().map(|(name, model)| (name.as_str(), &**model))
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn name_of(file: &str) -> String {
    file.trim_end_matches(".toml").to_owned()
}

fn files_of(directory: &Path) -> Result<Vec<(String, String)>, ModelError> {
    let unreadable = |path: &Path, error: std::io::Error| ModelError {
        file: path.display().to_string(),
        line: 1,
        message: format!("cannot be read: {error}"),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
        let path = entry.map_err(|error| unreadable(directory, error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            files.push((file, text));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_models_are_good() {
        let models = Models::load(None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            models.names().collect::<Vec<_>>(),
            [
                "abb-b23",
                "carlo-gavazzi-em340",
                "chint-dtsu666",
                "eastron-sdm120",
                "eastron-sdm630",
                "feeder-modbus",
                "janitza-umg96rm",
                "reference-dlms",
                "reference-modbus",
                "schneider-iem3155",
                "siemens-pac3200",
                "sunspec-meter"
            ]
        );
    }

    #[test]
    fn an_unknown_protocol_or_key_is_named_with_its_line() {
        let error =
            Model::parse("x.toml", "# a model\nprotocol = \"m-bus\"\n").expect_err("unknown protocol");
        assert!(error.to_string().starts_with("x.toml:2: "), "{error}");
        let error = Model::parse("x.toml", "protocol = \"modbus\"\ndescription = \"x\"\ncolour = 3\n")
            .expect_err("key");
        assert!(error.to_string().starts_with("x.toml:3: unknown field `colour`"), "{error}");
    }
}
