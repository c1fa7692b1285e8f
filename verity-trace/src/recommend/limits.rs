//! Values for `use_bh_bytes`, which is one for all verity devices of the host.

use super::case::Case;
use super::rules::BUDGET;
use super::sample::nanos;
use crate::format;
use crate::histogram::Nanos;
use crate::snapshot::{Era, IoClass, Kind, Reason};

/// What one verification may take: the BH workqueue runs at most 10 works in its 2 ms (`BH_WORKER_RESTARTS` and
/// `BH_WORKER_JIFFIES`, kernel/workqueue.c), so that a tenth lets the number be the limit and not the time.
pub const PIECE: Nanos = Nanos(BUDGET.0 / 10);

/// The classes whose limit is worth a change: idle has 0 on purpose (commit 5c5d0d705028), and none is nobody's.
const CLASSES: [IoClass; 2] = [IoClass::RealTime, IoClass::BestEffort];

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// For the classes none, real time, best effort and idle.
    pub limits: [u64; 4],
    /// The part of the device's I/Os that is verified elsewhere then.
    pub share: f64,
}

/// The limits now; absent where the kernel has none, or they are not known.
pub fn current(case: &Case<'_>) -> Option<[u64; 4]> {
    let limits = case.snapshot.use_bh_bytes.as_ref()?;
    limits.as_slice().try_into().ok()
}

/// Higher limits, so that more of what is too large now fits, as far as each verification stays short. Absent where
/// nothing more would fit.
pub fn higher(case: &Case<'_>) -> Option<Proposal> {
    let now = current(case)?;
    let most = shortest_piece(case)?;
    let mut limits = now;
    for class in CLASSES {
        let sizes = case.mix().filter_map(|(kind, _)| {
            let is_too_large = kind.class == class && kind.reason == Some(Reason::TooLarge);
            is_too_large.then(|| case.most_bytes(kind.size))
        });
        let fits = sizes.filter(|&bytes| bytes <= most).max().unwrap_or(0);
        let limit = &mut limits[class as usize];
        *limit = fits.max(*limit);
    }
    let share = moved(case, now, limits);
    (limits != now).then_some(Proposal { limits, share })
}

/// Lower limits, so that each verification stays short: 0 where even one block takes too long. Absent where these are
/// low enough.
pub fn lower(case: &Case<'_>) -> Option<[u64; 4]> {
    let now = current(case)?;
    let most = shortest_piece(case)?;
    let limits = now.map(|limit| limit.min(most));
    (limits != now).then_some(limits)
}

/// The most bytes that are verified in a piece, on every device that the limits are for. A device with too few I/Os
/// says nothing.
pub fn shortest_piece(case: &Case<'_>) -> Option<u64> {
    let of = |case: &Case<'_>| {
        let block = case.verify_per_block()?;
        let blocks = PIECE.0 / nanos(block).0.max(1);
        Some(blocks * u64::from(case.device.table.data_block_bytes))
    };
    let others = concerned(case).filter_map(|other| of(&other));
    Some(others.fold(of(case)?, u64::min))
}

/// The other devices that heed the limits.
fn concerned<'a>(case: &Case<'a>) -> impl Iterator<Item = Case<'a>> {
    let case = *case;
    let devices = case.snapshot.devices.iter();
    let others = devices.filter(move |it| it.number != case.device.number);
    others
        .map(move |device| case.other(device))
        .filter(Case::option)
}

/// The part of the I/Os that other limits would move.
fn moved(case: &Case<'_>, now: [u64; 4], then: [u64; 4]) -> f64 {
    let is_within =
        |kind: &Kind, limits: [u64; 4]| case.most_bytes(kind.size) <= limits[kind.class as usize];
    let moved = case
        .mix()
        .filter(|(kind, _)| is_within(kind, now) != is_within(kind, then));
    moved.map(|(_, ios)| ios).sum::<u64>() as f64 / case.verified().max(1) as f64
}

/// Whom other limits touch, one sentence each.
pub fn touched(case: &Case<'_>, then: [u64; 4]) -> Vec<String> {
    let Some(now) = current(case) else {
        return Vec::new();
    };
    let sentences = concerned(case).map(|other| {
        let (name, number) = (&other.device.name, other.device.number);
        if other.enough().is_err() {
            return format!(
                "use_bh_bytes is for every verity device of the host: {name} ({number}) heeds it too, and had too \
                 few I/Os to say what changes for it"
            );
        }
        format!(
            "use_bh_bytes is for every verity device of the host: {} of the I/Os of {name} ({number}) move too",
            format::percentage(Some(moved(&other, now, then))),
        )
    });
    sentences.collect()
}

/// Whether limits are heeded at all: this kernel has them, and the device the option.
pub fn are_heeded(case: &Case<'_>) -> bool {
    case.era() == Some(Era::Inline) && case.option()
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixture::{IN_BH, Ios, Made, ON_KVERITYD};
    use super::*;

    /// 16 blocks in 72 us.
    const LARGE: Ios = Ios {
        bytes: 65_536,
        reason: Some(Reason::TooLarge),
        verify: 72_000,
        ..ON_KVERITYD
    };

    fn made() -> Made {
        Made::on("7.3.4", Era::Inline)
            .option()
            .ios(IN_BH)
            .ios(LARGE)
    }

    #[test]
    fn higher_limits_let_in_what_is_verified_in_a_piece() {
        let made = made();
        let found = higher(&made.case()).expect("something fits");
        // 5 us a block: 40 blocks, and the I/Os of 64 KiB and more have at most 31.
        assert_eq!(found.limits, [8_192, 8_192, 126_976, 0]);
        assert!((found.share - 0.5).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn higher_limits_stay_below_what_the_slowest_device_can_do() {
        let slow = Ios {
            verify: 50_000,
            ..IN_BH
        };
        let made = made().beside(slow);
        assert_eq!(higher(&made.case()), None);
        let touched = touched(&made.case(), [8_192, 8_192, 126_976, 0]);
        assert_eq!(touched.len(), 1);
        assert!(touched[0].contains("other (253:1)"), "{touched:?}");
    }

    #[test]
    fn lower_limits_make_pieces_short() {
        let mut made = Made::on("7.3.4", Era::Inline).option().ios(Ios {
            bytes: 1 << 20,
            verify: 2_560_000,
            ..IN_BH
        });
        made.0.use_bh_bytes = Some(vec![8_192, 8_192, 1 << 21, 0]);
        // 10 us a block: 20 blocks.
        let found = lower(&made.case());
        assert_eq!(found, Some([8_192, 8_192, 81_920, 0]));
        made.0.use_bh_bytes = Some(vec![8_192; 4]);
        assert_eq!(lower(&made.case()), None);
    }

    #[test]
    fn there_are_none_without_the_parameter() {
        let mut made = made();
        made.0.use_bh_bytes = None;
        assert_eq!(higher(&made.case()), None);
        assert!(lower(&made.case()).is_none());
    }
}
