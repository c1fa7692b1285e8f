//! Chromium, driven over its debugging pipe: messages in JSON, each ended by a zero byte.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::server::PATIENCE;

/// Gives it the pipe as its descriptors 3 and 4.
const START: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    last: u64,
    session: String,
    /// What went wrong in the page, as its console says.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it with an empty page.
    pub fn start() -> Self {
        let program = env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            START,
            &program,
            "--headless",
            "--remote-debugging-pipe",
        ]);
        command.args([
            "--no-first-run",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
        ]);
        // It refuses to have a sandbox as root.
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let to = child.stdin.take().expect("a pipe");
        let mut pipe = BufReader::new(child.stdout.take().expect("a pipe"));
        let (messages, from) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while pipe
                .read_until(0, &mut bytes)
                .is_ok_and(|length| length > 0)
            {
                bytes.pop();
                let message = serde_json::from_slice(&bytes).expect("JSON");
                bytes.clear();
                if messages.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            last: 0,
            session: String::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let target = &target["targetId"];
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({"targetId": target, "flatten": true}),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Runtime", "Log", "Page", "DOM", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// Calls a method of the protocol.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let text = format!("{message}\0");
        self.to
            .write_all(text.as_bytes())
            .expect("chromium: is it installed? CHROMIUM=PATH names another one");
        loop {
            let message = self.from.recv_timeout(PATIENCE);
            let mut message = message
                .expect("an answer of chromium: is it installed? CHROMIUM=PATH names another one");
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.complaints.extend(complaint(&message));
        }
    }

    /// Opens an address in a window of some size, in light or dark.
    pub fn open(&mut self, address: &str, (width, height): (u32, u32), theme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", &features);
        let opened = self.call("Page.navigate", &json!({"url": address}));
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// What an expression is in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut result = self.call("Runtime.evaluate", &parameters);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        // While a page is being opened there is nothing in it.
        while self.value(&format!(
            "Boolean((() => {{ try {{ return {expression} }} catch {{ return false }} }})())"
        )) != true
        {
            let text = self.value("document.body?.innerText ?? ''");
            assert!(
                std::time::Instant::now() < deadline,
                "waited in vain for {expression}: {text}"
            );
        }
    }

    /// Takes a picture of the whole page.
    pub fn picture(&mut self, path: &Path) {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", &parameters);
        let data = picture["data"].as_str().expect("a picture");
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64");
        fs::write(path, bytes).expect("written");
    }

    /// Has a file chosen in an element.
    pub fn choose_file(&mut self, element: &str, file: &Path) {
        let expression = format!("document.querySelector('{element}')");
        let found = self.call("Runtime.evaluate", &json!({"expression": expression}));
        let parameters = json!({"objectId": found["result"]["objectId"], "files": [file]});
        self.call("DOM.setFileInputFiles", &parameters);
    }
}

/// What a message says of something that went wrong.
fn complaint(message: &Value) -> Option<String> {
    let parameters = &message["params"];
    let is_bad = match message["method"].as_str()? {
        "Runtime.exceptionThrown" => true,
        "Runtime.consoleAPICalled" => {
            parameters["type"] == "error" || parameters["type"] == "warning"
        }
        "Log.entryAdded" => {
            parameters["entry"]["level"] == "error" || parameters["entry"]["level"] == "warning"
        }
        _ => false,
    };
    is_bad.then(|| parameters.to_string())
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes write into the profile until it ends them, which it does when it is told to close: its end of
        // the pipe is the last to go.
        let close = json!({"id": self.last + 1, "method": "Browser.close"});
        let _ = write!(self.to, "{close}\0");
        while self.from.recv_timeout(PATIENCE).is_ok() {}
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
