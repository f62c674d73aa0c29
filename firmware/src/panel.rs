//! The front of a meter: keys become tokens and short codes, answers and pages become what a seven-segment glass can show.

use hardware::board::Board;
use heapless::String;
use protocol::time::{Duration, Instant};

use crate::display::{Line, Page};
use crate::meter::Meter;

/// Digits of a token.
const TOKEN_DIGITS: usize = 20;
/// How long an answer stays before the pages go on.
const ANSWER: Duration = Duration::from_secs(8);
/// How long a page stays.
const PAGE: Duration = Duration::from_secs(6);
/// Typing that stops for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a keypad with digits, `*` and `#` and a display share.
///
/// Digits are a token, which goes in with its twentieth. `#` begins a short code and ends it. `*` takes the last key back.
#[derive(Debug)]
pub struct Panel {
    typed: String<TOKEN_DIGITS>,
    last_key: Instant,
    page: usize,
    /// What is shown until when; `None`: the pages go round.
    answer: Option<Line>,
    until: Instant,
}

impl Panel {
    /// A panel that shows the first page.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { typed: String::new(), last_key: now, page: 0, answer: None, until: now + PAGE }
    }

    /// A key was pressed. Characters that the keypad does not have do nothing.
    pub fn press<B: Board>(&mut self, now: Instant, key: char, meter: &mut Meter<B>) {
        self.last_key = now;
        match key {
            '*' => drop(self.typed.pop()),
            '0'..='9' | '#' => {
                // Never full: a token is entered with its last digit.
                let _ = self.typed.push(key);
                let short_code = self.typed.len() > 1 && self.typed.starts_with('#') && key == '#';
                if short_code || self.typed.len() == TOKEN_DIGITS {
                    let keys = core::mem::take(&mut self.typed);
                    self.answer = Some(meter.typed(&keys));
                    self.until = now + ANSWER;
                }
            }
            _ => {}
        }
    }

    /// The text to show now: what is being typed, else an answer, else the pages in turn.
    pub fn text<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) -> Line {
        if !self.typed.is_empty() {
            if now < self.last_key + PATIENCE {
                return Line::try_from(self.typed.as_str()).unwrap_or_default();
            }
            self.typed.clear();
        }
        if now >= self.until {
            if self.answer.take().is_none() {
                self.page = (self.page + 1) % Page::ALL.len();
            }
            self.until = now + PAGE;
        }
        match &self.answer {
            Some(answer) => answer.clone(),
            None => meter.page(Page::ALL[self.page]),
        }
    }

    /// The same for a glass that shows digits only: the number of the page and its first figure; the last digits typed.
    pub fn digits<B: Board>(&mut self, now: Instant, meter: &mut Meter<B>) -> String<16> {
        let text = self.text(now, meter);
        let mut out = String::new();
        if !self.typed.is_empty() {
            let shown = self.typed.len().saturating_sub(12);
            // At most 12 of them.
            let _ = out.push_str(self.typed.get(shown..).unwrap_or(""));
            return out;
        }
        if self.answer.is_none() {
            let code = Page::ALL[self.page] as u8;
            for digit in [code / 10, code % 10] {
                let _ = out.push(char::from(b'0' + digit));
            }
            let _ = out.push(' ');
        }
        let figure = text.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
        for character in figure.unwrap_or("---").chars() {
            if out.push(character).is_err() {
                break;
            }
        }
        out
    }
}
