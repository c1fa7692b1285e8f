//! The lab's kernels: one per era of dm-verity's option, and others that behave differently within one.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::guest::make_image;
use super::host::HostTools;
use crate::apt::{MIRROR, Reach, Suite};
use crate::{install, progress, workspace};

/// A kernel that the lab knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kernel {
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "7.3")]
    V7_3,
    #[value(name = "6.18")]
    V6_18,
    #[value(name = "6.12-rt")]
    V6_12Rt,
    #[value(name = "7.3-rt")]
    V7_3Rt,
}

/// What a machine needs to see its disks and its ports, and to mount the first of them; ext4 asks for its
/// checksum by a name that depmod does not know (Linux before 6.14).
const BOOT_MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "crc32c_generic",
    "ext4",
];

/// Packages that a kernel is spread over; which of them there are differs by version.
const PARTS: [&str; 4] = ["image", "binary", "base", "modules"];

/// The flavour without drivers for real hardware.
const CLOUD: &str = "-cloud-amd64";

/// The flavour that preempts nearly everything (`PREEMPT_RT`), with every driver there is.
const REAL_TIME: &str = "-rt-amd64";

/// Modules for hardware that no machine of the lab has: most of what the second flavour brings.
const UNUSED: [&str; 8] = [
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
    "sound",
];

impl Kernel {
    /// One per era: what everything is tested on, and what is there after the setup.
    pub const ERAS: &[Self] = &[Self::V6_1, Self::V6_12, Self::V7_3];

    /// Those and the ones that only the full tier tests.
    pub const ALL: &[Self] = &[
        Self::V6_1,
        Self::V6_12,
        Self::V7_3,
        Self::V6_18,
        Self::V6_12Rt,
        Self::V7_3Rt,
    ];

