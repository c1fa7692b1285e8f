//! What a verity target says of itself: its table line, and its status.
//!
//! Both are written by `verity_status`, drivers/md/dm-verity-target.c, and the option names are
//! those of Documentation/admin-guide/device-mapper/verity.rst. Numbers and names stay the kernel's.

/// A verity target's table line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Format of the hash blocks: 1, or 0 for that of Chromium OS.
    pub hash_type: u32,
    /// Device with the data, as `major:minor`.
    pub data_device: String,
    /// Device with the hashes, as `major:minor`.
    pub hash_device: String,
    /// Bytes of a data block.
    pub data_block_bytes: u32,
    /// Bytes of a hash block.
    pub hash_block_bytes: u32,
    /// Data blocks.
    pub data_blocks: u64,
    /// Hash block of the hash device where the hash tree begins.
    pub hash_start_block: u64,
    /// Hash algorithm.
    pub algorithm: String,
    /// Root hash in hexadecimal.
    pub root_hash: String,
    /// Salt in hexadecimal; absent when there is none.
    pub salt: Option<String>,
    /// What follows it.
    pub options: Options,
}

/// The optional part of a table line. Every option is in exactly one field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `try_verify_in_tasklet`.
    pub try_verify_in_tasklet: bool,
    /// `check_at_most_once`.
    pub check_at_most_once: bool,
    /// `ignore_zero_blocks`.
    pub ignore_zero_blocks: bool,
    /// What happens when a block does not match its hash.
    pub on_corruption: Mode,
    /// What happens when a block cannot be read.
    pub on_error: Mode,
    /// Forward error correction; absent when it is off.
    pub fec: Option<Fec>,
    /// `root_hash_sig_key_desc`: the key that holds the signature of the root hash.
    pub root_hash_sig_key_desc: Option<String>,
    /// Words that this version does not know, as they are.
    pub unknown: Vec<String>,
}

/// What the target does about a block that is not right (`enum verity_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The I/O fails.
    #[default]
    Eio,
    /// It is logged, and the data given out.
    Ignore,
    /// The machine restarts.
    Restart,
    /// The kernel panics.
    Panic,
}

impl Mode {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Eio, Self::Ignore, Self::Restart, Self::Panic];

    /// The word for it everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eio => "eio",
            Self::Ignore => "ignore",
            Self::Restart => "restart",
            Self::Panic => "panic",
        }
    }
}

/// Forward error correction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fec {
    /// `use_fec_from_device`, as `major:minor`.
    pub device: Option<String>,
    /// `fec_roots`: bytes of parity in a codeword.
    pub roots: Option<u32>,
    /// `fec_blocks`: blocks that are covered.
    pub blocks: Option<u64>,
    /// `fec_start`: block of the device where the parity begins.
    pub start_block: Option<u64>,
}

impl Table {
    /// Reads the parameters of a verity target; absent when they are none.
    #[must_use]
    pub fn parse(parameters: &str) -> Option<Self> {
        let words: Vec<&str> = parameters.split(' ').collect();
        let (fixed, options) = words.split_at_checked(10)?;
        Some(Self {
            hash_type: fixed[0].parse().ok()?,
            data_device: fixed[1].to_owned(),
            hash_device: fixed[2].to_owned(),
            data_block_bytes: fixed[3].parse().ok()?,
            hash_block_bytes: fixed[4].parse().ok()?,
            data_blocks: fixed[5].parse().ok()?,
            hash_start_block: fixed[6].parse().ok()?,
            algorithm: fixed[7].to_owned(),
            root_hash: fixed[8].to_owned(),
            salt: (fixed[9] != "-").then(|| fixed[9].to_owned()),
            options: Options::parse(options),
        })
    }
}

impl Table {
    /// The parameters as the kernel prints them (`verity_status`), which a new table is made of. Absent where this
    /// version does not know every word, or a word has blanks, which a new table would break.
    #[must_use]
    pub fn parameters(&self) -> Option<String> {
        let Self {
            hash_type,
            data_device,
            hash_device,
            data_block_bytes,
            hash_block_bytes,
            data_blocks,
            hash_start_block,
            algorithm,
            root_hash,
            ..
        } = self;
        let salt = self.salt.as_deref().unwrap_or("-");
        let mut words = vec![format!(
            "{hash_type} {data_device} {hash_device} {data_block_bytes} {hash_block_bytes} {data_blocks} \
             {hash_start_block} {algorithm} {root_hash} {salt}"
        )];
        let options = self.options.line()?;
        if !options.is_empty() {
            words.push(options.len().to_string());
            words.extend(options);
        }
        let line = words.join(" ");
        // What is read back is the same, so that no word is another one's.
        let is_whole = Self::parse(&line).as_ref() == Some(self);
        let has_escapes =
            line.contains('\\') || line.contains(|it: char| it.is_whitespace() && it != ' ');
        (is_whole && !has_escapes).then_some(line)
    }
}

