//! The slices of an I/O: on its device, and on the CPUs that completed and verified it.

use std::io::{self, Write};

use super::packets::{Event, Flow, Packets, Track, Value};
use super::span::{self, Span};
use super::tracks::Tracks;
use crate::decode::Io;
use crate::escape;
use crate::snapshot::{Context, Placement, Reason, Snapshot, Stage, stage_name};

/// See the module.
pub struct Slices<'a> {
    io: &'a Io,
    stages: Vec<(Stage, Span)>,
    /// When and on which CPU.
    completion: Option<(u64, u16)>,
    attempt: Option<Verification>,
    verify: Option<Verification>,
    /// The number of its flow, if there is one: from its device to the completion, and to what verified it.
    flow: Option<u64>,
}

/// A verification, or an attempt that gave up.
#[derive(Clone, Copy)]
struct Verification {
    stage: Stage,
    span: Span,
    cpu: u16,
    placement: Placement,
    context: Option<Context>,
}

impl<'a> Slices<'a> {
    /// What there is of an I/O. No other has this flow.
    pub fn of(io: &'a Io, flow: u64) -> Self {
        let stages = span::stages(io);
        let at = |stage| Some(stages.iter().find(|it| it.0 == stage)?.1);
        let verification = |stage, cpu: Option<u16>, placement, context| {
            Some(Verification {
                stage,
                span: at(stage)?,
                cpu: cpu?,
                placement,
                context,
            })
        };
        // What finished unverified was not seen to complete before.
        let completed = at(Stage::Device).filter(|_| io.placement != Placement::None);
        let completion = completed.and_then(|(_, end)| Some((end, io.complete_cpu?)));
        // An attempt runs where the completion called it, or queued it for its own CPU.
        let (cpu, placement) = (io.complete_cpu, io.attempt.unwrap_or(io.placement));
        let attempt = verification(Stage::Attempt, cpu, placement, io.attempt_context);
        let verify = verification(Stage::Verify, io.verify_cpu, io.placement, io.context);
        let flows = completion.is_some() && (attempt.is_some() || verify.is_some());
        Self {
            io,
            completion,
            attempt,
            verify,
            flow: flows.then_some(flow),
            stages,
        }
    }

    /// Writes all of them, and returns how many found no track; the stages of an I/O count as one with it.
    pub fn write<W: Write>(
        &self,
        packets: &mut Packets<W>,
        tracks: &mut Tracks,
        snapshot: &Snapshot,
    ) -> io::Result<u64> {
        let mut unplaced = 0;
        let title = tracks.title(self.io.device);
        match tracks.io(packets, self.io.device, span::whole(self.io))? {
            None => unplaced += 1,
            Some(track) => self.write_io(packets, track, snapshot)?,
        }
        let on = self.flow.map(Flow::On);
        if let Some((at, cpu)) = self.completion {
            let args = [
                ("seq", Value::Number(self.io.seq)),
                ("context", Value::Text(self.io.completion.name())),
            ];
            let event = Event {
                name: "completion",
                args: &args,
                flow: on,
            };
            match tracks.completions(packets, cpu)? {
                None => unplaced += 1,
                Some(track) => packets.instant(track, at, event)?,
            }
        }
        let ends = self.flow.map(Flow::Ends);
        let first = self
            .attempt
            .map(|it| (it, if self.verify.is_some() { on } else { ends }));
        for (verification, flow) in first.into_iter().chain(self.verify.map(|it| (it, ends))) {
            let Verification { cpu, span, .. } = verification;
            let context = verification.context.unwrap_or(Context::Unknown);
            match tracks.verification(packets, cpu, context, span)? {
                None => unplaced += 1,
                Some(track) => {
                    let event = Event {
                        name: stage_name(verification.stage),
                        args: &verification.args(self.io, &title, snapshot),
                        flow,
                    };
                    packets.begin(track, span.0, event)?;
                    packets.end(track, span.1)?;
                }
            }
        }
        Ok(unplaced)
    }

