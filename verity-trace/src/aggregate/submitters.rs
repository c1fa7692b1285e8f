//! Who submitted the I/Os of one device.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use verity_trace_ebpf::submitters::{MAX_SUBMITTERS, Submitted, Submitter};

use crate::decode;
use crate::snapshot;

/// How many are shown one by one.
const SHOWN: usize = 10;

/// See the module. At most [`MAX_SUBMITTERS`] processes are told apart; further ones count as unlisted.
#[derive(Clone, Debug, Default)]
pub struct Submitters {
    /// By process (thread group).
    pub tasks: BTreeMap<u32, Submitter>,
    /// The I/Os of those that found no room.
    pub unlisted: Submitted,
}

impl Submitters {
    /// Adds what was counted elsewhere, and before.
    pub fn add(&mut self, other: &Self) {
        for (&task, theirs) in &other.tasks {
            if let Some(mine) = self.tasks.get_mut(&task) {
                mine.submitted.add(theirs.submitted);
            } else if self.tasks.len() < MAX_SUBMITTERS as usize {
                self.tasks.insert(task, *theirs);
            } else {
                self.unlisted.add(theirs.submitted);
            }
        }
        self.unlisted.add(other.unlisted);
    }

    /// Those with most I/Os one by one, of as many the one with more bytes first, and the others together.
    pub(super) fn shown(&self) -> snapshot::Submitters {
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_by_key(|&(&task, it)| (Reverse((it.submitted.ios, it.submitted.bytes)), task));
        let (top, rest) = tasks.split_at(tasks.len().min(SHOWN));
        let mut others = self.unlisted;
        for (_, it) in rest {
            others.add(it.submitted);
        }
        snapshot::Submitters {
            top: top
                .iter()
                .map(|&(&task, it)| snapshot::Submitter {
                    task,
                    command: decode::command(it.command),
                    cgroup: it.cgroup,
                    ios: it.submitted.ios,
                    bytes: it.submitted.bytes,
                })
                .collect(),
            others: snapshot::OtherSubmitters {
                tasks: rest.len(),
                ios: others.ios,
                bytes: others.bytes,
                unlisted: self.unlisted.ios,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitter(ios: u64) -> Submitter {
        Submitter {
            submitted: Submitted {
                ios,
                bytes: ios * 4096,
            },
            cgroup: 7,
            command: *b"fio\0left over\0\0\0",
        }
    }

    fn all(submitters: &Submitters) -> u64 {
        let shown = submitters.shown();
        let top: u64 = shown.top.iter().map(|it| it.ios).sum();
        top + shown.others.ios
    }

    #[test]
    fn those_with_most_ios_are_shown_and_the_rest_is_summed() {
        let submitters = Submitters {
            tasks: (1..=12)
                .map(|task| (task, submitter(task.into())))
                .collect(),
            unlisted: Submitted {
                ios: 5,
                bytes: 20_480,
            },
        };
        let shown = submitters.shown();
        let tasks: Vec<_> = shown.top.iter().map(|it| it.task).collect();
        assert_eq!(tasks, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!(shown.top[0].command, "fio");
        let others = snapshot::OtherSubmitters {
            tasks: 2,
            ios: 1 + 2 + 5,
            bytes: 8 * 4096,
            unlisted: 5,
        };
        assert_eq!(shown.others, others);
        assert_eq!(all(&submitters), (1..=12).sum::<u64>() + 5);
    }

    #[test]
    fn what_is_added_finds_its_task_or_room_or_is_unlisted() {
        let mut submitters = Submitters {
            tasks: (1..MAX_SUBMITTERS)
                .map(|task| (task, submitter(1)))
                .collect(),
            unlisted: Submitted::default(),
        };
        let later = Submitters {
            tasks: [1, MAX_SUBMITTERS, MAX_SUBMITTERS + 1]
                .map(|task| (task, submitter(2)))
                .into(),
            unlisted: Submitted {
                ios: 3,
                bytes: 4096,
            },
        };
        submitters.add(&later);
        assert_eq!(submitters.tasks.len(), MAX_SUBMITTERS as usize);
        assert_eq!(submitters.tasks[&1].submitted.ios, 3);
        assert_eq!(submitters.tasks[&MAX_SUBMITTERS].submitted.ios, 2);
        assert_eq!(submitters.unlisted.ios, 2 + 3);
        assert_eq!(all(&submitters), u64::from(MAX_SUBMITTERS) - 1 + 3 * 2 + 3);
    }
}