impl Options {
    /// Every word in the order of the table line; absent where one is not known, or has blanks.
    fn line(&self) -> Option<Vec<String>> {
        if !self.unknown.is_empty() {
            return None;
        }
        let mut words = Self {
            root_hash_sig_key_desc: None,
            ..self.clone()
        }
        .words();
        if let Some(fec) = &self.fec {
            let values = [
                ("use_fec_from_device", fec.device.clone()?),
                ("fec_blocks", fec.blocks?.to_string()),
                ("fec_start", fec.start_block?.to_string()),
                ("fec_roots", fec.roots?.to_string()),
            ];
            words.extend(
                values
                    .into_iter()
                    .flat_map(|(word, value)| [word.to_owned(), value]),
            );
        }
        if let Some(key) = &self.root_hash_sig_key_desc {
            if key.contains(char::is_whitespace) {
                return None;
            }
            words.extend(["root_hash_sig_key_desc".to_owned(), key.clone()]);
        }
        Some(words)
    }

    /// Reads their count and the options themselves.
    fn parse(words: &[&str]) -> Self {
        let mut options = Self::default();
        let Some((count, mut words)) = words.split_first() else {
            return options;
        };
        let Ok(count) = count.parse::<usize>() else {
            options.unknown = words.iter().map(|&word| word.to_owned()).collect();
            options.unknown.insert(0, (*count).to_owned());
            return options;
        };
        // A description is one argument however many blanks it holds; they are printed as they are.
        let blanks = words.len().saturating_sub(count);
        while let Some(taken) = options.take(words, blanks) {
            words = &words[taken..];
        }
        options
    }

    /// Takes in the first option and returns how many words it has; absent when none is left.
    fn take(&mut self, words: &[&str], blanks: usize) -> Option<usize> {
        let (&word, rest) = words.split_first()?;
        match (word, rest.first()) {
            // A blank more than there should be.
            ("", _) => {}
            ("try_verify_in_tasklet", _) => self.try_verify_in_tasklet = true,
            ("check_at_most_once", _) => self.check_at_most_once = true,
            ("ignore_zero_blocks", _) => self.ignore_zero_blocks = true,
            ("ignore_corruption", _) => self.on_corruption = Mode::Ignore,
            ("restart_on_corruption", _) => self.on_corruption = Mode::Restart,
            ("panic_on_corruption", _) => self.on_corruption = Mode::Panic,
            ("restart_on_error", _) => self.on_error = Mode::Restart,
            ("panic_on_error", _) => self.on_error = Mode::Panic,
            ("root_hash_sig_key_desc", Some(_)) => {
                let length = rest.len().min(1 + blanks);
                self.root_hash_sig_key_desc = Some(rest[..length].join(" "));
                return Some(1 + length);
            }
            (word, Some(value)) if self.take_fec(word, value).is_some() => return Some(2),
            (word, _) => self.unknown.push(word.to_owned()),
        }
        Some(1)
    }

    /// Absent when it is no option of forward error correction, or its value cannot be read.
    fn take_fec(&mut self, word: &str, value: &str) -> Option<()> {
        let mut fec = self.fec.clone().unwrap_or_default();
        match word {
            "use_fec_from_device" => fec.device = Some(value.to_owned()),
            "fec_roots" => fec.roots = Some(value.parse().ok()?),
            "fec_blocks" => fec.blocks = Some(value.parse().ok()?),
            "fec_start" => fec.start_block = Some(value.parse().ok()?),
            _ => return None,
        }
        self.fec = Some(fec);
        Some(())
    }

    /// The options without those of forward error correction, in the order of the table line.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let corruption = match self.on_corruption {
            Mode::Eio => None,
            Mode::Ignore => Some("ignore_corruption"),
            Mode::Restart => Some("restart_on_corruption"),
            Mode::Panic => Some("panic_on_corruption"),
        };
        let error = match self.on_error {
            Mode::Eio | Mode::Ignore => None,
            Mode::Restart => Some("restart_on_error"),
            Mode::Panic => Some("panic_on_error"),
        };
        let flags = [
            (self.ignore_zero_blocks, "ignore_zero_blocks"),
            (self.check_at_most_once, "check_at_most_once"),
            (self.try_verify_in_tasklet, "try_verify_in_tasklet"),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(on, word)| on.then_some(word));
        let key = self.root_hash_sig_key_desc.iter();
        corruption
            .into_iter()
            .chain(error)
            .chain(flags)
            .map(str::to_owned)
            .chain(key.map(|key| format!("root_hash_sig_key_desc {key}")))
            .chain(self.unknown.iter().cloned())
            .collect()
    }
}

