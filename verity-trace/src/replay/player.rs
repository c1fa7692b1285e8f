//! Which snapshot is to be seen: time that passes, at some speed, until somebody stops it or jumps.

use std::time::Duration;

use crate::lookback::Window;

/// What somebody may ask of a player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Stop, or go on; at the end, begin anew.
    PlayOrPause,
    /// Twice as fast.
    Faster,
    /// Half as fast.
    Slower,
    /// To the next snapshot, and stop.
    StepForward,
    /// To the one before, and stop.
    StepBack,
    /// Ahead in time.
    Forward,
    /// Back in time.
    Back,
    /// A tenth of the whole ahead.
    FarForward,
    /// A tenth of the whole back.
    FarBack,
    /// To the first snapshot.
    Start,
    /// To the last.
    End,
    /// Show what happened in a shorter time before each moment.
    ShorterWindow,
    /// Show what happened in a longer time.
    LongerWindow,
}

/// How far a jump goes.
const JUMP: Duration = Duration::from_secs(10);
/// The slowest and the fastest speed, as powers of two.
const SPEEDS: std::ops::RangeInclusive<i32> = -3..=8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Player {
    /// When each snapshot was made, since the first; there is one.
    times: Vec<Duration>,
    /// Whether these are all there are.
    is_whole: bool,
    /// What the clock on the wall said at the first, since the Unix epoch.
    began: Duration,
    now: Duration,
    plays: bool,
    /// As a power of two.
    speed: i32,
    window: Window,
}

/// How a player stands, for showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Playback {
    /// How far it has come.
    pub now: Duration,
    /// How long all of it is, as far as that is known.
    pub length: Duration,
    /// Whether that is all.
    pub is_whole: bool,
    /// What the clock on the wall said then, since the Unix epoch.
    pub at: Duration,
    /// Whether it plays.
    pub plays: bool,
    /// How fast, as a power of two.
    pub speed: i32,
    /// How much before each moment is shown.
    pub window: Window,
}

impl Control {
    /// Whether it depends on how long all of a recording is.
    #[must_use]
    pub const fn needs_all(self) -> bool {
        matches!(
            self,
            Self::Forward | Self::FarForward | Self::FarBack | Self::End
        )
    }
}

impl Player {
    /// A player that plays from the start of a recording that has snapshots at these times.
    #[must_use]
    pub fn new(times: Vec<Duration>, began: Duration, window: Window) -> Self {
        Self {
            times,
            is_whole: true,
            began,
            now: Duration::ZERO,
            plays: true,
            speed: 0,
            window,
        }
    }

    /// Takes in at which times there are snapshots, and whether more are still to be found.
    pub fn know(&mut self, times: Vec<Duration>, is_whole: bool) {
        self.times = times;
        self.is_whole = is_whole;
    }

