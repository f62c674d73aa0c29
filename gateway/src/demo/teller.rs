//! What the demo says in the terminal.

use std::time::Instant;

/// Tells the story line by line, each with the seconds since the demo began.
#[derive(Debug)]
pub struct Teller {
    began: Instant,
    quiet: bool,
}

impl Teller {
    /// A teller who begins now. A quiet one says nothing: for tests.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { began: Instant::now(), quiet }
    }

    /// The head of a step.
    pub fn step(&self, number: usize, title: &str) {
        self.say(&format!("\nStep {number}  {title}"));
    }

    /// One line of what happens.
    pub fn line(&self, text: impl AsRef<str>) {
        let ms = self.began.elapsed().as_millis();
        self.say(&format!("  {:4}.{} s  {}", ms / 1_000, ms / 100 % 10, text.as_ref()));
    }

    /// Evidence that the gateway recorded, indented below what it is about.
    pub fn evidence<'a>(&self, lines: impl IntoIterator<Item = &'a str>) {
        for line in lines {
            self.say(&format!("              | {line}"));
        }
    }

    /// What was verified, and how.
    pub fn verified(&self, text: impl AsRef<str>) {
        self.line(format!("VERIFIED: {}", text.as_ref()));
    }

    /// A line as it is.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            println!("{text}");
        }
    }
}