    /// The I/O, and in it its stages.
    fn write_io<W: Write>(
        &self,
        packets: &mut Packets<W>,
        track: Track,
        snapshot: &Snapshot,
    ) -> io::Result<()> {
        let (mapped_at, finished_at) = span::whole(self.io);
        let command = escape::terminal(&self.io.command);
        let event = Event {
            name: self.io.placement.name(),
            args: &args(self.io, &command, snapshot),
            flow: None,
        };
        packets.begin(track, mapped_at, event)?;
        for &(stage, (start, end)) in &self.stages {
            let begins = stage == Stage::Device;
            let event = Event {
                name: stage_name(stage),
                args: &[],
                flow: self.flow.filter(|_| begins).map(Flow::On),
            };
            packets.begin(track, start, event)?;
            packets.end(track, end)?;
        }
        packets.end(track, finished_at)
    }
}

impl Verification {
    fn args<'a>(
        &self,
        io: &Io,
        title: &'a str,
        snapshot: &Snapshot,
    ) -> Vec<(&'static str, Value<'a>)> {
        let mut args = vec![
            ("device", Value::Text(title)),
            ("seq", Value::Number(io.seq)),
            ("bytes", Value::Number(io.bytes.into())),
            ("placement", Value::Text(self.placement.name())),
        ];
        let context = self.context.map(Context::name);
        args.extend(context.map(|it| ("context", Value::Text(it))));
        let reason = io.reason.map(Reason::name);
        args.extend(reason.map(|it| ("reason", Value::Text(it))));
        if is_reason_inferred(io, snapshot) {
            args.push(("reason_inferred", Value::Yes));
        }
        // Inline it is the completion itself.
        if self.stage == Stage::Attempt && self.placement != Placement::Inline {
            args.push(("cpu_inferred", Value::Yes));
        }
        args
    }
}

/// What is said of an I/O, by the names that JSON documents have for it; what is absent is left out.
fn args<'a>(io: &Io, command: &'a str, snapshot: &Snapshot) -> Vec<(&'static str, Value<'a>)> {
    let mut args = vec![
        ("seq", Value::Number(io.seq)),
        ("sector", Value::Number(io.sector)),
        ("bytes", Value::Number(io.bytes.into())),
        ("placement", Value::Text(io.placement.name())),
    ];
    let texts = [
        ("attempt", io.attempt.map(Placement::name)),
        ("reason", io.reason.map(Reason::name)),
        ("completion_context", Some(io.completion.name())),
        ("context", io.context.map(Context::name)),
        ("attempt_context", io.attempt_context.map(Context::name)),
    ];
    for (name, text) in texts {
        args.extend(text.map(|text| (name, Value::Text(text))));
    }
    let numbers = [
        ("status", Some(io.status.into())),
        ("ioprio", Some(io.ioprio.into())),
        ("submitter", Some(io.submitter.into())),
        ("cgroup", Some(io.cgroup)),
        ("submit_cpu", Some(io.submit_cpu.into())),
        ("complete_cpu", io.complete_cpu.map(u64::from)),
        ("verify_cpu", io.verify_cpu.map(u64::from)),
    ];
    for (name, number) in numbers {
        args.extend(number.map(|number| (name, Value::Number(number))));
    }
    if !command.is_empty() {
        args.push(("command", Value::Text(command)));
    }
    let facts = [
        ("reason_inferred", is_reason_inferred(io, snapshot)),
        ("read_ahead", io.read_ahead),
        ("rechecked", io.rechecked),
        ("fec", io.fec),
        ("incomplete", io.incomplete),
        ("clock", io.clock),
    ];
    for (name, is_so) in facts {
        if is_so {
            args.push((name, Value::Yes));
        }
    }
    args
}

fn is_reason_inferred(io: &Io, snapshot: &Snapshot) -> bool {
    io.reason.is_some_and(|it| snapshot.is_inferred(it))
}
