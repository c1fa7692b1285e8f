//! When each stage of an I/O began and ended.

use crate::decode::Io;
use crate::histogram::Nanos;
use crate::snapshot::{Placement, Stage};

/// From when to when, on `CLOCK_MONOTONIC`.
pub type Span = (u64, u64);

/// The last moment that a trace can tell.
const LATEST: u64 = i64::MAX.cast_unsigned();

/// When an I/O was mapped, and when it finished.
pub fn whole(io: &Io) -> Span {
    let start = io.mapped_at.0.min(LATEST);
    (start, start.saturating_add(io.total.0).min(LATEST))
}

/// When its stages were, in the order of time, each within it and none before the end of the one before. Behind
/// a stage that was not seen they are told from the end, and one between two of those has no known time.
pub fn stages(io: &Io) -> Vec<(Stage, Span)> {
    let (start, end) = whole(io);
    let expected = expected(io.placement);
    let length = |stage: &Stage| io.stages.get(stage).map(|&Nanos(ns)| ns);
    let mut placed = Vec::with_capacity(expected.len());
    let mut from = start;
    let mut seen = 0;
    for stage in expected {
        let Some(ns) = length(stage) else { break };
        let to = from.saturating_add(ns).min(end);
        placed.push((*stage, (from, to)));
        from = to;
        seen += 1;
    }
    let (mut to, behind) = (end, placed.len());
    for stage in expected[seen..].iter().rev() {
        let Some(ns) = length(stage) else { break };
        let start = to.saturating_sub(ns).max(from);
        placed.insert(behind, (*stage, (start, to)));
        to = start;
    }
    placed
}

const fn expected(placement: Placement) -> &'static [Stage] {
    match placement {
        Placement::None => &[Stage::Device],
        Placement::Fallback => &[
            Stage::Device,
            Stage::Wait,
            Stage::Attempt,
            Stage::RetryWait,
            Stage::Verify,
        ],
        Placement::Kverityd | Placement::Bh | Placement::Inline | Placement::Tasklet => {
            &[Stage::Device, Stage::Wait, Stage::Verify]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;
    use verity_trace_ebpf::placement::Placement as KernelPlacement;
    use verity_trace_ebpf::reason::ALL_OUTCOMES;
    use verity_trace_ebpf::record::{ABSENT, Record};

    fn io(placement: KernelPlacement, mapped_at: u64, total: u64, stages: [u64; 5]) -> Io {
        let outcome = ALL_OUTCOMES.iter().position(|it| it.0 == placement);
        let record = Record {
            mapped_at,
            total_ns: total,
            stages_ns: stages,
            placement: placement as u8,
            outcome: u8::try_from(outcome.expect("an outcome")).expect("few"),
            ..Record::zeroed()
        };
        crate::decode::io(&record, crate::snapshot::Era::Bh).expect("an I/O")
    }

    #[test]
    fn stages_follow_each_other() {
        let io = io(KernelPlacement::Fallback, 100, 15, [1, 2, 3, 4, 5]);
        let expected = [
            (Stage::Device, (100, 101)),
            (Stage::Wait, (101, 103)),
            (Stage::Attempt, (103, 106)),
            (Stage::RetryWait, (106, 110)),
            (Stage::Verify, (110, 115)),
        ];
        assert_eq!(stages(&io), expected);
    }

    #[test]
    fn behind_what_was_not_seen_they_are_told_from_the_end() {
        let kverityd = io(
            KernelPlacement::Kverityd,
            100,
            50,
            [ABSENT, ABSENT, ABSENT, ABSENT, 5],
        );
        assert_eq!(stages(&kverityd), [(Stage::Verify, (145, 150))]);
        let fallback = io(
            KernelPlacement::Fallback,
            100,
            50,
            [1, 2, ABSENT, ABSENT, 5],
        );
        let expected = [
            (Stage::Device, (100, 101)),
            (Stage::Wait, (101, 103)),
            (Stage::Verify, (145, 150)),
        ];
        assert_eq!(stages(&fallback), expected);
        let between = io(
            KernelPlacement::Fallback,
            100,
            50,
            [ABSENT, ABSENT, 3, ABSENT, ABSENT],
        );
        assert_eq!(stages(&between), []);
    }

    #[test]
    fn whatever_a_file_says_stages_are_within_their_io() {
        let far = u64::MAX - 1;
        for stages_ns in [
            [far; 5],
            [far, 0, 0, 0, far],
            [ABSENT, far, far, ABSENT, far],
        ] {
            for (mapped_at, total) in [(0, 10), (far, 10), (5, far), (far, far)] {
                let io = io(KernelPlacement::Fallback, mapped_at, total, stages_ns);
                let (mut from, to) = whole(&io);
                for (_, (start, end)) in stages(&io) {
                    assert!(from <= start && start <= end && end <= to);
                    from = end;
                }
            }
        }
    }
}
