//! Which devices the user asked for. It decides what is shown and never what is traced.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::dm::VerityDevice;
use crate::error::{Error, Result};
use crate::mounts::Mounts;
use crate::snapshot::DeviceNumber;

/// How many devices an error names.
const NAMED: usize = 8;

/// One argument that selects devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    forms: Vec<Form>,
}

/// What an argument may mean; it selects a device that fits any of its meanings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// The device-mapper name.
    Name(String),
    /// A pattern for the name.
    Glob(Pattern),
    /// `dm-N`.
    KernelName(u32),
    Number(DeviceNumber),
    MountPoint(PathBuf),
}

impl Selector {
    /// Reads an argument; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
        let forms = if let Some(name) = text.strip_prefix("/dev/mapper/").filter(is_name) {
            names(name)
        } else if let Some(minor) = text.strip_prefix("/dev/").and_then(kernel_name) {
            vec![Form::KernelName(minor)]
        } else if text.starts_with('/') {
            vec![Form::MountPoint(text.into())]
        } else if is_name(&text) {
            let mut forms = names(text);
            forms.extend(kernel_name(text).map(Form::KernelName));
            forms.extend(text.parse().ok().map(Form::Number));
            forms
        } else {
            return Err("neither a name, a device number nor an absolute path".to_owned());
        };
        Ok(Self {
            text: text.to_owned(),
            forms,
        })
    }

    /// Whether it selects this one of the devices.
    fn matches(&self, device: &VerityDevice, devices: &[VerityDevice], mounts: &Mounts) -> bool {
        self.forms.iter().any(|form| match form {
            Form::Name(name) => device.name == *name,
            Form::Glob(pattern) => pattern.matches(&device.name),
            // Device-mapper names its disks so (`alloc_dev`, drivers/md/dm.c).
            Form::KernelName(minor) => device.number.minor == *minor,
            Form::Number(number) => device.number == *number,
            Form::MountPoint(point) => mounts
                .verity_device(point, devices)
                .is_ok_and(|found| found.number == device.number),
        })
    }

    fn mount_point(&self) -> Option<&Path> {
        self.forms.iter().find_map(|form| match form {
            Form::MountPoint(point) => Some(point.as_path()),
            _ => None,
        })
    }

    /// Why its name is no pattern, if it has one that is none.
    fn flaw(&self) -> Option<&'static str> {
        self.forms.iter().find_map(|form| match form {
            Form::Name(name) => Some(Pattern::new(name).err()?.msg),
            _ => None,
        })
    }

    /// Why it selects none of the devices.
    fn missing(&self, devices: &[VerityDevice], mounts: &Mounts) -> Error {
        let text = &self.text;
        let reason = match self.mount_point() {
            Some(point) => mounts.verity_device(point, devices).err(),
            None => self
                .flaw()
                .map(|flaw| format!("is no dm-verity device, and no pattern: {flaw}")),
        };
        let reason = reason.unwrap_or_else(|| "fits no dm-verity device".to_owned());
        Error::NoDevice(format!("`{text}` {reason}; there is {}", listed(devices)))
    }
}

/// The devices that are wanted: all of them unless there are selectors.
#[derive(Clone, Debug, Default)]
pub struct Selection(Vec<Selector>);

impl Selection {
    /// Those that any of the selectors selects, or every one when there is no selector.
    #[must_use]
    pub const fn new(selectors: Vec<Selector>) -> Self {
        Self(selectors)
    }

    /// Whether every device is wanted.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The patterns that select groups of devices.
    #[must_use]
    pub fn patterns(&self) -> Vec<Pattern> {
        let forms = self.0.iter().flat_map(|selector| &selector.forms);
        let patterns = forms.filter_map(|form| match form {
            Form::Glob(pattern) => Some(pattern),
            _ => None,
        });
        // A name alone is a pattern for itself.
        let several = patterns.filter(|it| it.as_str().contains(['*', '?', '[']));
        several.cloned().collect()
    }

    /// Whether a mount point stands for a device.
    #[must_use]
    pub fn has_mount_point(&self) -> bool {
        self.0.iter().any(|it| it.mount_point().is_some())
    }

    /// The mounts as they are now, if a selector asks for them.
    pub fn mounts(&self) -> Result<Mounts> {
        if self.has_mount_point() {
            return Mounts::read();
        }
        Ok(Mounts::none())
    }

    /// The wanted ones among the devices.
    #[must_use]
    pub fn of<'a>(&self, devices: &'a [VerityDevice], mounts: &Mounts) -> Vec<&'a VerityDevice> {
        let is_wanted = |device: &&VerityDevice| {
            self.is_everything()
                || self
                    .0
                    .iter()
                    .any(|selector| selector.matches(device, devices, mounts))
        };
        devices.iter().filter(is_wanted).collect()
    }

    /// The wanted ones, where there has to be one, and one for each selector.
    pub fn all_of<'a>(
        &self,
        devices: &'a [VerityDevice],
        mounts: &Mounts,
    ) -> Result<Vec<&'a VerityDevice>> {
        if devices.is_empty() {
            return Err(Error::NoDevice(
                "there is no dm-verity device; open one with `veritysetup open`, or wait for one \
                 with `verity-trace top`"
                    .to_owned(),
            ));
        }
        for selector in &self.0 {
            let fits = |device| selector.matches(device, devices, mounts);
            if !devices.iter().any(fits) {
                return Err(selector.missing(devices, mounts));
            }
        }
        Ok(self.of(devices, mounts))
    }
}

/// A device may have a name that is no pattern.
fn names(name: &str) -> Vec<Form> {
    let pattern = Pattern::new(name).ok().map(Form::Glob);
    [Form::Name(name.to_owned())]
        .into_iter()
        .chain(pattern)
        .collect()
}

