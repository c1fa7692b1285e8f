//! `serve` as its clients see it, those that mean no good too, and what its processes may do.

mod browser;
mod clients;
#[path = "../common.rs"]
#[expect(dead_code, reason = "other suites ask for more")]
mod common;
mod page;
#[path = "../process.rs"]
mod process;
mod processes;
mod server;
#[path = "../valid.rs"]
mod valid;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytemuck::Zeroable as _;
use serde_json::Value;
use verity_trace::export::Document;
use verity_trace::recording::{Encoder, Header, Kept, Picture, Writer};
use verity_trace::snapshot::{Era, Snapshot};
use verity_trace_ebpf::record::Record;

use server::{Server, TOKEN, get, once, request};

/// The program under test.
fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_verity-trace"))
}

#[test]
fn every_route_answers_and_says_what_it_is() {
    let server = Server::start(&["--demo"]);
    let page = get(&server, "/", &[]);
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.body.starts_with("<!DOCTYPE html>"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");

    let snapshot = get(&server, "/snapshot.json", &[]);
    assert_eq!(
        (snapshot.status, snapshot.header("content-type")),
        (200, "application/json")
    );
    let document = valid::written("export", &snapshot.body);
    assert_eq!(document["devices"][0]["name"], "root");
    assert!(document["devices"][0]["advice"]["verdict"].is_string());

    let text = get(&server, "/metrics", &[]);
    assert!(
        text.header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(!text.body.contains("# EOF"), "{}", text.body);
    let openmetrics = get(
        &server,
        "/metrics",
        &[("Accept", "application/openmetrics-text")],
    );
    assert!(
        openmetrics
            .header("content-type")
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    assert!(openmetrics.body.ends_with("# EOF\n"));
    for answer in [&text, &openmetrics] {
        assert_eq!((answer.status, answer.header("vary")), (200, "Accept"));
        assert!(answer.body.contains("verity_trace_"), "{}", answer.body);
    }

    assert_eq!(get(&server, "/healthz", &[]).body, "ok\n");
    assert_eq!(get(&server, "/nothing", &[]).status, 404);
    assert_eq!(get(&server, "/../etc/passwd", &[]).status, 404);
    for answer in [&page, &snapshot, &text, &get(&server, "/nothing", &[])] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert!(
            answer
                .header("content-security-policy")
                .contains("frame-ancestors 'none'")
        );
    }
    let head = request(
        &server,
        "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), page.body.len().to_string());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"] {
        let text = format!(
            "{method} /snapshot.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        );
        let answer = request(&server, &text);
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "GET, HEAD"),
            "{method}"
        );
    }
}

#[test]
fn another_hosts_name_gets_nothing() {
    let server = Server::start(&["--demo", "--host", "db1.example"]);
    for (host, expected) in [
        ("Host: localhost\r\n", 200),
        ("Host: 127.0.0.1:1\r\n", 200),
        ("Host: DB1.example\r\n", 200),
        ("Host: evil.example\r\n", 421),
        ("Host: localhost\r\nHost: evil.example\r\n", 421),
        ("", 421),
    ] {
        for path in ["/", "/snapshot.json", "/metrics", "/healthz"] {
            let text = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
            let answer = request(&server, &text);
            assert_eq!(answer.status, expected, "{host}{path}");
            assert!(expected == 200 || !answer.body.contains("root"));
        }
    }
}

#[test]
fn records_and_who_submitted_need_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = recording(folder.path(), "who_submits");
    let file = recording.to_str().expect("a name");
    let bearer = format!("Bearer {TOKEN}");
    let known: &[(&str, &str)] = &[("Authorization", &bearer)];
    let token = server::token(folder.path());
    let server = Server::start(&[file, "--token-file", &token]);
    let all = get(&server, "/snapshot.json", known);
    let part = get(&server, "/snapshot.json", &[]);
    let wrong = get(
        &server,
        "/snapshot.json",
        &[("Authorization", "Bearer 0123456789abcdeX")],
    );
    assert_eq!((all.status, part.status, wrong.status), (200, 200, 401));
    let [all, part] = [all, part].map(|it| serde_json::from_str::<Value>(&it.body).expect("JSON"));
    let submitters = |document: &Value| -> usize {
        let devices = document["devices"].as_array().expect("devices").iter();
        devices.filter(|it| it.get("submitters").is_some()).count()
    };
    assert!(submitters(&all) > 0);
    assert_eq!(submitters(&part), 0);
    assert_eq!(all["devices"][0]["ios"], part["devices"][0]["ios"]);

    let records = get(&server, "/records", known);
    assert_eq!(records.status, 200, "{}", records.body);
    let records = valid::written("records", &records.body);
    assert!(records["records"].is_array(), "{records}");
    for unknown in [
        get(&server, "/records", &[]),
        get(&server, "/records", &[("Authorization", "Bearer x")]),
    ] {
        assert_eq!(unknown.status, 401);
        assert!(unknown.header("www-authenticate").starts_with("Bearer"));
    }
    for open in ["/", "/healthz", "/metrics"] {
        let answer = get(&server, open, &[]);
        assert_eq!(answer.status, 200, "{open}");
        assert!(!answer.body.contains("\"fio\""), "{open}");
    }
}

