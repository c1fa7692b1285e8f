//! The two processes: what each may do, and how they end.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::status;
use crate::server::{self, Answer, Server, TOKEN, get, wait_until};

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("a process");
}

fn is_there(pid: u32) -> bool {
    let state = status(pid, "State");
    !state.is_empty() && !state.starts_with('Z')
}

#[test]
fn the_one_with_the_socket_may_do_nothing_else() {
    let server = Server::start(&["--demo"]);
    let (parent, child) = (server.pid(), server.http_pid());
    for field in [
        "Uid",
        "Gid",
        "Groups",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
        "Threads",
    ] {
        println!(
            "{field}: watches {}, serves {}",
            status(parent, field),
            status(child, field)
        );
    }
    let zero = "0000000000000000";
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(child, field), zero, "{field}");
    }
    assert_eq!(status(child, "NoNewPrivs"), "1");
    assert_eq!(status(child, "Seccomp"), "2");
    assert_eq!(status(child, "Threads"), "1");
    assert_eq!(
        status(parent, "Seccomp"),
        status(std::process::id(), "Seccomp")
    );
    if rustix::process::geteuid().is_root() {
        assert_eq!(status(child, "CapBnd"), zero);
        assert_eq!(status(child, "Groups"), "");
        assert!(status(parent, "Uid").starts_with("0 0 0 0"));
        for field in ["Uid", "Gid"] {
            let ids = status(child, field);
            let ids: Vec<_> = ids.split(' ').collect();
            assert!(ids.iter().all(|&id| id == ids[0] && id != "0"), "{ids:?}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).expect("its limits");
    for limit in ["Max processes             0", "Max core file size        0"] {
        assert!(limits.contains(limit), "{limit}: {limits}");
    }
    // Whoever watches has no socket that listens.
    let listening = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("its files");
        let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let sockets: Vec<_> = links.filter_map(|link| socket(&link)).collect();
        let table = fs::read_to_string("/proc/net/tcp").expect("sockets");
        let entries = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        entries
            .filter(|it| {
                it.get(3) == Some(&"0A")
                    && it
                        .get(9)
                        .is_some_and(|it| sockets.iter().any(|one| one == it))
            })
            .count()
    };
    assert_eq!(listening(parent), 0);
    if rustix::process::geteuid().is_root() {
        assert!(listening(child) > 0);
    }
}

fn socket(link: &Path) -> Option<String> {
    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    Some(inode.to_owned())
}

#[test]
fn both_end_with_a_signal_and_leave_no_socket_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut server = Server::start_on(&listen, &["--demo"]);
        let child = server.http_pid();
        has_the_page(UnixStream::connect(&path).expect("connected"));
        // As a terminal or a service manager does it.
        if is_there(child) && rustix::process::geteuid().is_root() {
            kill(child, signal);
        }
        kill(server.pid(), signal);
        assert_eq!(server.end(), Some(code));
        assert!(!path.exists());
        assert!(!is_there(child));
        let said = server.said();
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn neither_goes_on_without_the_other() {
    let mut server = Server::start(&["--demo"]);
    let child = server.http_pid();
    kill(server.pid(), Signal::KILL);
    assert_eq!(server.end(), None);
    wait_until("the one with the socket has ended", || !is_there(child));
    assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());

    let mut server = Server::start(&["--demo"]);
    kill(server.http_pid(), Signal::KILL);
    assert_eq!(server.end(), Some(1));
    let said = server.said();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("the process that serves has ended (signal: 9"),
        "{said:?}"
    );
}

#[test]
fn one_that_is_not_root_may_not_listen_everywhere() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let unix = format!("unix:{}/socket", folder.path().display());
    let first_free = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let has_reserved = first_free.is_ok_and(|it| it.trim().parse().is_ok_and(|port: u16| port > 1));
    let tcp = has_reserved.then(|| "127.0.0.1:1".to_owned());
    for listen in [Some(unix), tcp].into_iter().flatten() {
        let output = crate::program()
            .args(["serve", "--demo", "--listen", &listen])
            .uid(65_534)
            .gid(65_534)
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        let expected = format!("listen on {listen}: not permitted; another address, or root");
        assert!(said.contains(&expected), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_folder_that_is_gone_and_a_full_disk_for_what_it_says_end_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("inner/socket");
    fs::create_dir(path.parent().expect("a folder")).expect("a folder");
    let serving = crate::program()
        .args(["serve", "--demo", "--repeat", "--listen"])
        .arg(format!("unix:{}", path.display()))
        .stderr(fs::File::create("/dev/full").expect("a full disk"))
        .spawn();
    let mut serving = Killed(serving.expect("the program starts"));
    let mut stream = None;
    wait_until("it listens", || {
        stream = UnixStream::connect(&path).ok();
        stream.is_some()
    });
    let stream = stream.expect("a connection");
    fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
    has_the_page(stream);
    assert!(is_there(serving.0.id()));
    kill(serving.0.id(), Signal::TERM);
    assert_eq!(serving.0.wait().expect("its exit").code(), Some(143));
}

/// That this connection is answered with the page.
fn has_the_page(mut stream: UnixStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("written");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    assert_eq!(Answer::parse(&bytes).status, 200);
}

/// Killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn off_this_machine_it_takes_tls_and_the_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = server::token(folder.path());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
    fs::write(&certificate, made.cert.pem()).expect("written");
    // A file that is for its owner alone already.
    fs::copy(&token, &key).expect("a file");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let [certificate, key] = [&certificate, &key].map(|it| it.to_str().expect("a name"));
    let arguments = [
        "--demo",
        "--token-file",
        &token,
        "--tls-certificate",
        certificate,
        "--tls-key",
        key,
    ];
    let server = Server::start_on("0.0.0.0:0", &arguments);
    assert!(
        server.address.starts_with("https://0.0.0.0:"),
        "{}",
        server.address
    );
    let ask = |path: &str, headers: &str| secure(&server, made.cert.der(), path, headers);
    let known = format!("Authorization: Bearer {TOKEN}\r\n");
    wait_until("something is known", || ask("/healthz", "").status == 200);
    for path in ["/snapshot.json", "/metrics", "/records"] {
        assert_eq!(ask(path, "").status, 401, "{path}");
        assert_eq!(
            ask(path, "Authorization: Bearer wrong\r\n").status,
            401,
            "{path}"
        );
        assert_eq!(ask(path, &known).status, 200, "{path}");
    }
    assert_eq!(ask("/", "").status, 200);
    assert_eq!(
        get(&server, "/", &[]).status,
        0,
        "plain text gets no answer"
    );
}

fn secure(
    server: &Server,
    certificate: &CertificateDer<'static>,
    path: &str,
    headers: &str,
) -> Answer {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(client, server.connect());
    let text =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).expect("written");
    let mut bytes = Vec::new();
    // A server that ends without saying so has said enough.
    let _ = stream.read_to_end(&mut bytes);
    Answer::parse(&bytes)
}
