//! In which context a verification ran, and in which its data device completed.

/// `PF_WQ_WORKER`, include/linux/sched.h.
const PF_WQ_WORKER: u32 = 0x0000_0020;

/// `PF_KTHREAD`, include/linux/sched.h: user space cannot have it, so such a task's name is true.
const PF_KTHREAD: u32 = 0x0020_0000;

/// Bytes of a task's name that are looked at.
pub const NAME_BYTES: usize = 8;

/// The name of a CPU's softirq thread, as far as it is looked at (kernel/softirq.c).
const KSOFTIRQD: [u8; NAME_BYTES] = *b"ksoftirq";

/// How the name of an interrupt's thread begins (`setup_irq_thread`, kernel/irq/manage.c).
const IRQ_THREAD: [u8; 4] = *b"irq/";

/// The context that a verification ran in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Context {
    /// It was not seen, or there was none.
    Unknown = 0,
    /// A task, usually the one that reads.
    Task = 1,
    /// A softirq on the way out of an interrupt, or where a task lets softirqs run again.
    Softirq = 2,
    /// A softirq that was left to the CPU's thread for it, or, rarely, one on the way out of an
    /// interrupt of that thread.
    Ksoftirqd = 3,
    /// A worker of a workqueue.
    Kworker = 4,
    /// The thread of an interrupt, on kernels that handle interrupts in threads.
    IrqThread = 5,
}

impl Context {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Every context, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unknown,
        Self::Task,
        Self::Softirq,
        Self::Ksoftirqd,
        Self::Kworker,
        Self::IrqThread,
    ];

    /// The context of a CPU that is in a softirq or not, from its task's flags and the beginning of
    /// that task's name.
    #[must_use]
    #[inline(always)]
    pub fn of(in_softirq: bool, task_flags: u32, name: impl FnOnce() -> [u8; NAME_BYTES]) -> Self {
        let is_kernel_thread = task_flags & PF_KTHREAD != 0;
        if in_softirq {
            return if is_kernel_thread && name() == KSOFTIRQD {
                Self::Ksoftirqd
            } else {
                Self::Softirq
            };
        }
        if task_flags & PF_WQ_WORKER != 0 {
            return Self::Kworker;
        }
        if !is_kernel_thread {
            return Self::Task;
        }
        let name = name();
        if [name[0], name[1], name[2], name[3]] == IRQ_THREAD {
            Self::IrqThread
        } else {
            Self::Task
        }
    }

    /// The context with this number.
    #[must_use]
    #[inline(always)]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word for it in JSON, metrics and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Task => "task",
            Self::Softirq => "softirq",
            Self::Ksoftirqd => "ksoftirqd",
            Self::Kworker => "kworker",
            Self::IrqThread => "irq-thread",
        }
    }
}

/// The context in which the data device completed an I/O (`verity_end_io`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Completion {
    /// It was not seen.
    Unknown = 0,
    /// A task or a kernel thread.
    Task = 1,
    /// A softirq.
    Softirq = 2,
    /// The handler of an interrupt; or, where the kernel itself decides by it (Linux 6.15 and later,
    /// with the option on), anywhere with interrupts off.
    HardirqOrIrqsOff = 3,
}

impl Completion {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// Every one, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Unknown,
        Self::Task,
        Self::Softirq,
        Self::HardirqOrIrqsOff,
    ];

    /// The one with this number.
    #[must_use]
    #[inline(always)]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word for it in JSON, metrics and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Task => "task",
            Self::Softirq => "softirq",
            Self::HardirqOrIrqsOff => "hardirq-or-irqs-off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number() {
        for (number, context) in Context::ALL.into_iter().enumerate() {
            assert_eq!(context as usize, number);
        }
        for (number, completion) in Completion::ALL.into_iter().enumerate() {
            assert_eq!(completion as usize, number);
        }
    }

    #[test]
    fn a_task_that_takes_a_kernel_threads_name_is_a_task() {
        assert_eq!(Context::of(true, 0, || KSOFTIRQD), Context::Softirq);
        assert_eq!(Context::of(false, 0, || *b"irq/24-n"), Context::Task);
    }

    #[test]
    fn kernel_threads_are_told_by_flag_and_name() {
        let kthread = PF_KTHREAD;
        assert_eq!(Context::of(true, kthread, || KSOFTIRQD), Context::Ksoftirqd);
        assert_eq!(
            Context::of(true, kthread, || *b"kworker/"),
            Context::Softirq
        );
        assert_eq!(
            Context::of(false, kthread, || *b"irq/24-n"),
            Context::IrqThread
        );
        let worker = PF_KTHREAD | PF_WQ_WORKER;
        assert_eq!(
            Context::of(false, worker, || *b"kworker/"),
            Context::Kworker
        );
    }
}