#[test]
fn the_slowest_ios_are_those_of_the_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = server::token(folder.path());
    let server = Server::start(&["--demo=7.3", "--token-file", &token]);
    let bearer = format!("Bearer {TOKEN}");
    let records = || -> Vec<Value> {
        let answer = get(&server, "/records", &[("Authorization", &bearer)]);
        let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        document["records"].as_array().cloned().unwrap_or_default()
    };
    server::wait_until("there are some", || !records().is_empty());
    let records = records();
    let totals: Vec<_> = records.iter().map(|it| it["total_ns"].as_u64()).collect();
    assert!(totals.is_sorted_by(|one, other| one >= other), "{totals:?}");
    assert!(records[0]["command"].is_string());
}

#[test]
fn a_recording_goes_on_and_ends_or_begins_anew() {
    let ends = Server::start(&["--demo=6.1"]);
    let watched = |server: &Server| -> u64 {
        let answer = get(server, "/snapshot.json", &[]);
        let document: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        document["watched_ns"].as_u64().unwrap_or_default()
    };
    let start = watched(&ends);
    server::wait_until("it has gone on", || watched(&ends) > start);
    let folder = tempfile::tempdir().expect("a folder");
    let recording = recording(folder.path(), "hostile_names");
    let short = Server::start(&[recording.to_str().expect("a name"), "--repeat"]);
    let [first, second] = [1_000_000_000, 2_000_000_000];
    for expected in [second, first, second] {
        server::wait_until("it shows the other snapshot", || {
            watched(&short) == expected
        });
    }
}

#[test]
fn hostile_names_are_served_as_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = recording(folder.path(), "hostile_names");
    let server = Server::start(&[recording.to_str().expect("a name")]);
    for path in ["/snapshot.json", "/metrics"] {
        let answer = get(&server, path, &[]);
        assert_eq!(answer.status, 200);
        assert!(
            !answer.body.contains(['\u{1b}', '\u{9b}', '\u{202e}']),
            "{path}"
        );
    }
}

#[test]
fn what_cannot_be_served_is_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = listener.local_addr().expect("a port").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let token = server::token(folder.path());
    let open = folder.path().join("open");
    fs::write(&open, TOKEN).expect("written");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("a mode");
    let open = open.to_str().expect("a name");
    let socket = folder.path().join("none/socket");
    let unix = format!("unix:{}", socket.display());
    for (arguments, code, expected) in [
        (&["--listen", "127.0.0.1"][..], 2, "neither ADDRESS:PORT"),
        (
            &["--listen", "0.0.0.0:0"],
            2,
            "this needs --token-file, --tls-certificate and --tls-key",
        ),
        (
            &["--listen", "0.0.0.0:0", "--token-file", &token],
            2,
            "others reach 0.0.0.0:0",
        ),
        (
            &[
                "--listen",
                "192.0.2.1:0",
                "--token-file",
                &token,
                "--tls-certificate",
                open,
                "--tls-key",
                &token,
            ],
            6,
            "there is no certificate",
        ),
        (&["--tls-key", &token], 2, "--tls-certificate"),
        (&["--token-file", open], 6, "others may read"),
        (&["--token-file", "/dev/null"], 6, "no regular file"),
        (&["--listen", &unix], 1, "No such file"),
        (&["--interval", "1s"], 2, "a recording is not watched"),
    ] {
        let (status, message) = once(&[&["--demo"], arguments].concat());
        assert_eq!(status, Some(code), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
    let (status, message) = once(&["--demo", "--listen", &busy]);
    assert_eq!(status, Some(2), "{message}");
    assert!(message.contains("it is taken already"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    drop(listener);
}

/// A recording of a scenario at two moments, a second apart, with some records.
fn recording(folder: &Path, scenario: &str) -> PathBuf {
    const HEADER: Header = Header {
        realtime_ns: 1_795_000_000_000_000_000,
        monotonic_ns: 5_000_000_000,
        boottime_ns: 6_000_000_000,
    };
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let snapshot = common::scenario(scenario).snapshot();
    let records: Vec<Record> = (0..100)
        .map(|number| Record {
            seq: number,
            mapped_at: 5_000_000_000 + number * 1_000_000,
            total_ns: 40_000 + number,
            bytes: 4_096,
            device: 253 << 20,
            command: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
            ..Record::zeroed()
        })
        .collect();
    for second in 1..=2 {
        let time = std::time::Duration::from_secs(second);
        let snapshot = Snapshot {
            taken_at: snapshot.taken_at + time,
            watched: time,
            ..snapshot.clone()
        };
        let picture = Picture {
            monotonic_ns: 5_000_000_000 + second * 1_000_000_000,
            kept: Kept::default(),
            document: Document::new(&snapshot, None),
        };
        let ios = encoder.ios(&records, Some(Era::Bh)).expect("a block");
        let picture = encoder.picture(&picture).expect("a block");
        for frame in [ios, picture] {
            writer.write(&frame).expect("written");
        }
    }
    let path = folder.join(format!("{scenario}.vtrec"));
    fs::write(&path, writer.into_inner()).expect("written");
    path
}
