use super::*;
use proptest::prelude::*;

const FOREIGN: &str = "foreign";

fn line(parameters: &str) -> Line {
    Line {
        sectors: 8,
        parameters: parameters.to_owned(),
    }
}

fn identity() -> Identity {
    Identity {
        number: DeviceNumber {
            major: 253,
            minor: 0,
        },
        disk_sequence: Some(7),
        uuid: "CRYPT-VERITY-x".to_owned(),
    }
}

/// What somebody else does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Load,
    Clear,
    Resume,
    Suspend,
    Corrupt,
    Remove,
}

/// What somebody else does before calls of these numbers.
type Acts<'a> = &'a [(usize, Act)];

/// Device-mapper with one device, and with somebody else who does something before a call of this number.
struct Fake {
    live: Live,
    is_there: bool,
    calls: usize,
    acts: Vec<(usize, Act)>,
    /// How the next resumes go, instead of well.
    resumes: Vec<Fault>,
    /// Whether no resume takes a table, and leaves the device suspended with the one that it has.
    takes_none: bool,
    /// Tables that our resumes made live.
    made_live: Vec<String>,
}

impl Fake {
    fn new(parameters: &str) -> Self {
        Self {
            live: Live {
                identity: identity(),
                name: "usr".to_owned(),
                line: Some(line(parameters)),
                staged: Staged::Nothing,
                is_suspended: false,
                is_read_only: true,
                status: Status::parse("V"),
            },
            is_there: true,
            calls: 0,
            acts: Vec::new(),
            resumes: Vec::new(),
            takes_none: false,
            made_live: Vec::new(),
        }
    }

    fn with(mut self, acts: Acts<'_>) -> Self {
        self.acts = acts.to_vec();
        self
    }

    fn begin(&mut self) -> Result<(), Fault> {
        let due = self.acts.iter().filter(|(call, _)| *call == self.calls);
        let due: Vec<_> = due.map(|&(_, act)| act).collect();
        self.calls += 1;
        for act in due {
            match act {
                Act::Load => self.live.staged = Staged::Line(line(FOREIGN)),
                Act::Clear => self.live.staged = Staged::Nothing,
                Act::Resume => self.swap(),
                Act::Suspend => self.live.is_suspended = true,
                Act::Corrupt => self.live.status = Status::parse("C"),
                Act::Remove => self.is_there = false,
            }
        }
        if self.is_there {
            Ok(())
        } else {
            Err(Fault::Gone)
        }
    }

    fn swap(&mut self) {
        self.live.is_suspended = false;
        if let Staged::Line(line) = std::mem::replace(&mut self.live.staged, Staged::Nothing) {
            self.live.line = Some(line);
            self.live.status = Status::parse("V");
        }
    }

    fn table(&self) -> &str {
        self.live.line.as_ref().map_or("", |it| &it.parameters)
    }

    fn switch(&mut self, from: &str, to: &str) -> Result<(), Stopped> {
        switch(self, &identity(), &line(from), &line(to))
    }
}

impl Mapper for Fake {
    fn look(&mut self) -> Result<Live, Fault> {
        self.begin()?;
        Ok(self.live.clone())
    }

