//! What is watched, and what this kernel does not let be seen.

/// What a probe hooks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// A tracepoint of the kernel, with typed arguments.
    TpBtf,
    /// The entry of a function.
    Fentry,
    /// The exit of a function.
    Fexit,
    /// The entry of a function, by a breakpoint.
    Kprobe,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::TpBtf, Self::Fentry, Self::Fexit, Self::Kprobe];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TpBtf => "tp_btf",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
        }
    }
}

/// A place in the kernel that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name, no other probe's of the same rung.
    pub name: &'static str,
    /// The function or tracepoint.
    pub target: &'static str,
    /// How it is attached.
    pub kind: ProbeKind,
    /// What cannot be seen without it.
    pub without: &'static str,
    /// When it is attached.
    pub when: When,
}

/// Something that this kernel does not let be seen, though another would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The rung, the probe or the part of the kernel that is missing.
    pub missing: &'static str,
    /// What cannot be seen without it.
    pub lost: &'static str,
    /// What the kernel lacks.
    pub why: String,
    /// How to get it; absent where nothing but another kernel would help.
    pub remedy: Option<&'static str>,
}

impl Gap {
    /// What the kernel lacks and how to get it. The text may come from the kernel: escape it before
    /// printing.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.why),
            None => self.why.clone(),
        }
    }
}

/// When a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// As long as any is.
    Always,
    /// From when a device has the option: it sees what only such a device does.
    WithOption,
}

impl When {
    /// Every one of them.
    pub const ALL: [Self; 2] = [Self::Always, Self::WithOption];

    /// The word for it in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::WithOption => "with-option",
        }
    }
}
