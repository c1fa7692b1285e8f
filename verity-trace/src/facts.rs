//! What every view states in the same words: what an era means, and a device's option against
//! its effect. Facts only; nothing here advises.

use std::borrow::Cow;

use crate::escape;
use crate::snapshot::{Device, Era, Placement, Reason, Rung, Tracing};

/// Why a loss can be a lower bound.
pub const HIDDEN_MISSES: &str = "this kernel does not count what its kprobes miss";

/// Those whose I/Os are in [`crate::snapshot::Snapshot::other`].
pub const OTHER: &str = "other devices, without a slot of their own or gone";

/// What the option does on a kernel of this era.
#[must_use]
pub const fn meaning(era: Era) -> &'static str {
    match era {
        Era::NoOption => "this kernel refuses the option; kverityd verifies every I/O",
        Era::Tasklet => "with the option on, a tasklet verifies I/Os of every size",
        Era::Inert => "this kernel accepts the option and ignores it; kverityd verifies every I/O",
        Era::Bh => "with the option on, the BH workqueue verifies I/Os of every size",
        Era::Inline => {
            "with the option on, I/Os up to use_bh_bytes go inline or to the BH workqueue"
        }
    }
}

/// The word for how dm-verity is watched: `none` when it is not.
#[must_use]
pub const fn rung(tracing: &Tracing) -> &'static str {
    match tracing {
        Tracing::Attached(rung) => rung.name(),
        Tracing::WaitingForModule | Tracing::WaitingForDevice | Tracing::Failed(_) => "none",
    }
}

/// Why dm-verity is not watched, or how far what is seen can be trusted; safe to print.
#[must_use]
pub fn tracing(tracing: &Tracing) -> Cow<'_, str> {
    Cow::Borrowed(match tracing {
        Tracing::Attached(Rung::Fentry) => "every call is seen, or counted as loss",
        Tracing::Attached(Rung::Kprobe) => {
            "calls inside another kprobe's handler are not seen; an I/O that lacks one is incomplete"
        }
        Tracing::Attached(Rung::Tracepoint) => {
            "verifications on workqueues are counted, all devices together; inline and none are not seen"
        }
        Tracing::WaitingForModule => "waiting for dm_verity, which is not loaded",
        Tracing::WaitingForDevice => {
            "waiting for a verity device; until there is one, dm_verity can be removed"
        }
        Tracing::Failed(sentence) => return escape::terminal(sentence),
    })
}

/// The placements that I/Os can have in this era, in the order in which views show them.
///
/// `none` is left out: it can happen in every era, and is shown where it did.
#[must_use]
pub const fn placements(era: Option<Era>) -> &'static [Placement] {
    match era {
        None | Some(Era::NoOption | Era::Inert) => &[Placement::Kverityd],
        Some(Era::Tasklet) => &[Placement::Kverityd, Placement::Tasklet, Placement::Fallback],
        Some(Era::Bh) => &[Placement::Kverityd, Placement::Bh, Placement::Fallback],
        Some(Era::Inline) => &[
            Placement::Kverityd,
            Placement::Bh,
            Placement::Inline,
            Placement::Fallback,
        ],
    }
}

/// A device's option against its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionEffect {
    /// The option is off, and only kverityd verified, or nothing yet.
    Off,
    /// The option is off, yet not only kverityd verified.
    OffYetEffective,
    /// The option is on and in effect.
    Effective,
    /// The option is on, and the kernel ignores it.
    Inert,
    /// The option is on and the kernel heeds it, yet kverityd verified every I/O: most of them for this reason.
    AllKverityd(Option<Reason>),
    /// The option is on, and nothing was verified yet.
    NothingVerified,
}

impl OptionEffect {
    /// The effect that a device's option has on a kernel of this era.
    #[must_use]
    pub fn of(device: &Device, era: Option<Era>) -> Self {
        let option = device.table.options.try_verify_in_tasklet;
        match Self::known(option, device.effective(), era) {
            Self::AllKverityd(_) => Self::AllKverityd(main_reason(device)),
            effect => effect,
        }
    }

    /// The effect as far as it is known without reasons; `effective` is absent while nothing was verified, or
    /// seen.
    #[must_use]
    pub const fn known(option: bool, effective: Option<bool>, era: Option<Era>) -> Self {
        match (option, effective) {
            (false, Some(true)) => Self::OffYetEffective,
            (false, _) => Self::Off,
            (true, Some(true)) => Self::Effective,
            (true, _) if matches!(era, Some(Era::Inert | Era::NoOption)) => Self::Inert,
            (true, Some(false)) => Self::AllKverityd(None),
            (true, None) => Self::NothingVerified,
        }
    }

