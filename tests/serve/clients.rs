//! Clients that mean no good, and those that are slow. Others are served meanwhile, and what the server takes does
//! not grow.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use crate::process::resident_kib;
use crate::server::{Answer, Server, get, wait_until};

/// How many connections come and go.
const CONNECTIONS: usize = 10_000;
/// How many malformed requests there are.
const MALFORMED: usize = 3_000;
/// How many do not read what they are sent.
const SLOW: usize = 60;
/// KiB by which a process may grow.
const GROWTH: u64 = 64 << 10;

/// What holds before and after.
struct Before {
    processes: [u32; 2],
    memory: [u64; 2],
}

impl Before {
    fn of(server: &Server) -> Self {
        // What everybody asks for is made by then.
        for path in ["/", "/metrics", "/snapshot.json"] {
            assert_eq!(get(server, path, &[]).status, 200);
        }
        let processes = [server.pid(), server.http_pid()];
        Self {
            memory: processes.map(resident_kib),
            processes,
        }
    }

    /// That it is the same server, as large as it was, and that it goes on with what it shows.
    fn holds(&self, server: &Server) {
        assert_eq!(get(server, "/healthz", &[]).status, 200);
        assert_eq!([server.pid(), server.http_pid()], self.processes);
        let memory = self.processes.map(resident_kib);
        println!("KiB before {:?}, after {memory:?}", self.memory);
        for (before, after) in self.memory.into_iter().zip(memory) {
            assert!(after < before + GROWTH, "{before} KiB, then {after} KiB");
        }
        let shown = || get(server, "/snapshot.json", &[]).body;
        let before = shown();
        wait_until("it goes on", || shown() != before);
    }
}

#[test]
fn connections_without_number_come_and_go() {
    let server = Server::start(&["--demo", "--repeat"]);
    let before = Before::of(&server);
    for number in 0..CONNECTIONS {
        let mut stream = server.connect();
        if number % 3 == 0 {
            // One that is gone already does not matter.
            let _ = stream.write_all(b"GET /snapshot.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
    }
    before.holds(&server);
}

#[test]
fn what_is_no_request_gets_an_error_or_nothing() {
    const GOOD: &str =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    let server = Server::start(&["--demo", "--repeat"]);
    let before = Before::of(&server);
    let mut random = Pcg64Mcg::seed_from_u64(7);
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..MALFORMED {
        let mut bytes = GOOD.as_bytes().to_vec();
        match number % 6 {
            0 => bytes.truncate(random.random_range(0..bytes.len())),
            1 => {
                bytes = (0..random.random_range(1..2_000))
                    .map(|_| random.random())
                    .collect();
            }
            2 => {
                let long = "x".repeat(random.random_range(8_000..100_000));
                bytes = format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
            }
            3 => {
                let many = "a: b\r\n".repeat(random.random_range(60..5_000));
                bytes = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").into_bytes();
            }
            4 => {
                let length = "9".repeat(random.random_range(1..40));
                bytes = format!(
                    "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nx"
                )
                .into_bytes();
            }
            _ => {
                for _ in 0..random.random_range(1..6) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] = random.random();
                }
            }
        }
        let status = sent(&server, &bytes);
        *statuses.entry(status).or_insert(0) += 1;
        let is_proper = matches!(
            status,
            0 | 200 | 400 | 401 | 404 | 405 | 408 | 413 | 414 | 421 | 431 | 505
        );
        assert!(is_proper, "{status}: {}", String::from_utf8_lossy(&bytes));
    }
    println!("answers by status: {statuses:?}");
    assert!(
        statuses.contains_key(&400) && statuses.contains_key(&431),
        "{statuses:?}"
    );
    before.holds(&server);
}

/// The status of the answer to this, 0 where there is none.
fn sent(server: &Server, bytes: &[u8]) -> u16 {
    let mut stream = server.connect();
    // Who is refused may be closed before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&answer).status
}

#[test]
fn one_byte_a_second_is_too_slow_and_holds_up_nobody() {
    let server = Server::start(&["--demo", "--repeat"]);
    let before = Before::of(&server);
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| server.connect()).collect();
    let start = Instant::now();
    let request = b"GET /snapshot.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut sent = 0;
    while !slow.is_empty() {
        let byte = request[sent % request.len()];
        slow.retain_mut(|stream| stream.write_all(&[byte]).is_ok());
        sent += 1;
        others_are_served(&server);
        // A second, or until the server closes.
        if let Some(first) = slow.first_mut() {
            first
                .set_read_timeout(Some(Duration::from_secs(1)))
                .expect("a limit");
            let _ = first.read(&mut [0; 256]);
        }
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "they are still served"
        );
    }
    println!("closed after {:?} and {sent} bytes", start.elapsed());
    assert!(sent < request.len(), "they were never done");
    before.holds(&server);
}

#[test]
fn one_that_does_not_read_is_left_in_the_end() {
    let server = Server::start(&["--demo", "--repeat"]);
    let before = Before::of(&server);
    let many = "GET /snapshot.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream
            .set_write_timeout(Some(Duration::from_millis(100)))
            .expect("a limit");
        // As much as there is room for.
        let _ = stream.write_all(many.as_bytes());
    }
    let start = Instant::now();
    before.holds(&server);
    // The kernel knows that a connection was closed before anything is read from it.
    let is_closed = |stream: &TcpStream| match stream.take_error() {
        Ok(error) => {
            error.is_some()
                || (&*stream)
                    .write(b"x")
                    .is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
        }
        Err(_) => true,
    };
    wait_until("they are left", || {
        others_are_served(&server);
        slow.retain(|stream| !is_closed(stream));
        slow.is_empty()
    });
    println!("closed after {:?}", start.elapsed());
    before.holds(&server);
}

/// That nobody who asks now waits for those who are slow.
fn others_are_served(server: &Server) {
    let asked = Instant::now();
    assert_eq!(get(server, "/healthz", &[]).status, 200);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}
