//! verity-trace under test: started, seen to watch, stopped, its document read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::shell::{KillOnDrop, run};
use crate::{is_real_time, preempts_anywhere, valid};

/// `verity-trace export --once`, watching.
pub struct Tracer {
    child: KillOnDrop,
}

/// The document that it printed.
pub struct Document(pub Value);

impl Tracer {
    /// Returns once its probes are attached.
    pub fn start(arguments: &[&str]) -> Self {
        let child = Command::new("verity-trace")
            .args(["export", "--once"])
            .args(if arguments.contains(&"--duration") {
                &[][..]
            } else {
                &["--duration", "1h"]
            })
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = KillOnDrop(child.expect("verity-trace"));
        let mut errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        errors.read_line(&mut line).expect("a line");
        assert!(line.contains("watching"), "verity-trace said {line:?}");
        // What it says later goes to the suite's own output.
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        Self { child }
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Reads the document of a tracer that ends by itself.
    pub fn read(mut self) -> Document {
        let (text, code) = self.end();
        assert_eq!(code, Some(0));
        Document(valid::written("export", &text))
    }

    /// Asks it to end early, as Ctrl-C does, and reads its document.
    pub fn stop(mut self) -> Document {
        run("kill", &["-INT", &self.pid()]);
        let (text, code) = self.end();
        assert_eq!(code, Some(130), "SIGINT is 128 + 2");
        Document(valid::written("export", &text))
    }

    fn end(&mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        let mut out = self.child.stdout.take().expect("a pipe");
        out.read_to_string(&mut text).expect("a document");
        (text, self.child.wait().expect("its exit").code())
    }

    /// Kills it with a signal and returns its exit code, if it was not killed outright.
    pub fn kill(mut self, signal: &str) -> Option<i32> {
        run("kill", &[signal, &self.pid()]);
        self.child.wait().expect("its exit").code()
    }
}

impl Document {
    /// The one device with this name.
    pub fn device(&self, name: &str) -> &Value {
        self.0["devices"]
            .as_array()
            .expect("devices")
            .iter()
            .find(|device| device["name"] == name)
            .unwrap_or_else(|| panic!("no device {name} in {}", self.0))
    }

    /// I/Os of a placement; 0 where the placement is absent, since then there were none.
    pub fn ios(&self, name: &str, placement: &str) -> u64 {
        self.device(name)["placements"][placement]["ios"]
            .as_u64()
            .unwrap_or(0)
    }

    /// A number of the device.
    pub fn count(&self, name: &str, field: &str) -> u64 {
        self.device(name)[field]
            .as_u64()
            .unwrap_or_else(|| panic!("no {field} in {}", self.device(name)))
    }

    /// Whether a probe of this name was attached.
    pub fn watches(&self, probe: &str) -> bool {
        let probes = self.0["tracing"]["probes"].as_array().expect("probes");
        probes.iter().any(|it| it["name"] == probe)
    }

    pub fn records(&self) -> &[Value] {
        self.0["records"].as_array().expect("records")
    }

    /// The sum of what became of what was mapped, which at rest is what was mapped.
    pub fn became(&self) -> u64 {
        ["finished", "rejected", "in_flight", "lost"]
            .map(|what| self.mapped(what))
            .into_iter()
            .sum()
    }

    /// A number of the account.
    pub fn mapped(&self, what: &str) -> u64 {
        let account = &self.0["account"];
        account[what]
            .as_u64()
            .unwrap_or_else(|| panic!("{account}"))
    }

    /// At rest: everything that was mapped is accounted for, each count kept on its own.
    pub fn assert_conserved(&self) {
        let account = &self.0["account"];
        assert_eq!(self.mapped("mapped"), self.became(), "{account}");
        let cpus = self.0["cpus"].as_array().expect("CPUs");
        let mapped = cpus.iter().filter_map(|cpu| cpu["mapped"].as_u64());
        assert_eq!(mapped.sum::<u64>(), self.mapped("mapped"), "{account}");
    }

    /// A kind of loss; absent means that there was none.
    pub fn loss(&self, kind: &str) -> u64 {
        self.0["loss"][kind].as_u64().unwrap_or(0)
    }

    /// The same of what can be told to be a device's.
    pub fn loss_of(&self, name: &str, kind: &str) -> u64 {
        self.device(name)["loss"][kind].as_u64().unwrap_or(0)
    }

    /// Whether events went unseen as the kernel lets them: where it preempts tasks anywhere, it can do so
    /// before a program has forbidden that, if more tasks than CPUs want to run, in the machine or on its
    /// host. That ends when what was missed has got its guard.
    pub fn has_unseen(&self) -> bool {
        preempts_anywhere() && self.loss("recursion") > 0
    }

    /// Every I/O of a device was seen, or is counted as unseen (see [`Self::has_unseen`]). Records may
    /// find no room meanwhile.
    pub fn assert_accounted(&self, name: &str, ios: u64) {
        self.assert_accounted_together(&[name], ios);
    }

    /// The same of all I/Os of several: whose one was of which nothing but the end was seen is not known.
    pub fn assert_accounted_together(&self, names: &[&str], ios: u64) {
        let loss = &self.0["loss"];
        let count = |field| -> u64 { names.iter().map(|name| self.count(name, field)).sum() };
        let unended = self.loss("start-without-finish") + count("in_flight");
        let unseen = self.loss("finish-without-start") + unended;
        let known = count("ios") + unseen;
        // Of an I/O whose start and end were missed nothing is known but the two misses.
        let unknown = ios.checked_sub(known);
        let unknown = unknown.unwrap_or_else(|| panic!("{known} of {ios} I/Os: {loss}"));
        let missed = self.loss("recursion");
        assert!(
            unseen + count("incomplete") + 2 * unknown <= missed,
            "{known} of {ios} I/Os: {loss}"
        );
        if missed > 0 {
            eprintln!("of {ios} I/Os: {loss}");
            assert!(self.has_unseen(), "{loss}");
        }
        for kind in ["start-without-finish", "ring-full"] {
            let of_each = names.iter().map(|name| self.loss_of(name, kind));
            assert_eq!(of_each.sum::<u64>(), self.loss(kind), "{kind}: {loss}");
        }
        let kinds = [
            "start-without-finish",
            "finish-without-start",
            "recursion",
            "ring-full",
        ];
        let sum: u64 = kinds.map(|kind| self.loss(kind)).into_iter().sum();
        assert_eq!(self.0["lost"], sum, "{loss}");
        self.assert_conserved();
    }

    /// Exactly these I/Os and refused maps, every event of each seen and nothing left.
    pub fn assert_counted(&self, name: &str, ios: u64, rejected: u64) {
        let device = self.device(name);
        let facts =
            ["ios", "rejected", "incomplete", "in_flight"].map(|field| device[field].as_u64());
        let expected = [ios, rejected, 0, 0].map(Some);
        assert_eq!(facts, expected, "{name}: {}", self.0["loss"]);
    }

    /// Exactly these I/Os, every event of each seen, and nothing lost or left, but for what the kernel lets
    /// go unseen. Where even interrupts are tasks that preempt others, any load has more tasks than CPUs.
    pub fn assert_exact(&self, name: &str, ios: u64) {
        if is_real_time() || self.has_unseen() {
            return self.assert_accounted(name, ios);
        }
        self.assert_counted(name, ios, 0);
        assert_eq!(self.0["lost"], 0, "{}", self.0["loss"]);
        assert_eq!(self.0["before_attach"], 0);
        self.assert_conserved();
        assert!(self.0.get("other").is_none(), "{}", self.0["other"]);
    }
}
