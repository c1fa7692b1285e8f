//! A server that is started and ended here, and requests to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// What the tests know.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Longer than anything here takes on a slow machine; reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// See the module.
pub struct Server {
    child: Child,
    /// Where it says that it is.
    pub address: String,
    /// What it says after that. Clients of several threads share all of this.
    lines: Mutex<Receiver<String>>,
}

impl Server {
    /// Serves on a port that the kernel chooses.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", arguments)
    }

    /// Serves, once something is known.
    pub fn start_on(listen: &str, arguments: &[&str]) -> Self {
        let server = Self::begin(listen, arguments);
        if server.address.starts_with("http:") {
            wait_until("something is known", || {
                get(&server, "/healthz", &[]).status == 200
            });
        }
        server
    }

    fn begin(listen: &str, arguments: &[&str]) -> Self {
        let mut child = crate::program()
            .args(["serve", "--listen", listen])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (said, lines) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // A test that is over does not listen.
                let _ = said.send(line);
            }
        });
        let line = lines.recv_timeout(PATIENCE).expect("it says where it is");
        let address = line.split(' ').nth(2).expect("an address").to_owned();
        assert!(line.starts_with("verity-trace: serving "), "{line}");
        Self {
            child,
            address,
            lines: Mutex::new(lines),
        }
    }

    /// What it says once it serves, until its end.
    pub fn said(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panicked").iter().collect()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        let port = self.address.trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse().ok()).expect("a port")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    /// The process that watches.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process with the socket.
    pub fn http_pid(&self) -> u32 {
        let pid = self.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).expect("its children");
        let mut children = children.split_whitespace();
        let child = children.next().expect("a child").parse().expect("a number");
        assert_eq!(children.next(), None);
        child
    }

    /// Waits for its end, and says the exit code.
    pub fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it until it ends by itself, and says its exit code and what it says.
pub fn once(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = crate::program();
    let command = command.arg("serve").args(arguments);
    let output = command.output().expect("the program starts");
    assert!(output.stdout.is_empty());
    (
        output.status.code(),
        String::from_utf8(output.stderr).expect("text"),
    )
}

/// A file with the token.
pub fn token(folder: &Path) -> String {
    let path = folder.join("token");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    writeln!(file.expect("a file"), "{TOKEN}").expect("written");
    path.to_str().expect("a name").to_owned()
}

/// Asks until the answer is yes.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// 0 where there is none.
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// Reads what a server sent until it closed.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return Self::default();
        };
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Self {
            status: status.unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    /// The value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(it, _)| it == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Asks for something.
pub fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    request(
        server,
        &format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n",
            headers.concat()
        ),
    )
}

/// Sends this, and reads until the server closes.
pub fn request(server: &Server, text: &str) -> Answer {
    let mut stream = server.connect();
    // Who is refused may be closed before all is sent.
    let _ = stream.write_all(text.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Answer::parse(&bytes)
}