    /// The words for it in a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OffYetEffective => "off, effective",
            Self::Effective => "on, effective",
            Self::Inert => "on, inert",
            Self::AllKverityd(Some(Reason::TooLarge)) => "on, too-large",
            Self::AllKverityd(Some(Reason::NeedResched)) => "on, need-resched",
            Self::AllKverityd(_) => "on, kverityd",
            Self::NothingVerified => "on",
        }
    }

    /// Whether option and effect contradict each other. Large I/Os are left to kverityd on purpose.
    #[must_use]
    pub const fn is_mismatch(self) -> bool {
        match self {
            Self::AllKverityd(reason) => !matches!(reason, Some(Reason::TooLarge)),
            Self::OffYetEffective | Self::Inert => true,
            Self::Off | Self::Effective | Self::NothingVerified => false,
        }
    }

    /// What one might not expect of it, as a sentence.
    #[must_use]
    pub const fn sentence(self) -> Option<&'static str> {
        match self {
            Self::Inert => Some("option is on but this kernel accepts and ignores it"),
            Self::AllKverityd(Some(Reason::TooLarge)) => Some(
                "option is on but kverityd verified every I/O: most are larger than use_bh_bytes allows, as is meant",
            ),
            Self::AllKverityd(Some(Reason::NeedResched)) => Some(
                "option is on but kverityd verified every I/O, since other tasks waited for the CPU (inferred)",
            ),
            Self::AllKverityd(_) => Some("option is on but kverityd verified every I/O"),
            Self::OffYetEffective => Some("option is off but not only kverityd verified"),
            Self::Off | Self::Effective | Self::NothingVerified => None,
        }
    }
}

/// Why kverityd verified most of what it did.
fn main_reason(device: &Device) -> Option<Reason> {
    let kverityd = device
        .totals
        .as_ref()?
        .placements
        .get(&Placement::Kverityd)?;
    let most = kverityd.reasons.iter().max_by_key(|&(_, ios)| ios)?;
    Some(*most.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{DeviceNumber, PlacementTotals, Totals};
    use crate::target::Table;

    fn device(option: bool, placements: &[Placement]) -> Device {
        let one = PlacementTotals {
            ios: 1,
            ..PlacementTotals::default()
        };
        Device {
            name: "root".to_owned(),
            uuid: String::new(),
            number: DeviceNumber {
                major: 253,
                minor: 0,
            },
            disk_sequence: None,
            table: Table::parse(&format!(
                "1 8:1 8:2 4096 4096 16384 1 sha256 6d6f -{}",
                if option {
                    " 1 try_verify_in_tasklet"
                } else {
                    ""
                }
            ))
            .expect("a verity table"),
            status: None,
            counted_in_other: false,
            totals: Some(Totals {
                placements: placements.iter().map(|&it| (it, one.clone())).collect(),
                ..Totals::default()
            }),
            recent: None,
            in_flight: None,
            first_failure: None,
            before_attach: None,
            in_flight_before_attach: None,
        }
    }

    #[test]
    fn the_effect_is_what_happened_and_inert_is_known_before_anything_did() {
        use OptionEffect::{AllKverityd, Effective, Inert, NothingVerified, Off, OffYetEffective};
        let cases: [(bool, &[Placement], Era, OptionEffect); 9] = [
            (false, &[], Era::Bh, Off),
            (false, &[Placement::Kverityd], Era::Inline, Off),
            (false, &[Placement::Bh], Era::Bh, OffYetEffective),
            (true, &[], Era::Inert, Inert),
            (true, &[Placement::Kverityd], Era::Inert, Inert),
            (true, &[], Era::Bh, NothingVerified),
            (true, &[Placement::None], Era::Bh, NothingVerified),
            (true, &[Placement::Kverityd], Era::Inline, AllKverityd(None)),
            (true, &[Placement::Fallback], Era::Tasklet, Effective),
        ];
        for (option, placements, era, expected) in cases {
            let found = OptionEffect::of(&device(option, placements), Some(era));
            assert_eq!(found, expected, "{option} {placements:?} {era:?}");
        }
    }

    #[test]
    fn what_is_left_to_kverityd_on_purpose_is_no_mismatch() {
        let effect = |reasons: &[(Reason, u64)]| {
            let mut device = device(true, &[Placement::Kverityd]);
            let totals = device.totals.get_or_insert_default();
            let these = totals.placements.entry(Placement::Kverityd).or_default();
            these.reasons = reasons.iter().copied().collect();
            OptionEffect::of(&device, Some(Era::Inline))
        };
        let large = effect(&[(Reason::TooLarge, 9), (Reason::NeedResched, 2)]);
        assert_eq!(
            (large.name(), large.is_mismatch()),
            ("on, too-large", false)
        );
        let busy = effect(&[(Reason::TooLarge, 2), (Reason::NeedResched, 9)]);
        assert_eq!(
            (busy.name(), busy.is_mismatch()),
            ("on, need-resched", true)
        );
        let before = effect(&[(Reason::OptionOff, 9)]);
        assert_eq!(
            (before.name(), before.is_mismatch()),
            ("on, kverityd", true)
        );
    }

    #[test]
    fn every_mismatch_has_its_sentence() {
        for effect in [
            OptionEffect::Off,
            OptionEffect::OffYetEffective,
            OptionEffect::Effective,
            OptionEffect::Inert,
            OptionEffect::AllKverityd(None),
            OptionEffect::NothingVerified,
        ] {
            assert_eq!(effect.is_mismatch(), effect.sentence().is_some());
        }
    }
}
