//! Which snapshots come before the one that is shown, so that pictures of time show what was before it wherever a
//! recording is entered.

use std::ops::Range;

/// So many intervals pictures of time show at most.
const INTERVALS: usize = 240;
/// Devices that all of these snapshots have together: of more, fewer are read, since each takes its time.
const DEVICES: usize = 16_384;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The first snapshot that pictures of time go back to, and the one that is shown; absent before there is one.
    known: Option<(usize, usize)>,
}

/// What pictures of time need before they can show a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whether they begin anew with it.
    pub is_anew: bool,
    /// The numbers of the snapshots.
    pub frames: Range<usize>,
}

impl Past {
    /// What is missing for the snapshot of this number of so many devices, which is the one that is shown from now
    /// on.
    pub fn go_to(&mut self, frame: usize, devices: usize) -> Missing {
        let most = INTERVALS.min(DEVICES / devices.max(1)).max(1);
        let before = frame.min(most);
        let (is_anew, frames) = match self.known {
            // What goes on has what was, and what was left out between.
            Some((_, last)) if (last..=last + most).contains(&frame) => {
                (false, frame.min(last + 1)..frame)
            }
            // Going back there is less and less; half of it is enough, so that a step takes no time.
            Some((first, last))
                if (first..last).contains(&frame) && (frame - first) * 2 >= before =>
            {
                (false, frame..frame)
            }
            _ => (true, frame - before..frame),
        };
        let first = match self.known {
            Some((first, _)) if !is_anew => first,
            _ => frames.start,
        };
        self.known = Some((first.max(frame.saturating_sub(most)), frame));
        Missing { is_anew, frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(past: &mut Past, frame: usize, is_anew: bool, frames: Range<usize>) {
        let expected = Missing { is_anew, frames };
        assert_eq!(past.go_to(frame, 1), expected);
    }

    #[test]
    fn what_goes_on_needs_what_was_left_out() {
        let mut past = Past::default();
        check(&mut past, 0, true, 0..0);
        check(&mut past, 0, false, 0..0);
        check(&mut past, 1, false, 1..1);
        check(&mut past, 26, false, 2..26);
    }

    #[test]
    fn a_jump_begins_anew_with_all_that_can_be_shown() {
        let mut past = Past::default();
        check(&mut past, 3, true, 0..3);
        check(&mut past, 1_000, true, 760..1_000);
        check(&mut past, 990, false, 990..990);
        check(&mut past, 100, true, 0..100);
    }

    #[test]
    fn steps_back_read_little_as_long_as_there_is_much_to_show() {
        let mut past = Past::default();
        past.go_to(1_000, 1);
        for frame in (880..1_000).rev() {
            check(&mut past, frame, false, frame..frame);
        }
        check(&mut past, 879, true, 639..879);
    }

    #[test]
    fn of_many_devices_fewer_are_read() {
        let mut past = Past::default();
        let frames = past.go_to(1_000, 500).frames;
        assert_eq!(frames, 968..1_000);
        assert_eq!(Past::default().go_to(1_000, 1_000_000).frames, 999..1_000);
    }
}