/// The number of `dm-N`.
fn kernel_name(text: &str) -> Option<u32> {
    let minor = text.strip_prefix("dm-")?.parse().ok()?;
    (format!("dm-{minor}") == text).then_some(minor)
}

fn listed(devices: &[VerityDevice]) -> String {
    let names: Vec<&str> = devices
        .iter()
        .take(NAMED)
        .map(|device| device.name.as_str())
        .collect();
    let mut text = names.join(", ");
    if devices.len() > NAMED {
        let _ = write!(text, " and {} more", devices.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Table;
    use proptest::prelude::*;

    fn device(name: &str, minor: u32) -> VerityDevice {
        VerityDevice {
            name: name.to_owned(),
            uuid: String::new(),
            number: DeviceNumber { major: 253, minor },
            disk_sequence: None,
            table: Table::parse("1 8:1 8:2 4096 4096 8 1 sha256 00 -").expect("a verity table"),
            status: None,
        }
    }

    fn devices() -> Vec<VerityDevice> {
        let names = [
            "usr",
            "app-one",
            "app-two",
            "dm-0",
            "a[1]",
            "$(id)<script>",
            "disk-[1",
        ];
        names
            .into_iter()
            .zip(0..)
            .map(|(name, minor)| device(name, minor))
            .collect()
    }

    fn mounts() -> Mounts {
        Mounts::parse("36 22 253:0 / /usr ro - erofs /dev/mapper/usr ro", |_| {
            Vec::new()
        })
    }

    fn selection(arguments: &[&str]) -> Selection {
        let parse = |text: &&str| Selector::parse(text).unwrap_or_else(|it| panic!("{text}: {it}"));
        Selection::new(arguments.iter().map(parse).collect())
    }

    fn selected(arguments: &[&str]) -> Vec<String> {
        let devices = devices();
        let selected = selection(arguments).of(&devices, &mounts());
        selected.iter().map(|device| device.name.clone()).collect()
    }

    #[test]
    fn patterns_are_what_can_fit_several() {
        let selection = selection(&["usr", "app-*", "/usr", "253:1", "/dev/mapper/a?", "disk-[1"]);
        let patterns = selection.patterns();
        let patterns: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(patterns, ["app-*", "a?"]);
    }

    #[test]
    fn every_form_selects() {
        let cases: [(&[&str], &[&str]); 19] = [
            (&["usr"], &["usr"]),
            (&["/dev/mapper/usr"], &["usr"]),
            (&["/dev/dm-1"], &["app-one"]),
            (&["dm-2"], &["app-two"]),
            (&["253:1"], &["app-one"]),
            (&["254:1"], &[]),
            (&["/usr"], &["usr"]),
            (&["/usr/"], &["usr"]),
            (&["/srv"], &[]),
            (&["app-*"], &["app-one", "app-two"]),
            (&["/dev/mapper/app-*"], &["app-one", "app-two"]),
            (&["app-[!o]??", "usr"], &["usr", "app-two"]),
            (&["$(id)<script>"], &["$(id)<script>"]),
            // A name wins nothing over a kernel name: both fit.
            (&["dm-0"], &["usr", "dm-0"]),
            (&["/dev/mapper/dm-0"], &["dm-0"]),
            (&["a[1]"], &["a[1]"]),
            // No pattern, but a name.
            (&["disk-[1"], &["disk-[1"]),
            (&["/dev/mapper/disk-[1"], &["disk-[1"]),
            (&["APP-*", "dm-01", "/dev/dm-", "253:"], &[]),
        ];
        for (arguments, expected) in cases {
            assert_eq!(selected(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn without_a_selector_every_device_is_wanted() {
        assert_eq!(selected(&[]).len(), devices().len());
    }

    #[test]
    fn an_argument_that_means_nothing_is_refused() {
        for text in ["", "a/b", "./usr"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_argument_that_fits_nothing_is_named_with_what_there_is() {
        let refused = |arguments: &[&str], devices: &[VerityDevice]| {
            let found = selection(arguments).all_of(devices, &mounts());
            let error = found.expect_err("nothing fits");
            assert_eq!(error.exit_code(), 5);
            error.to_string()
        };
        let message = refused(&["usr", "none-*"], &devices());
        assert!(message.starts_with("`none-*` fits no"), "{message}");
        assert!(message.contains("there is usr, app-one, "), "{message}");
        let message = refused(&["app-["], &devices());
        let expected = "`app-[` is no dm-verity device, and no pattern: ";
        assert!(message.starts_with(expected), "{message}");
        let message = refused(&["/srv"], &devices());
        assert!(message.starts_with("`/srv` is no mount point"), "{message}");
        let many: Vec<_> = (0..70)
            .map(|it| device(&format!("image-{it}"), it))
            .collect();
        let message = refused(&["x"], &many);
        assert!(message.ends_with("image-7 and 62 more"), "{message}");
        assert!(refused(&["x"], &[]).contains("no dm-verity device"));
    }

    proptest! {
        #[test]
        fn a_name_selects_its_device(name in "[^/\0]{1,20}", minor in 0u32..100) {
            let devices = [device(&name, minor)];
            for text in [name.clone(), format!("/dev/mapper/{name}"), format!("253:{minor}")] {
                let selected = selection(&[&text]).of(&devices, &Mounts::none());
                prop_assert_eq!(selected.len(), 1, "{}", text);
            }
        }

        #[test]
        fn no_argument_panics(text in any::<String>()) {
            if let Ok(selector) = Selector::parse(&text) {
                let _ = Selection::new(vec![selector]).of(&devices(), &mounts());
            }
        }
    }
}