/// What a verity target found so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its verdict.
    pub verdict: Verdict,
    /// Blocks that forward error correction repaired (Linux 7.0 and later, where it is on).
    pub fec_corrected: Option<u64>,
}

/// Whether a check has failed since the table was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `V`: none did.
    Valid,
    /// `C`: one did.
    Corruption,
    /// A word that this version does not know.
    Unknown(String),
}

impl Verdict {
    /// The word for it everywhere.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Valid => "valid",
            Self::Corruption => "corruption",
            Self::Unknown(word) => word,
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "valid" => Self::Valid,
            "corruption" => Self::Corruption,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl Status {
    /// Reads the status of a verity target; absent when it says nothing.
    #[must_use]
    pub fn parse(status: &str) -> Option<Self> {
        let mut words = status.split_ascii_whitespace();
        let verdict = match words.next()? {
            "V" => Verdict::Valid,
            "C" => Verdict::Corruption,
            other => Verdict::Unknown(other.to_owned()),
        };
        Some(Self {
            verdict,
            fec_corrected: words.next().and_then(|word| word.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOT: &str = "6d6f6f740000000000000000000000000000000000000000000000000000beef";
    const SALT: &str = "6c61622073616c74206f66207665726974792d74726163652c20333220622121";

    /// A line as Linux prints it, with these words behind the salt.
    fn table(options: &str) -> Table {
        let line = format!("1 254:0 254:16 4096 4096 16384 1 sha256 {ROOT} {SALT}{options}");
        Table::parse(&line).expect("a verity table")
    }

    #[test]
    fn every_field_of_a_line_without_options() {
        let expected = Table {
            hash_type: 1,
            data_device: "254:0".to_owned(),
            hash_device: "254:16".to_owned(),
            data_block_bytes: 4096,
            hash_block_bytes: 4096,
            data_blocks: 16_384,
            hash_start_block: 1,
            algorithm: "sha256".to_owned(),
            root_hash: ROOT.to_owned(),
            salt: Some(SALT.to_owned()),
            options: Options::default(),
        };
        assert_eq!(table(""), expected);
        assert_eq!(table(" 0"), expected);
    }

    #[test]
    fn a_line_of_chromium_os_has_no_salt_and_another_hash_type() {
        let line = format!("0 8:3 8:3 4096 4096 307200 307200 sha1 {ROOT} -");
        let table = Table::parse(&line).expect("a verity table");
        assert_eq!((table.hash_type, table.salt), (0, None));
    }

    /// Linux 6.1, where kverityd verifies all the same.
    #[test]
    fn options_of_linux_6_1() {
        let options = table(" 2 check_at_most_once try_verify_in_tasklet").options;
        let expected = Options {
            check_at_most_once: true,
            try_verify_in_tasklet: true,
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    /// Linux 6.12: the mode for errors is new.
    #[test]
    fn options_of_linux_6_12() {
        let options = table(
            " 12 restart_on_corruption restart_on_error ignore_zero_blocks try_verify_in_tasklet \
             use_fec_from_device 254:32 fec_blocks 16513 fec_start 0 fec_roots 2",
        )
        .options;
        let expected = Options {
            try_verify_in_tasklet: true,
            ignore_zero_blocks: true,
            on_corruption: Mode::Restart,
            on_error: Mode::Restart,
            fec: Some(Fec {
                device: Some("254:32".to_owned()),
                roots: Some(2),
                blocks: Some(16_513),
                start_block: Some(0),
            }),
            ..Options::default()
        };
        assert_eq!(options, expected);
    }

    /// Linux 7.3, with a signature.
    #[test]
    fn options_of_linux_7_3() {
        let options = table(
            " 4 panic_on_corruption panic_on_error root_hash_sig_key_desc \
             cryptsetup:2f5f1d3c-7d0e-4b0a-9a57-0c1d2e3f4a5b",
        )
        .options;
        assert_eq!(options.on_corruption, Mode::Panic);
        assert_eq!(options.on_error, Mode::Panic);
        let key = "cryptsetup:2f5f1d3c-7d0e-4b0a-9a57-0c1d2e3f4a5b";
        assert_eq!(options.root_hash_sig_key_desc.as_deref(), Some(key));
        assert_eq!(options.unknown, [""; 0]);
    }

    #[test]
    fn a_key_description_keeps_its_blanks() {
        let options = table(" 3 ignore_corruption root_hash_sig_key_desc my  own key").options;
        assert_eq!(
            options.root_hash_sig_key_desc.as_deref(),
            Some("my  own key")
        );
        let options = table(" 3 root_hash_sig_key_desc key ignore_corruption").options;
        assert_eq!(options.root_hash_sig_key_desc.as_deref(), Some("key"));
        assert_eq!(options.on_corruption, Mode::Ignore);
    }

    #[test]
    fn what_is_not_known_is_kept_as_it_is() {
        let cases: [(&str, &[&str]); 5] = [
            (
                " 3 new_option its_value check_at_most_once",
                &["new_option", "its_value"],
            ),
            (" 1 fec_roots", &["fec_roots"]),
            (" 2 fec_roots many", &["fec_roots", "many"]),
            (" 1 root_hash_sig_key_desc", &["root_hash_sig_key_desc"]),
            (" check_at_most_once", &["check_at_most_once"]),
        ];
        for (words, unknown) in cases {
            assert_eq!(table(words).options.unknown, unknown, "{words}");
        }
    }

    #[test]
    fn the_words_are_those_of_the_line() {
        for words in [
            "",
            "restart_on_corruption panic_on_error ignore_zero_blocks check_at_most_once \
             try_verify_in_tasklet root_hash_sig_key_desc key new_option",
            "ignore_corruption try_verify_in_tasklet",
        ] {
            let count = words.split_ascii_whitespace().count();
            let options = table(&format!(" {count} {words}")).options;
            assert_eq!(options.words().join(" ").trim_end(), words);
        }
    }

    /// As Linux 5.15 to 7.3 print them, from the lab and from the reports of others.
    #[test]
    fn the_parameters_are_those_of_the_line() {
        let short = format!("1 254:0 254:16 4096 4096 16384 1 sha256 {ROOT}");
        for line in [
            format!("{short} {SALT}"),
            format!("{short} -"),
            format!("0 8:3 8:3 4096 4096 307200 307200 sha1 {ROOT} -"),
            format!("{short} {SALT} 1 try_verify_in_tasklet"),
            format!("{short} {SALT} 2 check_at_most_once try_verify_in_tasklet"),
            format!(
                "{short} - 12 restart_on_corruption restart_on_error ignore_zero_blocks try_verify_in_tasklet \
                 use_fec_from_device 254:32 fec_blocks 16513 fec_start 0 fec_roots 2"
            ),
            format!(
                "{short} - 4 panic_on_corruption panic_on_error root_hash_sig_key_desc \
                 cryptsetup:2f5f1d3c-7d0e-4b0a-9a57-0c1d2e3f4a5b"
            ),
        ] {
            let table = Table::parse(&line).expect("a verity table");
            assert_eq!(table.parameters(), Some(line));
        }
    }

    #[test]
    fn of_what_is_not_known_there_are_no_parameters() {
        for options in [
            " 1 new_option",
            " 2 fec_roots 2",
            " 2 root_hash_sig_key_desc my own key",
            " 2 root_hash_sig_key_desc a\\b",
            " 2 root_hash_sig_key_desc a\tb",
        ] {
            assert_eq!(table(options).parameters(), None, "{options}");
        }
    }

    #[test]
    fn a_line_that_is_too_short_is_none() {
        assert_eq!(Table::parse("1 254:0"), None);
        assert_eq!(Table::parse(""), None);
    }

    #[test]
    fn a_status_of_every_era() {
        let cases = [
            ("V", Some((Verdict::Valid, None))),
            ("C", Some((Verdict::Corruption, None))),
            ("V -", Some((Verdict::Valid, None))),
            ("C 3", Some((Verdict::Corruption, Some(3)))),
            ("R 0 new", Some((Verdict::Unknown("R".to_owned()), Some(0)))),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = Status::parse(text).map(|status| (status.verdict, status.fec_corrected));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in any::<String>()) {
            let _ = Table::parse(&line);
            let _ = Status::parse(&line);
        }

        #[test]
        fn parameters_are_read_back_as_they_are(line in "[ -~]{0,20}", options in "[ -~]{0,60}") {
            let line = format!("1 254:0 254:16 4096 4096 16384 1 sha256 {ROOT} {line} {options}");
            if let Some(table) = Table::parse(&line) && let Some(parameters) = table.parameters() {
                prop_assert_eq!(Table::parse(&parameters), Some(table));
            }
        }

        #[test]
        fn no_order_of_options_panics(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "try_verify_in_tasklet", "restart_on_error", "use_fec_from_device",
                    "fec_roots", "fec_start", "root_hash_sig_key_desc", "254:32", "7", "", "new",
                ]),
                0..12,
            ),
            count in 0usize..14,
        ) {
            let options = table(&format!(" {count} {}", words.join(" "))).options;
            prop_assert!(options.unknown.iter().all(|word| words.contains(&word.as_str())));
        }
    }
}
