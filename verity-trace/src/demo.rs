//! Recordings that travel inside the program, so that anybody can see what it shows: real ones, made in the
//! lab with `cargo xtask demo-recordings`.

/// A recording, by the lab's name of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demo {
    /// The name.
    pub kernel: &'static str,
    /// The recording.
    pub bytes: &'static [u8],
}

/// One of each era that there is a lab kernel of, the newest last.
pub const ALL: [Demo; 3] = [
    Demo {
        kernel: "6.1",
        bytes: include_bytes!("../demo/6.1.vtrec"),
    },
    Demo {
        kernel: "6.12",
        bytes: include_bytes!("../demo/6.12.vtrec"),
    },
    Demo {
        kernel: "7.3",
        bytes: include_bytes!("../demo/7.3.vtrec"),
    },
];

impl Demo {
    /// The one of this name; the error names them all.
    pub fn parse(kernel: &str) -> Result<Self, String> {
        let found = ALL.into_iter().find(|demo| demo.kernel == kernel);
        found.ok_or_else(|| format!("there are {}", ALL.map(|demo| demo.kernel).join(", ")))
    }
}
