//! Display, keypad and button.

use firmware::Meter;
use firmware::panel::Panel;
use hardware::stm32f405::{Button, Display, Keys, Stm32f405};
use protocol::time::{Duration, Instant};

/// Keys are looked at so often.
const SCAN: Duration = Duration::from_millis(10);
/// The glass is written so often while nobody types.
const REFRESH: Duration = Duration::from_millis(500);

/// The meter's front.
#[derive(Debug)]
pub struct Front {
    display: Option<Display>,
    keypad: Option<Keys>,
    button: Button,
    panel: Panel,
    next_scan: Instant,
    next_refresh: Instant,
}

impl Front {
    /// A front that shows the first page.
    pub fn new(now: Instant, display: Option<Display>, keypad: Option<Keys>, button: Button) -> Self {
        Self { display, keypad, button, panel: Panel::new(now), next_scan: now, next_refresh: now }
    }

    /// Looks at keys and button, and keeps the glass up to date.
    pub fn serve(&mut self, now: Instant, meter: &mut Meter<Stm32f405>) {
        if now < self.next_scan {
            return;
        }
        self.next_scan = now + SCAN;
        if self.button.pressed() {
            // What holds the relay open is on the display's own page.
            let _ = meter.press_button();
        }
        if let Some(Ok(Some(key))) = self.keypad.as_mut().map(Keys::scan) {
            self.panel.press(now, key, meter);
            self.next_refresh = now;
        }
        if now >= self.next_refresh {
            self.next_refresh = now + REFRESH;
            let text = self.panel.digits(now, meter);
            if let Some(display) = &mut self.display {
                // A glass that can't be written shows nothing; the meter goes on.
                let _ = display.show(&text);
            }
        }
    }
}
