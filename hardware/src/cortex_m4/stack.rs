//! How deep the stack has been: the start-up code paints it, and what is no longer painted was used.

/// What `cortex-m-rt` (feature `paint-stack`) fills the unused RAM with before `main`.
const PAINT: u32 = 0xCCCC_CCCC;

unsafe extern "C" {
    /// The top of the stack, where it starts; from the linker script.
    static _stack_start: u32;
    /// The lowest address it may reach.
    static _stack_end: u32;
}

/// The most bytes of stack used since the start, interrupts included. Reads the unused RAM word by word: some ten
/// thousand cycles.
#[must_use]
pub fn stack_used_bytes() -> usize {
    let (top, mut word) = (&raw const _stack_start, &raw const _stack_end);
    // SAFETY: the linker script puts both symbols into RAM, word-aligned, the end below the start; reading what lies
    // between has no effect, and a volatile read makes no assumption about what the stack does there meanwhile.
    while word < top && unsafe { word.read_volatile() } == PAINT {
        word = word.wrapping_add(1);
    }
    top.addr() - word.addr()
}