    fn load(&mut self, line: &Line) -> Result<(), Fault> {
        self.begin()?;
        self.live.staged = Staged::Line(line.clone());
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Fault> {
        self.begin()?;
        if let Some(fault) = self.resumes.pop() {
            return Err(fault);
        }
        if self.takes_none && self.live.staged != Staged::Nothing {
            self.live.staged = Staged::Nothing;
            self.live.is_suspended = true;
            return Err(Fault::Refused("no memory".to_owned()));
        }
        if let Staged::Line(line) = &self.live.staged {
            self.made_live.push(line.parameters.clone());
        }
        self.swap();
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Fault> {
        self.begin()?;
        self.live.staged = Staged::Nothing;
        Ok(())
    }
}

#[test]
fn a_device_gets_the_other_table_and_its_own_again() {
    let mut fake = Fake::new("off");
    for (from, to) in [("off", "on"), ("on", "on"), ("on", "off")] {
        assert_eq!(fake.switch(from, to), Ok(()));
        assert_eq!(fake.table(), to);
    }
    assert_eq!(fake.made_live, ["on", "on", "off"]);
    assert!(!fake.live.is_suspended);
}

/// What somebody else did is left as it is, and what was loaded for nothing is taken away.
#[test]
fn what_somebody_else_does_stops_it() {
    let cases: [(Acts<'_>, &str, &str); 7] = [
        (
            &[(0, Act::Load), (0, Act::Resume)],
            "changed its table",
            FOREIGN,
        ),
        (&[(0, Act::Load)], "has staged a table", "off"),
        (&[(0, Act::Suspend)], "suspended it", "off"),
        (&[(2, Act::Load)], "not the one that was loaded", "off"),
        (&[(2, Act::Clear)], "not the one that was loaded", "off"),
        (&[(2, Act::Suspend)], "suspended it", "off"),
        (
            &[(2, Act::Load), (2, Act::Resume)],
            "changed its table",
            FOREIGN,
        ),
    ];
    for (acts, expected, left) in cases {
        let mut fake = Fake::new("off").with(acts);
        let stopped = fake.switch("off", "on").expect_err("it stops");
        assert!(
            stopped.to_string().contains(expected),
            "{acts:?}: {stopped}"
        );
        assert_eq!(fake.table(), left, "{acts:?}");
        assert_ne!(fake.live.staged, Staged::Line(line("on")), "{acts:?}");
        assert!(fake.made_live.is_empty(), "{acts:?}");
    }
}

#[test]
fn corruption_is_not_erased() {
    for call in [0, 2] {
        let mut fake = Fake::new("off").with(&[(call, Act::Corrupt)]);
        assert_eq!(fake.switch("off", "on"), Err(Stopped::Corrupt));
        assert_eq!(fake.live.status, Status::parse("C"));
        assert_eq!(fake.live.staged, Staged::Nothing);
    }
}

#[test]
fn another_device_with_the_number_is_left_alone() {
    let mut fake = Fake::new("off");
    fake.live.identity.disk_sequence = Some(8);
    assert_eq!(fake.switch("off", "on"), Err(Stopped::Gone));
    fake.live.identity.disk_sequence = Some(7);
    fake.live.identity.uuid.clear();
    assert_eq!(fake.switch("off", "on"), Err(Stopped::Gone));
    assert!(fake.made_live.is_empty());
    let mut fake = Fake::new("off").with(&[(1, Act::Remove)]);
    assert_eq!(fake.switch("off", "on"), Err(Stopped::Gone));
}

#[test]
fn a_signal_interrupts_it_and_it_is_tried_again() {
    let mut fake = Fake::new("off");
    fake.resumes = vec![Fault::Interrupted; 3];
    assert_eq!(fake.switch("off", "on"), Ok(()));
    assert_eq!(fake.table(), "on");
    let mut fake = Fake::new("off");
    fake.resumes = vec![Fault::Interrupted; TRIES];
    assert_eq!(fake.switch("off", "on"), Err(Stopped::Interrupted));
    assert_eq!(fake.table(), "off");
    assert_eq!(fake.live.staged, Staged::Nothing);
}

/// A kernel that could not take the table leaves the device suspended, and every reader would wait for ever.
#[test]
fn a_device_is_not_left_suspended() {
    let mut fake = Fake::new("off");
    fake.takes_none = true;
    let stopped = Stopped::Refused("no memory".to_owned());
    assert_eq!(fake.switch("off", "on"), Err(stopped));
    assert!(!fake.live.is_suspended);
    assert_eq!(fake.table(), "off");
    assert_eq!(fake.live.staged, Staged::Nothing);
}

/// Older kernels call an interrupted suspend an invalid argument, and the table that was staged is gone.
#[test]
fn what_is_left_as_it_was_is_tried_again() {
    let mut fake = Fake::new("off");
    fake.resumes = vec![Fault::Refused("Invalid argument".to_owned()); 2];
    assert_eq!(fake.switch("off", "on"), Ok(()));
    assert_eq!(fake.table(), "on");
}

fn act() -> impl Strategy<Value = Act> {
    prop::sample::select(vec![
        Act::Load,
        Act::Clear,
        Act::Resume,
        Act::Suspend,
        Act::Corrupt,
        Act::Remove,
    ])
}

proptest! {
    /// But for the window between the last look and the resume (call 3), no resume ever makes somebody else's table
    /// live; and when it says that the device has the table, it has.
    #[test]
    fn nobody_elses_table_is_made_live(
        acts in prop::collection::vec((prop::sample::select(vec![0usize, 1, 2, 4, 5, 6, 7, 8]), act()), 0..6),
    ) {
        let mut fake = Fake::new("off").with(&acts);
        let switched = fake.switch("off", "on");
        prop_assert!(fake.made_live.iter().all(|it| it != FOREIGN), "{:?}", fake.made_live);
        if switched.is_ok() {
            prop_assert_eq!(fake.made_live.first().map(String::as_str), Some("on"));
        } else if fake.is_there {
            prop_assert!(fake.live.staged != Staged::Line(line("on")), "{switched:?}");
        }
    }
}
