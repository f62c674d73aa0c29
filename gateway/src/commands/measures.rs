//! What the engine counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// A state of a command.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// Its name.
    pub state: &'static str,
}

/// Steps of commands that were stored, by the state they led to.
pub type CommandSteps = Family<StateLabel, Counter>;