    /// Does what somebody asks.
    pub fn control(&mut self, control: Control) {
        match control {
            Control::PlayOrPause => {
                if self.now >= self.length() {
                    self.now = Duration::ZERO;
                    self.plays = true;
                } else {
                    self.plays = !self.plays;
                }
            }
            Control::Faster => self.speed = (self.speed + 1).min(*SPEEDS.end()),
            Control::Slower => self.speed = (self.speed - 1).max(*SPEEDS.start()),
            Control::StepForward => self.step(self.frame() + 1),
            Control::StepBack => self.step(self.frame().saturating_sub(1)),
            Control::Forward => self.now = self.length().min(self.now + JUMP),
            Control::Back => self.now = self.now.saturating_sub(JUMP),
            Control::FarForward => self.now = self.length().min(self.now + self.length() / 10),
            Control::FarBack => self.now = self.now.saturating_sub(self.length() / 10),
            Control::Start => self.now = Duration::ZERO,
            Control::End => self.now = self.length(),
            Control::ShorterWindow => self.window = self.window.shorter(),
            Control::LongerWindow => self.window = self.window.longer(),
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        if self.plays {
            let time = time.mul_f64(2f64.powi(self.speed));
            self.now = self.length().min(self.now + time);
            self.plays = self.now < self.length() || !self.is_whole;
        }
    }

    /// The number of the snapshot to show, and of the one that the window begins with; absent when it is of
    /// all.
    #[must_use]
    pub fn frames(&self) -> (usize, Option<usize>) {
        let frame = self.frame();
        let Some(window) = self.window.length() else {
            return (frame, None);
        };
        // The nearest, since snapshots are not made to the millisecond.
        let start = self.times[frame].saturating_sub(window);
        let after = self.times.partition_point(|&time| time < start);
        let before = after.saturating_sub(1);
        let distance = |at: usize| self.times[at].abs_diff(start);
        let first = if distance(before) < distance(after) {
            before
        } else {
            after
        };
        (frame, Some(first.min(frame.saturating_sub(1))))
    }

    /// How it stands.
    #[must_use]
    pub fn playback(&self) -> Playback {
        Playback {
            now: self.now,
            length: self.length(),
            is_whole: self.is_whole,
            at: self.began + self.now,
            plays: self.plays,
            speed: self.speed,
            window: self.window,
        }
    }

    /// The last snapshot that had been made by now.
    fn frame(&self) -> usize {
        let made = self.times.partition_point(|&time| time <= self.now);
        made.saturating_sub(1)
    }

    fn step(&mut self, frame: usize) {
        self.plays = false;
        self.now = self.times.get(frame).copied().unwrap_or(self.now);
    }

    fn length(&self) -> Duration {
        self.times.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One snapshot a second, each some milliseconds late.
    fn player(seconds: u64) -> Player {
        let times = (0..=seconds).map(|second| Duration::from_millis(second * 1_003));
        let began = Duration::from_secs(1_795_000_000);
        Player::new(times.collect(), began, Window::default())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_plays_to_the_end_and_begins_anew() {
        let mut player = player(30);
        assert_eq!(player.frames(), (0, Some(0)));
        player.pass(seconds(5));
        assert_eq!(player.frames(), (4, Some(3)));
        player.control(Control::PlayOrPause);
        player.pass(seconds(5));
        assert_eq!(player.frames(), (4, Some(3)));
        player.control(Control::PlayOrPause);
        player.pass(seconds(100));
        assert_eq!(player.frames(), (30, Some(29)));
        assert!(!player.playback().plays);
        player.control(Control::PlayOrPause);
        assert_eq!(player.frames(), (0, Some(0)));
        assert!(player.playback().plays);
    }

    #[test]
    fn it_waits_for_what_is_still_to_be_found() {
        let mut player = player(3);
        let times = player.times.clone();
        player.know(times[..2].to_vec(), false);
        player.pass(seconds(2));
        assert_eq!(player.frames(), (1, Some(0)));
        assert!(player.playback().plays && !player.playback().is_whole);
        player.know(times, true);
        player.pass(Duration::from_millis(1_003));
        assert_eq!(player.frames(), (2, Some(1)));
        player.pass(seconds(9));
        assert!(!player.playback().plays);
    }

    #[test]
    fn it_is_faster_and_slower_within_limits() {
        let mut player = player(1_000);
        player.control(Control::Faster);
        player.pass(seconds(5));
        assert_eq!(player.playback().now, seconds(10));
        for _ in 0..20 {
            player.control(Control::Slower);
        }
        player.pass(seconds(8));
        assert_eq!(player.playback().now, seconds(11));
        for _ in 0..20 {
            player.control(Control::Faster);
        }
        assert_eq!(player.playback().speed, 8);
    }

    #[test]
    fn it_jumps_and_steps() {
        let mut player = player(100);
        for _ in 0..5 {
            player.control(Control::FarForward);
        }
        assert_eq!(player.frames(), (50, Some(49)));
        player.control(Control::Forward);
        assert_eq!(player.frames(), (59, Some(58)));
        player.control(Control::Back);
        player.control(Control::Back);
        assert_eq!(player.frames(), (40, Some(39)));
        assert!(player.playback().plays);
        player.control(Control::StepBack);
        assert_eq!(player.frames(), (39, Some(38)));
        assert!(!player.playback().plays);
        player.control(Control::StepForward);
        assert_eq!(player.frames(), (40, Some(39)));
        player.control(Control::FarBack);
        assert_eq!(player.frames(), (30, Some(29)));
        player.control(Control::Start);
        player.control(Control::Back);
        player.control(Control::StepBack);
        assert_eq!(player.frames(), (0, Some(0)));
        player.control(Control::End);
        player.control(Control::StepForward);
        assert_eq!(player.frames(), (100, Some(99)));
    }

    #[test]
    fn windows_begin_with_the_snapshot_that_is_as_old() {
        let mut player = player(700);
        player.control(Control::End);
        let windows = Window::ALL.map(|window| {
            assert_eq!(player.playback().window, window);
            let earlier = player.frames().1;
            player.control(Control::LongerWindow);
            earlier
        });
        assert_eq!(windows, [Some(699), Some(690), Some(640), Some(102), None]);
        assert_eq!(player.playback().window, Window::All);
        player.control(Control::ShorterWindow);
        assert_eq!(player.playback().window, Window::TenMinutes);
    }

    #[test]
    fn a_recording_of_one_snapshot_stands_still() {
        let mut player = player(0);
        player.pass(seconds(1));
        player.control(Control::StepForward);
        assert_eq!(player.frames(), (0, Some(0)));
        assert_eq!(player.playback().length, Duration::ZERO);
    }
}
