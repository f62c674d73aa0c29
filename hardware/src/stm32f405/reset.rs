//! Why the processor started (RM0090, 7.3.21: RCC_CSR).

use crate::board::ResetCause;
use stm32f4xx_hal::pac::RCC;

/// Reads the flags and clears them for the next start.
pub(super) fn cause(registers: &RCC) -> ResetCause {
    let flags = registers.csr().read();
    registers.csr().modify(|_, w| w.rmvf().set_bit());
    // A supply that comes or dips sets its own flags besides those of the last reset, and every reset sets the pin's flag.
    if flags.porrstf().bit_is_set() || flags.borrstf().bit_is_set() {
        ResetCause::PowerOn
    } else if flags.wdgrstf().bit_is_set() || flags.wwdgrstf().bit_is_set() {
        ResetCause::Watchdog
    } else if flags.sftrstf().bit_is_set() {
        ResetCause::Requested
    } else {
        ResetCause::PowerOn
    }
}
