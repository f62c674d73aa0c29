//! What every board with a Cortex-M4 core needs of the core itself.

mod memory;
mod stack;
pub(crate) mod tick;

pub use stack::stack_used_bytes;
