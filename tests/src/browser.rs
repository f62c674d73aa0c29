//! A page as a person uses it: headless Chromium, driven over its debugging pipe (the Chrome DevTools Protocol, one JSON object
//! after another with a zero byte between them). Clicks and keys are the browser's own input, at the place where the element is
//! drawn: what is hidden, covered or dead cannot be pressed.

use crate::folder::Folder;
use crate::process::START_TIMEOUT;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the browser may be called; the first that is there is taken.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// How long the browser may take for one request, and a page until it shows what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Size of the window.
const WINDOW: &str = "--window-size=1280,900";

/// A browser with one page; ended when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    requests: ChildStdin,
    answers: mpsc::Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    /// What went wrong in the page's scripts.
    exceptions: Vec<String>,
    folder: Folder,
}

impl Browser {
    /// Starts the browser with an empty page.
    ///
    /// # Panics
    /// When there is none, or it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = Folder::new("browser");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log can be written");
        // The browser reads requests from descriptor 3 and writes answers to descriptor 4.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", installed()]);
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-gpu",
            WINDOW,
        ]);
        // Tests may run as root and in containers with little shared memory; the pages are our own.
        command.args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-breakpad"]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell starts the browser");
        let requests = child.stdin.take().expect("piped");
        let answers = listen(child.stdout.take().expect("piped"));
        let mut browser =
            Self { child, requests, answers, session: None, last_id: 0, exceptions: Vec::new(), folder };
        browser.open_page();
        browser
    }

    fn open_page(&mut self) {
        let target = self.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = self.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        self.ask("Page.enable", json!({}));
        self.ask("Runtime.enable", json!({}));
    }

    /// Goes to an address, and waits until the page is there.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub fn open(&mut self, url: &str) {
        let went = self.ask("Page.navigate", json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{url}: {}", went["errorText"]);
        self.until(&format!("{url} to be loaded"), "document.readyState === 'complete'");
    }

    /// What an expression comes to in the page.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.attempt(expression).unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    /// The same, where the page may be about to become another one.
    fn attempt(&mut self, expression: &str) -> Result<Value, Value> {
        let answer =
            self.exchange("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }))?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(thrown.clone()),
        }
    }

    /// Waits until an expression holds in the page.
    ///
    /// # Panics
    /// When it does not in time, with what the page shows then.
    pub fn until(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.attempt(expression).ok() != Some(Value::Bool(true)) {
            if Instant::now() > deadline {
                let picture = self.folder.path().join("seen.png");
                self.screenshot(&picture);
                panic!("waiting for {what}; {} shows it, as text:\n{}", picture.display(), self.text("body"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an element's text, as it is seen, contains this.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until_shown(&mut self, selector: &str, text: &str) {
        let seen =
            format!("document.querySelector({})?.innerText.includes({})", quoted(selector), quoted(text));
        self.until(&format!("{text:?} in {selector}"), &format!("{seen} === true"));
    }

    /// The text of an element as it is seen.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({})?.innerText", quoted(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks the element that a selector means and, where a text is given, that has just this text.
    ///
    /// # Panics
    /// When there is none, or something else is drawn over it.
    pub fn click(&mut self, selector: &str, text: Option<&str>) {
        let text = text.map_or("null".to_owned(), quoted);
        let find = format!(
            "(() => {{
                const wanted = {text};
                const all = [...document.querySelectorAll({})];
                const element = all.find((one) => wanted === null || one.innerText.trim() === wanted);
                if (!element) return null;
                element.scrollIntoView({{ block: 'center' }});
                const box = element.getBoundingClientRect();
                const at = [box.x + box.width / 2, box.y + box.height / 2];
                return element.contains(document.elementFromPoint(at[0], at[1])) ? at : null;
            }})()",
            quoted(selector)
        );
        let at = self.evaluate(&find);
        assert!(at.is_array(), "{selector} with the text {text} cannot be clicked: {}", self.text("body"));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", event);
        }
    }

    /// Clicks into a field and types over what is in it.
    ///
    /// # Panics
    /// When there is no such field.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.click(selector, None);
        self.evaluate("document.activeElement.select()");
        self.ask("Input.insertText", json!({ "text": text }));
    }

    /// Goes down a list with the arrow key until it has this value.
    ///
    /// # Panics
    /// When the list does not have it.
    pub fn choose(&mut self, selector: &str, value: &str) {
        let list = format!("document.querySelector({})", quoted(selector));
        self.evaluate(&format!("{list}.focus()"));
        let options = self.evaluate(&format!("{list}.length")).as_u64().expect("a list has a length");
        for _ in 0..options {
            if self.evaluate(&format!("{list}.value")) == value {
                return;
            }
            for kind in ["rawKeyDown", "keyUp"] {
                let key = json!({ "type": kind, "key": "ArrowDown", "code": "ArrowDown", "windowsVirtualKeyCode": 40 });
                self.ask("Input.dispatchKeyEvent", key);
            }
        }
        panic!("{selector} does not have {value:?}");
    }

    /// Writes what is seen to a file, as PNG.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = from_base64(shot["data"].as_str().expect("a screenshot has data"));
        std::fs::write(file, bytes).expect("the screenshot can be written");
    }

    /// What the page's scripts threw and did not catch, so far.
    #[must_use]
    pub fn exceptions(&self) -> &[String] {
        &self.exceptions
    }

    /// One request, and its answer.
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.exchange(method, parameters).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    /// One request, and its answer or the browser's refusal.
    fn exchange(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut request = json!({ "id": self.last_id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        let sent = self.requests.write_all(format!("{request}\0").as_bytes());
        let deadline = Instant::now() + if self.last_id == 1 { START_TIMEOUT } else { PATIENCE };
        while sent.is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.answers.recv_timeout(left) else { break };
            if message["method"] == "Runtime.exceptionThrown" {
                self.exceptions.push(message["params"]["exceptionDetails"].to_string());
            }
            if message["id"] == self.last_id {
                return match &message["error"] {
                    Value::Null => Ok(message["result"].clone()),
                    refused => Err(refused.clone()),
                };
            }
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("the browser does not answer {method}; it said:\n{log}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked, it ends its helpers too; the profile goes away with the folder afterwards.
        let _ = self.requests.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of the browser that is here.
fn installed() -> &'static str {
    let there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|said| said.status.success());
    NAMES.into_iter().find(there).expect("Chromium is not installed: run tests/run --install-only")
}

fn listen(pipe: impl Read + Send + 'static) -> mpsc::Receiver<Value> {
    let (sender, answers) = mpsc::channel();
    std::thread::spawn(move || {
        for message in BufReader::new(pipe).split(0) {
            let Ok(message) = message else { return };
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    answers
}

/// A text as JavaScript has it.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Bytes from Base64 (RFC 4648, section 4), as the browser writes it: without line breaks.
fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|&digit| digit == byte)) {
        bits = bits << 6 | u32::try_from(digit).expect("64 digits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).expect("eight bits"));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::from_base64;

    #[test]
    fn the_examples_of_rfc_4648_are_read() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(from_base64(text), bytes.as_bytes());
        }
    }
}
