//! Whoever called sudo: root watches, and what is not watching is done as them.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Gid, Uid};

/// A user, as far as a process needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    name: String,
    home: Option<String>,
    shell: Option<String>,
}

impl Person {
    /// Who called sudo; absent when nobody did, and when root called it for itself.
    #[must_use]
    pub fn behind_sudo() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        let (uid, gid) = (number("SUDO_UID")?, number("SUDO_GID")?);
        let name = std::env::var("SUDO_USER").ok()?;
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        (uid != 0).then(|| Self::new(uid, gid, name, &file("/etc/passwd"), &file("/etc/group")))
    }

    /// The numbers of a user of this system and of their group; absent where there is no such user.
    #[must_use]
    pub fn ids(name: &str) -> Option<(u32, u32)> {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        Self::ids_in(name, &passwd)
    }

    fn ids_in(name: &str, passwd: &str) -> Option<(u32, u32)> {
        let entries = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>());
        let mut named = entries.filter(|fields| fields.first() == Some(&name));
        let fields = named.next()?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    }

    /// Root's home, as the system has it, whatever the environment says.
    #[must_use]
    pub fn home_of_root() -> Option<String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::new(0, 0, "root".to_owned(), &passwd, "").home
    }

    /// From the text of the files, so that no library has to be loaded as root: who is not in them has no
    /// other groups.
    fn new(uid: u32, gid: u32, name: String, passwd: &str, group: &str) -> Self {
        let entry = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name.as_str()));
        let field = |at: usize| {
            let fields = entry.as_ref()?;
            let text = fields.get(at).filter(|text| !text.is_empty())?;
            Some((*text).to_owned())
        };
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let is_member = fields.get(3)?.split(',').any(|member| member == name);
            is_member.then(|| fields[2].parse().ok())?
        });
        let mut groups: Vec<u32> = groups.collect();
        groups.push(gid);
        Self {
            uid,
            gid,
            groups,
            home: field(5),
            shell: field(6),
            name,
        }
    }

    /// Gives them a file.
    pub fn own(&self, file: &File) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        Ok(rustix::fs::fchown(file, Some(uid), Some(gid))?)
    }

    /// Has a command run as them.
    pub fn run(self, command: &mut Command) {
        let set = [
            ("USER", Some(self.name.clone())),
            ("LOGNAME", Some(self.name)),
            ("HOME", self.home),
            ("SHELL", self.shell),
        ];
        for (name, value) in set {
            if let Some(value) = value {
                command.env(name, OsString::from(value));
            }
        }
        let groups: Vec<Gid> = self.groups.into_iter().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let become_them = move || {
            rustix::thread::set_thread_groups(&groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
        };
        // SAFETY: these are system calls and nothing else, in a process that has one thread.
        unsafe {
            command.pre_exec(become_them);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/zsh\n";
    const GROUP: &str = "root:x:0:\ndisk:x:6:ann,bob\nann:x:1000:\naudio:x:29:bob\nbroken\n";

    #[test]
    fn a_user_has_their_home_and_groups() {
        let ann = Person::new(1000, 1000, "ann".to_owned(), PASSWD, GROUP);
        assert_eq!(ann.groups, [6, 1000]);
        assert_eq!(ann.home.as_deref(), Some("/home/ann"));
        assert_eq!(ann.shell.as_deref(), Some("/bin/zsh"));
    }

    #[test]
    fn a_user_has_numbers() {
        assert_eq!(Person::ids_in("ann", PASSWD), Some((1000, 1000)));
        assert_eq!(Person::ids_in("an", PASSWD), None);
    }

    #[test]
    fn one_that_is_in_no_file_has_one_group() {
        let eve = Person::new(4000, 4001, "eve".to_owned(), PASSWD, GROUP);
        assert_eq!((eve.groups, eve.home), (vec![4001], None));
    }
}