    pub const NEWEST: Self = Self::V7_3;

    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_3 => "7.3",
            Self::V6_18 => "6.18",
            Self::V6_12Rt => "6.12-rt",
            Self::V7_3Rt => "7.3-rt",
        }
    }

    /// Whether it handles interrupts and softirqs in threads.
    pub fn is_real_time(self) -> bool {
        self.source().2 == REAL_TIME
    }

    /// The Debian suite that carries it, its series, and how the names of its packages end.
    fn source(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::V6_1 => ("bookworm", "6.1", CLOUD),
            Self::V6_12 => ("trixie", "6.12", CLOUD),
            Self::V7_3 => ("trixie-backports", "7.3", CLOUD),
            Self::V6_18 => ("trixie-backports", "6.18", CLOUD),
            Self::V6_12Rt => ("trixie", "6.12", REAL_TIME),
            Self::V7_3Rt => ("trixie-backports", "7.3", REAL_TIME),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a kernel's files are.
pub struct KernelFiles {
    /// The kernel as the emulator loads it.
    pub image: PathBuf,
    /// A file system with what belongs under `/usr/lib/modules`.
    pub modules: PathBuf,
    /// Modules to load before any disk is there, in this order.
    pub boot: Vec<PathBuf>,
}

pub fn install(kernel: Kernel, host: &HostTools) -> Result<KernelFiles> {
    let dir = workspace::lab("kernels").join(kernel.name());
    let recipe = format!("{kernel} {}", BOOT_MODULES.join(" "));
    install::folder(&dir, &recipe, |part| make(kernel, host, part)).with_context(|| {
        let by_hand = format!(
            "name an archive that has it, {MIRROR}=ADDRESS cargo xtask lab --kernel {kernel}"
        );
        install::missing(&format!("kernel {kernel}"), "the lab boots it", &by_hand)
    })?;
    let order = fs::read_to_string(dir.join("boot/order"))?;
    Ok(KernelFiles {
        image: dir.join("vmlinuz"),
        modules: dir.join("modules.img"),
        boot: order
            .lines()
            .map(|name| dir.join("boot").join(name))
            .collect(),
    })
}

fn make(kernel: Kernel, host: &HostTools, dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    let (suite_name, ..) = kernel.source();
    let suite = Suite::open(suite_name)?;
    let packages = newest(&suite.names("linux-")?, kernel);
    if packages.is_empty() {
        bail!("Debian {suite_name} no longer has a kernel {kernel}");
    }
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    suite.unpack(&format!("kernel {kernel}"), &names, Reach::Named, &tree)?;
    let modules = modules_folder(&tree)?;
    let release = modules
        .file_name()
        .context("the modules have no release")?
        .to_owned();
    let boot_image = tree
        .join("boot")
        .join(format!("vmlinuz-{}", release.display()));
    let image = [modules.join("vmlinuz"), boot_image]
        .into_iter()
        .find(|path| path.exists());
    fs::rename(
        image.context("the packages hold no kernel")?,
        dir.join("vmlinuz"),
    )?;
    fs::create_dir_all(dir.join("root/usr/lib"))?;
    symlink("usr/lib", dir.join("root/lib"))?;
    let root = dir.join("root");
    fs::rename(
        modules.parent().context("no parent")?,
        root.join("usr/lib/modules"),
    )?;
    let modules = root.join("usr/lib/modules").join(&release);
    for folder in UNUSED {
        fs::remove_dir_all(modules.join("kernel").join(folder)).ok();
    }
    decompress(host, &modules)?;
    host.output(
        "usr/sbin/depmod",
        [OsStr::new("-b"), root.as_os_str(), &release],
    )?;
    copy_boot_modules(&modules, &dir.join("boot"))?;
    make_image(
        host,
        &root.join("usr/lib/modules"),
        &dir.join("modules.img"),
    )?;
    fs::remove_dir_all(tree)?;
    fs::remove_dir_all(root).context("remove the unpacked kernel")
}

/// The one folder of modules that the packages brought, before or after `/lib` became a link.
fn modules_folder(tree: &Path) -> Result<PathBuf> {
    for place in ["usr/lib/modules", "lib/modules"] {
        if let Ok(mut entries) = fs::read_dir(tree.join(place)) {
            return Ok(entries
                .next()
                .context("the packages hold no modules")??
                .path());
        }
    }
    bail!("the packages hold no modules")
}

/// Loading a compressed module would cost far more under emulation than reading a larger one.
fn decompress(host: &HostTools, modules: &Path) -> Result<()> {
    let step = progress::step("decompressing modules");
    let mut compressed = Vec::new();
    find_compressed(modules, &mut compressed)?;
    for some in compressed.chunks(500) {
        let options = ["-d", "--"].map(OsStr::new).into_iter();
        host.output(
            "usr/bin/xz",
            options.chain(some.iter().map(|path| path.as_os_str())),
        )?;
    }
    step.finish_and_clear();
    Ok(())
}

fn find_compressed(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_compressed(&entry.path(), found)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "xz")
        {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Sets aside the modules for booting, and their order.
fn copy_boot_modules(modules: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let dependencies = fs::read_to_string(modules.join("modules.dep"))?;
    let mut order = String::new();
    for path in load_order(&dependencies, &BOOT_MODULES) {
        let name = path.rsplit('/').next().unwrap_or(path);
        fs::copy(modules.join(path), to.join(name)).with_context(|| format!("copy {path}"))?;
        writeln!(order, "{name}")?;
    }
    fs::write(to.join("order"), order).context("write the order of modules")
}

/// The paths of modules and of what they need, each after what it needs itself.
///
/// A module that is not listed is built in.
fn load_order<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut order = Vec::new();
    for name in wanted {
        let line = dependencies.lines().filter_map(|line| line.split_once(':'));
        let Some((path, needs)) = line
            .into_iter()
            .find(|(path, _)| module_name(path) == *name)
        else {
            continue;
        };
        // depmod lists what is needed last first.
        for path in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    order
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The packages of the newest release of a kernel.
fn newest(names: &[String], kernel: Kernel) -> Vec<String> {
    let (_, series, flavour) = kernel.source();
    let prefix = format!("{series}.");
    let release = |name: &str| {
        let (part, release) = name.strip_prefix("linux-")?.split_once('-')?;
        let fits = release.starts_with(&prefix) && release.ends_with(flavour);
        (fits && PARTS.contains(&part)).then(|| release.to_owned())
    };
    let newest = names
        .iter()
        .filter_map(|name| release(name))
        .max_by(|a, b| compare(a, b));
    let is_newest = |name: &&String| newest.is_some() && release(name) == newest;
    names.iter().filter(is_newest).cloned().collect()
}

fn compare(a: &str, b: &str) -> Ordering {
    deb_version::compare_versions(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/char/virtio-console.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

    #[test]
    fn what_a_module_needs_comes_first_and_once() {
        assert_eq!(
            load_order(DEPENDENCIES, &["virtio_blk", "virtio_console", "ext4"]),
            [
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/block/virtio_blk.ko",
                "kernel/drivers/char/virtio-console.ko",
            ]
        );
    }

    #[test]
    fn takes_the_newest_release_of_the_right_kernel() {
        let names = [
            "linux-image-6.1.0-47-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
            "linux-image-6.1.0-50-amd64",
            "linux-image-6.12.9-cloud-amd64",
            "linux-image-6.12.9-rt-amd64",
            "linux-headers-6.1.0-51-cloud-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(
            newest(&names, Kernel::V6_1),
            ["linux-image-6.1.0-50-cloud-amd64"]
        );
        assert_eq!(
            newest(&names, Kernel::V6_12),
            ["linux-image-6.12.9-cloud-amd64"]
        );
        assert_eq!(
            newest(&names, Kernel::V6_12Rt),
            ["linux-image-6.12.9-rt-amd64"]
        );
        assert!(newest(&names, Kernel::V7_3).is_empty());
    }

    #[test]
    fn takes_all_parts_of_a_release() {
        let names = [
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.10+deb13-cloud-amd64",
            "linux-modules-7.3.10+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned);
        assert_eq!(
            newest(&names, Kernel::V7_3),
            [
                "linux-binary-7.3.10+deb13-cloud-amd64",
                "linux-modules-7.3.10+deb13-cloud-amd64"
            ]
        );
    }
}
