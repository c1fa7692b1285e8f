//! The live view on a screen in memory.

mod common;
#[path = "tui/ios.rs"]
mod ios;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::text::Span;
use verity_trace::format::{Bytes, Times};
use verity_trace::lookback::Window;
use verity_trace::replay::{Control, Playback};
use verity_trace::snapshot::{Cpu, DeviceNumber, Loss, Other, Snapshot, Totals, Tracing};
use verity_trace::tui::{
    Action, App, BINDINGS, Column, Columns, Effect, Glyphs, Key, Keys, LIVE, Message, Mouse,
    REPLAY, Recording, Settings, Styles, Theme, draw,
};
use verity_trace::{escape, format};

#[test]
fn screens() {
    let cases: [(u16, u16, &str); 18] = [
        (80, 24, "kverityd_only_option_off"),
        (80, 24, "inert_option_on"),
        (80, 24, "bh_always_with_fallbacks"),
        (80, 24, "inline_and_bh_with_large_on_kverityd"),
        (80, 24, "nothing_happened_yet"),
        (80, 24, "hung_before_it_was_watched"),
        (80, 24, "waiting_for_module"),
        (80, 24, "waiting_for_device"),
        (80, 24, "none_of_the_devices_is_wanted"),
        (80, 24, "attaching_failed"),
        (80, 24, "workqueues_alone"),
        (80, 24, "losses_of_every_kind"),
        (80, 24, "failed_ios"),
        (80, 24, "seventy_devices"),
        (120, 40, "bh_always_with_fallbacks"),
        (120, 40, "inline_and_bh_with_large_on_kverityd"),
        (120, 40, "hostile_names"),
        (200, 60, "seventy_devices"),
    ];
    for (columns, rows, name) in cases {
        let screen = screen(&app(snapshot(name), columns, rows), columns, rows);
        insta::assert_snapshot!(format!("{columns}x{rows}_{name}"), screen);
    }
}

/// Every view of what has most in it, on terminals of every size.
#[test]
fn views() {
    let scenarios = [
        ("inline_and_bh_with_large_on_kverityd", 1),
        ("bh_always_with_fallbacks", 1),
        ("who_submits", 1),
        ("workqueues_alone", 1),
        ("softirqs_and_workqueues", 3),
    ];
    for (name, tabs) in scenarios {
        for (columns, rows) in [(80, 24), (120, 40), (200, 60)] {
            let mut app = watched(name, 30, columns, rows);
            for _ in 0..tabs {
                app.update(Message::Key(Key::Tab));
            }
            let view = if tabs == 1 { "device" } else { "cpus" };
            insta::assert_snapshot!(
                format!("{columns}x{rows}_{view}_{name}"),
                screen(&app, columns, rows)
            );
        }
    }
}

#[test]
fn advice_on_screens_of_every_size() {
    let sizes = [(80, 24), (120, 40), (200, 60), (40, 12), (1, 1)];
    for (columns, rows) in sizes {
        let mut app = watched("kverityd_only_option_off", 30, columns, rows);
        for _ in 0..2 {
            app.update(Message::Key(Key::Tab));
        }
        insta::assert_snapshot!(
            format!("{columns}x{rows}_advice"),
            screen(&app, columns, rows)
        );
    }
}

/// What is copied is to be typed: it is whole.
#[test]
fn commands_are_copied_whole() {
    let mut app = watched("kverityd_only_option_off", 30, 80, 24);
    for _ in 0..2 {
        app.update(Message::Key(Key::Tab));
    }
    app.update(Message::Key(Key::Char('y')));
    let text = app.copied().expect("a view").text;
    let command = text.lines().find(|line| line.contains("dmsetup reload"));
    let command = command.expect("a command");
    assert!(command.ends_with("&& dmsetup resume root"), "{command}");
}

#[test]
fn views_are_gone_through_in_both_directions() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    let devices = screen(&app, 80, 24);
    for view in [
        "[device]",
        "[advice]",
        "[CPUs]",
        "[I/Os]",
        "[events]",
        "[devices]",
    ] {
        app.update(Message::Key(Key::Tab));
        assert!(screen(&app, 80, 24).contains(view), "{view}");
    }
    assert_eq!(screen(&app, 80, 24), devices);
    app.update(Message::Key(Key::BackTab));
    assert!(screen(&app, 80, 24).contains("[events]"));
    app.update(Message::Key(Key::Esc));
    assert_eq!(screen(&app, 80, 24), devices);
}

/// More devices than fit, each with a row of its own.
fn seventy_devices() -> App {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    app.update(Message::Key(Key::Char('f')));
    app
}

#[test]
fn the_chosen_device_is_opened_and_stays_chosen_however_devices_are_sorted() {
    let mut app = seventy_devices();
    for _ in 0..3 {
        app.update(Message::Key(Key::Down));
    }
    app.update(Message::Key(Key::Enter));
    assert!(screen(&app, 80, 24).contains("device image-3 "));
    app.update(Message::Key(Key::Esc));
    for sort in ["I/O/s", "wait p99", "total p99", "fallbacks", "failed"] {
        app.update(Message::Key(Key::Char('s')));
        let devices = screen(&app, 80, 24);
        assert!(devices.contains(&format!("by {sort}")), "{devices}");
        assert!(devices.contains("image-3 "), "{devices}");
    }
    app.update(Message::Key(Key::Enter));
    assert!(screen(&app, 80, 24).contains("device image-3 "));
}

/// A scenario's devices under other names.
fn named(name: &str, names: &[&str]) -> Snapshot {
    let mut snapshot = snapshot(name);
    let device = snapshot.devices.swap_remove(0);
    let devices = (0..).zip(names).map(|(minor, &name)| {
        let mut device = device.clone();
        device.number.minor = minor;
        name.clone_into(&mut device.name);
        device
    });
    snapshot.devices = devices.collect();
    snapshot
}

#[test]
fn groups_are_folded_where_there_is_no_room_for_all_devices() {
    let names = [
        "layer-1", "layer-2", "root", "layer-3", "app.1", "app.2", "loop",
    ];
    let few = named("bh_always_with_fallbacks", &names[..5]);
    let mut app = app(few, 120, 24);
    assert!(screen(&app, 120, 24).contains("layer-1 "));
    app.update(Message::Resize {
        columns: 120,
        rows: 10,
    });
    let low = screen(&app, 120, 10);
    for row in ["layer-* (3) ", "root ", "app.1 "] {
        assert!(low.contains(row), "{row}: {low}");
    }
    let many = named("bh_always_with_fallbacks", &names);
    app.update(Message::Snapshot(Arc::new(many)));
    let folded = screen(&app, 120, 10);
    assert!(folded.contains("app.* (2) "), "{folded}");
    app.update(Message::Resize {
        columns: 120,
        rows: 40,
    });
    let unfolded = screen(&app, 120, 40);
    assert!(unfolded.contains("app.2 "), "{unfolded}");
}

#[test]
fn behind_the_help_devices_come_and_go() {
    let mut app = app(named("failed_ios", &["b", "c"]), 120, 40);
    app.update(Message::Key(Key::Char('?')));
    let more = named("failed_ios", &["a", "b", "c", "d"]);
    app.update(Message::Snapshot(Arc::new(more)));
    app.update(Message::Key(Key::Esc));
    let devices = screen(&app, 120, 40);
    for name in ["\na ", "\nb ", "\nc ", "\nd "] {
        assert!(devices.contains(name), "{devices}");
    }
}

#[test]
fn a_group_is_folded_and_unfolded_with_a_key_and_stays_so() {
    let names = ["layer-1", "layer-2", "root", "layer-3"];
    let mut app = app(named("bh_always_with_fallbacks", &names), 120, 40);
    let press = |app: &mut App, key| {
        let effect = app.update(Message::Key(key));
        (effect, screen(app, 120, 40))
    };
    let unfolded = screen(&app, 120, 40);
    assert!(unfolded.contains("f fold"), "{unfolded}");
    let (_, folded) = press(&mut app, Key::Char('f'));
    insta::assert_snapshot!("120x40_folded", folded);
    // It is one row, of which the next one is root, and that has no group.
    press(&mut app, Key::Down);
    let (effect, root) = press(&mut app, Key::Char('f'));
    assert_eq!(effect, Effect::None);
    assert!(!root.contains("f fold"), "{root}");
    press(&mut app, Key::Up);
    app.update(Message::Snapshot(Arc::new(named(
        "bh_always_with_fallbacks",
        &["layer-1", "layer-2", "root", "layer-3", "layer-4"],
    ))));
    assert!(screen(&app, 120, 40).contains("layer-* (4) "));
    let (_, opened) = press(&mut app, Key::Enter);
    assert!(opened.contains("[devices]") && opened.contains("layer-4 "));
    let (_, device) = press(&mut app, Key::Enter);
    assert!(device.contains("device layer-1 "), "{device}");
    let (effect, _) = press(&mut app, Key::Char('f'));
    assert_eq!(effect, Effect::None);
}

#[test]
fn a_folded_group_is_the_sum_of_its_devices() {
    let names = ["layer-1", "layer-2"];
    let mut two = named("failed_ios", &names);
    let failed = two.devices[0].totals.as_ref().map(Totals::failed);
    let options = &mut two.devices[1].table.options;
    options.try_verify_in_tasklet = !options.try_verify_in_tasklet;
    let mut app = app(two, 160, 40);
    app.update(Message::Key(Key::Char('f')));
    let folded = screen(&app, 160, 40);
    let row = folded.lines().find(|line| line.contains("layer-* (2)"));
    let cells: Vec<_> = row.expect("a row").split_whitespace().collect();
    assert_eq!(cells[2], "mixed", "{folded}");
    let failed = (2 * failed.expect("totals")).to_string();
    assert!(cells.contains(&&*failed), "{failed}: {folded}");
}

#[test]
fn devices_that_a_named_pattern_fits_are_a_group() {
    let mut settings = Settings::new(Theme::Plain, Glyphs::BLOCKS);
    settings
        .read("groups = [\"*-a\"]")
        .expect("a configuration");
    let mut app = App::configured(&settings);
    app.update(Message::Resize {
        columns: 120,
        rows: 40,
    });
    let names = ["x-a", "y-a", "x-b"];
    app.update(Message::Snapshot(Arc::new(named("failed_ios", &names))));
    app.update(Message::Key(Key::Char('f')));
    let folded = screen(&app, 120, 40);
    assert!(
        folded.contains("*-a (2) ") && folded.contains("x-b "),
        "{folded}"
    );
}

#[test]
fn what_changes_is_an_event() {
    let mut app = app(snapshot("failed_ios"), 100, 24);
    for _ in 0..5 {
        app.update(Message::Key(Key::Tab));
    }
    let nothing = screen(&app, 100, 24);
    assert!(
        nothing.contains("between the snapshots that were shown nothing changed"),
        "{nothing}"
    );
    let mut at = snapshot("failed_ios");
    let mut pass = |change: &dyn Fn(&mut Snapshot)| {
        at.taken_at += Duration::from_secs(1);
        change(&mut at);
        app.update(Message::Snapshot(Arc::new(at.clone())));
    };
    pass(&|at| {
        let options = &mut at.devices[0].table.options;
        options.try_verify_in_tasklet = !options.try_verify_in_tasklet;
    });
    pass(&|at| {
        let totals = at.devices[0].totals.as_mut().expect("totals");
        let these = totals.placements.values_mut().next().expect("I/Os");
        these.failed += 3;
    });
    pass(&|at| {
        at.loss.insert(Loss::RingFull, 12);
    });
    pass(&|at| at.devices[0].name = "\u{1b}[2Janother".to_owned());
    pass(&|at| at.devices.clear());
    pass(&|at| at.tracing = Tracing::WaitingForDevice);
    insta::assert_snapshot!("100x24_events", screen(&app, 100, 24));
}

/// Writes something after `/`, and ends with a key.
fn filter(app: &mut App, text: &str, end: Key) -> String {
    app.update(Message::Key(Key::Char('/')));
    for _ in 0..80 {
        app.update(Message::Key(Key::Backspace));
    }
    for character in text.chars() {
        app.update(Message::Key(Key::Char(character)));
    }
    app.update(Message::Key(end));
    screen(app, 80, 24)
}

#[test]
fn a_filter_shows_devices_alone_of_which_all_words_hold() {
    let mut app = seventy_devices();
    let shown = filter(&mut app, "image-6?", Key::Enter);
    assert!(
        shown.contains("of 10") && shown.contains("filter image-6?"),
        "{shown}"
    );
    let one = filter(&mut app, "-63 placement:bh p99>1us", Key::Enter);
    assert!(
        one.contains("image-63 ") && !one.contains("image-6 "),
        "{one}"
    );
    let none = filter(&mut app, "placement:fallback", Key::Enter);
    assert!(none.contains("no device is as the filter asks"), "{none}");
    let wrong = filter(&mut app, "p99>soon", Key::Enter);
    assert!(wrong.contains("\"soon\" is no duration"), "{wrong}");
    app.update(Message::Key(Key::Esc));
    let kept = screen(&app, 80, 24);
    assert!(kept.contains("filter placement:fallback"), "{kept}");
    let all = filter(&mut app, "", Key::Enter);
    assert!(
        all.contains("of 70") && !all.contains("filter image"),
        "{all}"
    );
    assert_eq!(filter(&mut app, "image-6?", Key::Esc), all);
}

#[test]
fn while_a_filter_is_written_keys_are_letters_and_ctrl_c_ends() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    let writing = filter(&mut app, "q?s/", Key::Left);
    assert!(writing.contains("/q?s/_"), "{writing}");
    assert_eq!(app.update(Message::Key(Key::Ctrl('c'))), Effect::Quit);
}

#[test]
fn of_a_long_filter_the_end_is_in_sight_where_one_goes_on() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    let text = format!("{}placement:bh", "image-* ".repeat(12));
    let long = filter(&mut app, &text, Key::Left);
    let footer = long.lines().last().expect("a footer");
    assert!(
        footer.starts_with('~') && footer.ends_with(" placement:bh_"),
        "{footer}"
    );
    assert_eq!(footer.chars().count(), 80);
    // What is wrong with it hides nothing of it.
    let wrong = filter(&mut app, &text.replace("bh", "tea"), Key::Enter);
    assert!(
        wrong.contains("\"tea\" is no placement: kverityd"),
        "{wrong}"
    );
    assert!(wrong.ends_with(" placement:tea_"), "{wrong}");
    app.update(Message::Key(Key::Backspace));
    assert!(!screen(&app, 80, 24).contains("is no placement"));
    for (columns, rows) in [(40, 12), (1, 1), (3, 60)] {
        screen(&app, columns, rows);
    }
}

#[test]
fn an_opened_device_stays_open_whatever_the_filter_takes_and_is_said_to_be_gone() {
    let mut app = app(snapshot("failed_ios"), 80, 24);
    filter(&mut app, "placement:bh", Key::Enter);
    app.update(Message::Key(Key::Enter));
    let opened = screen(&app, 80, 24);
    assert!(opened.contains("device root "), "{opened}");
    let mut idle = snapshot("failed_ios");
    idle.taken_at += Duration::from_secs(1);
    for device in &mut idle.devices {
        device.recent = None;
    }
    app.update(Message::Snapshot(Arc::new(idle.clone())));
    assert!(screen(&app, 80, 24).contains("device root "));
    idle.taken_at += Duration::from_secs(1);
    idle.devices.retain(|device| device.name != "root");
    app.update(Message::Snapshot(Arc::new(idle)));
    let gone = screen(&app, 80, 24);
    assert!(gone.contains("the device is gone; Esc shows"), "{gone}");
}

/// The rows of the heat map.
fn heat(app: &App) -> Vec<String> {
    let screen = screen(app, 120, 60);
    let rows = screen
        .lines()
        .skip_while(|line| !line.contains("total over time"));
    let rows = rows.skip(1).take_while(|line| !line.is_empty());
    rows.map(ToOwned::to_owned).collect()
}

#[test]
fn going_back_takes_away_what_has_not_been_yet() {
    let snapshots = passing("bh_always_with_fallbacks", 20);
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    app.update(Message::Resize {
        columns: 120,
        rows: 60,
    });
    app.update(Message::Key(Key::Tab));
    let mut seen = Vec::new();
    for snapshot in &snapshots {
        app.update(Message::Snapshot(Arc::clone(snapshot)));
        seen.push(heat(&app));
    }
    assert!(
        seen[19]
            .iter()
            .any(|row| row.trim_end().len() > seen[9][0].len())
    );
    app.update(Message::Snapshot(Arc::clone(&snapshots[9])));
    assert_eq!(heat(&app), seen[9]);
    app.update(Message::Snapshot(Arc::clone(&snapshots[10])));
    assert_eq!(heat(&app), seen[10]);
}

#[test]
fn a_jump_of_a_replay_shows_what_is_before_the_new_place_and_not_what_was_before_it() {
    let frame = |snapshot: &Arc<Snapshot>| Message::Frame(Arc::clone(snapshot), playback(true));
    let snapshots = passing("bh_always_with_fallbacks", 60);
    let started = || {
        let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
        app.update(Message::Resize {
            columns: 120,
            rows: 60,
        });
        app.update(Message::Key(Key::Tab));
        app
    };
    let mut played = started();
    for snapshot in &snapshots[40..] {
        played.update(frame(snapshot));
    }
    let mut jumped = started();
    for snapshot in &snapshots[..9] {
        jumped.update(frame(snapshot));
    }
    assert_eq!(jumped.update(Message::Jump), Effect::None);
    for snapshot in &snapshots[40..59] {
        let earlier = Message::Earlier(Arc::clone(snapshot));
        assert_eq!(jumped.update(earlier), Effect::None);
    }
    jumped.update(frame(&snapshots[59]));
    assert!(
        heat(&jumped)[0].trim_end().len() > 20,
        "{:?}",
        heat(&jumped)
    );
    assert_eq!(heat(&jumped), heat(&played));
}

#[test]
fn a_device_with_the_number_of_another_has_none_of_its_past() {
    let mut app = watched("failed_ios", 9, 120, 60);
    app.update(Message::Key(Key::Tab));
    assert!(!heat(&app).is_empty());
    let mut other = snapshot("failed_ios");
    other.taken_at += Duration::from_secs(10);
    other.devices[0].disk_sequence = Some(77);
    app.update(Message::Snapshot(Arc::new(other)));
    assert!(screen(&app, 120, 60).contains("no interval was seen yet"));
}

#[test]
fn what_failed_on_devices_that_are_gone_is_said() {
    let mut at = snapshot("failed_ios");
    let gone = at.devices[0].totals.clone().expect("totals");
    at.other = Some(Other {
        totals: gone,
        ..Other::default()
    });
    at.devices.clear();
    let app = app(at, 120, 24);
    let screen = screen(&app, 120, 24);
    assert!(
        screen.contains("of them on other devices, without a slot"),
        "{screen}"
    );
}

#[test]
fn on_a_low_screen_the_devices_are_still_there() {
    for (columns, rows) in [(80, 10), (60, 12), (40, 15)] {
        let app = app(snapshot("bh_always_with_fallbacks"), columns, rows);
        let screen = screen(&app, columns, rows);
        for shown in ["loss 0", "hangs: the oldest", "[devices]", "\nroot "] {
            assert!(screen.contains(shown), "{shown}: {screen}");
        }
    }
}

#[test]
fn the_chosen_device_is_below_the_others_where_there_is_room() {
    let app = app(snapshot("bh_always_with_fallbacks"), 120, 40);
    let high = screen(&app, 120, 40);
    let text = "device root (253:0)";
    assert!(high.contains("[devices]") && high.contains(text), "{high}");
    let low = screen(&app, 120, 14);
    assert!(!low.contains(text), "{low}");
}

/// On the smallest of usual terminals too the first screen says why, and where the time goes.
#[test]
fn of_the_chosen_device_what_matters_comes_first() {
    let app = app(snapshot("bh_always_with_fallbacks"), 80, 24);
    let screen = screen(&app, 80, 24);
    let shown = [
        "\nhangs: the oldest I/O of root is 31.4 s old, in verify, likely for hashes on vdb\n",
        "device root (253:0)   option on, effective",
        "fallback: cache-miss (inferred) 12",
        "placement share     wait p50     p99  verify p50     p99",
    ];
    let mut rest = screen.as_str();
    for text in shown {
        let at = rest
            .find(text)
            .unwrap_or_else(|| panic!("{text}: {screen}"));
        rest = &rest[at + text.len() - 1..];
    }
}

#[test]
fn on_a_narrow_screen_columns_are_left_out_and_not_cut() {
    let app = app(snapshot("bh_always_with_fallbacks"), 40, 24);
    let screen = screen(&app, 40, 24);
    for head in ["I/O/s MiB/s\n", "total p50     p99\n"] {
        assert!(screen.contains(head), "{head}: {screen}");
    }
    assert!(!screen.contains("verify p"), "{screen}");
}

#[test]
fn a_paused_picture_stands_still_and_goes_on_with_the_last_snapshot() {
    let mut app = watched("bh_always_with_fallbacks", 3, 80, 24);
    app.update(Message::Key(Key::Char(' ')));
    let paused = screen(&app, 80, 24);
    assert!(paused.contains("paused"), "{paused}");
    let mut later = snapshot("bh_always_with_fallbacks");
    later.watched += Duration::from_secs(77);
    later.taken_at += Duration::from_secs(77);
    let later = Arc::new(later);
    assert_eq!(
        app.update(Message::Snapshot(Arc::clone(&later))),
        Effect::None
    );
    assert_eq!(screen(&app, 80, 24), paused);
    app.update(Message::Key(Key::Char(' ')));
    let on = screen(&app, 80, 24);
    let watched = format!("watched {}", format::span(later.watched));
    assert!(on.contains(&watched) && !on.contains("paused"), "{on}");
}

#[test]
fn a_terminal_without_block_elements_gets_characters_of_ascii() {
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::ASCII));
    app.update(Message::Resize {
        columns: 120,
        rows: 60,
    });
    for snapshot in passing("inline_and_bh_with_large_on_kverityd", 30) {
        app.update(Message::Snapshot(snapshot));
    }
    app.update(Message::Key(Key::Tab));
    let device = screen(&app, 120, 60);
    assert!(device.is_ascii(), "{device}");
    assert!(device.contains('#'), "{device}");
}

/// A scenario that goes on: a snapshot each second, each with what is recent in the scenario more than the one
/// before, and each CPU with what it did in a second on average.
fn passing(name: &str, seconds: u64) -> Vec<Arc<Snapshot>> {
    let mut now = snapshot(name);
    let averages: Vec<_> = now
        .cpus
        .iter()
        .map(|cpu| average(cpu, now.watched))
        .collect();
    let mut all = Vec::new();
    for _ in 0..seconds {
        all.push(Arc::new(now.clone()));
        now.taken_at += Duration::from_secs(1);
        now.watched += Duration::from_secs(1);
        for device in &mut now.devices {
            if let (Some(totals), Some(recent)) = (&mut device.totals, &device.recent) {
                add(totals, recent);
            }
        }
        for (cpu, average) in now.cpus.iter_mut().zip(&averages) {
            cpu.softirq += average.softirq;
            cpu.block_softirq += average.block_softirq;
            cpu.tasklet_softirq += average.tasklet_softirq;
            if let Some(verify) = &mut cpu.softirq_verify {
                *verify += average.softirq_verify.unwrap_or_default();
            }
            cpu.kverityd_verifications += average.kverityd_verifications;
            cpu.bh_verifications += average.bh_verifications;
            if let Some(inline) = &mut cpu.inline_verifications {
                *inline += average.inline_verifications.unwrap_or_default();
            }
            if let (Some(queues), Some(average)) = (&mut cpu.queues, &average.queues) {
                for (vector, count) in &mut queues.ksoftirqd {
                    *count += average.ksoftirqd[vector];
                }
                queues.bh_limits += average.bh_limits;
            }
        }
    }
    all
}

/// What a CPU did in one second of so much time.
fn average(cpu: &Cpu, watched: Duration) -> Cpu {
    let seconds = watched.as_secs().max(1);
    let time = |time: Duration| time / u32::try_from(seconds).expect("a short time");
    let mut average = cpu.clone();
    average.softirq = time(cpu.softirq);
    average.block_softirq = time(cpu.block_softirq);
    average.tasklet_softirq = time(cpu.tasklet_softirq);
    average.softirq_verify = cpu.softirq_verify.map(time);
    average.kverityd_verifications /= seconds;
    average.bh_verifications /= seconds;
    average.inline_verifications = cpu.inline_verifications.map(|count| count / seconds);
    if let Some(queues) = &mut average.queues {
        queues
            .ksoftirqd
            .values_mut()
            .for_each(|count| *count /= seconds);
        queues.bh_limits /= seconds;
    }
    average
}

/// Adds what happened meanwhile.
fn add(totals: &mut Totals, recent: &Totals) {
    for (&placement, recent) in &recent.placements {
        let these = totals.placements.entry(placement).or_default();
        these.ios += recent.ios;
        these.bytes += recent.bytes;
        these.failed += recent.failed;
        add_each(&mut these.reasons, &recent.reasons);
        add_each(&mut these.completions, &recent.completions);
        add_each(&mut these.contexts, &recent.contexts);
        for (&stage, histogram) in &recent.stages {
            these.stages.entry(stage).or_default().merge(histogram);
        }
    }
    add_each(&mut totals.attempts, &recent.attempts);
    add_each(&mut totals.attempt_contexts, &recent.attempt_contexts);
    add_each(&mut totals.mix, &recent.mix);
}

fn add_each<K: Ord + Copy>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (&key, count) in more {
        *counts.entry(key).or_default() += count;
    }
}

fn watched(name: &str, seconds: u64, columns: u16, rows: u16) -> App {
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    app.update(Message::Resize { columns, rows });
    for snapshot in passing(name, seconds) {
        app.update(Message::Snapshot(snapshot));
    }
    app
}

#[test]
fn the_help_is_made_from_the_table_of_keys() {
    let mut app = app(snapshot("bh_always_with_fallbacks"), 80, 60);
    assert_eq!(app.update(Message::Key(Key::Char('?'))), Effect::Redraw);
    let help = screen(&app, 80, 60);
    for bound in Keys::default().of(false) {
        assert!(help.contains(&bound.label()), "{}", bound.label());
        assert!(help.contains(bound.binding.help), "{}", bound.binding.help);
    }
    app.update(Message::Resize {
        columns: 80,
        rows: 24,
    });
    app.update(Message::Key(Key::End));
    let end = screen(&app, 80, 24);
    assert!(end.contains("total: from the I/O's start"), "{end}");
    insta::assert_snapshot!("80x60_help", help);
}

#[test]
fn before_the_first_snapshot_there_is_a_name_and_the_keys() {
    let screen = screen(&App::new(Styles::new(Theme::Dark, Glyphs::BLOCKS)), 40, 4);
    assert!(screen.contains("verity-trace"));
    assert!(screen.contains("q quit"));
}

#[test]
fn no_scenario_panics_on_a_tiny_screen() {
    for (_, scenario) in common::scenarios() {
        for (columns, rows) in [(40, 12), (1, 1), (3, 60), (200, 2)] {
            let app = app(scenario.snapshot(), columns, rows);
            screen(&app, columns, rows);
        }
    }
}

#[test]
fn no_scenario_draws_a_hidden_character() {
    for (name, scenario) in common::scenarios() {
        let screen = screen(&app(scenario.snapshot(), 200, 60), 200, 60);
        let hidden = screen.replace('\n', "").contains(escape::is_hidden);
        assert!(!hidden, "{name}: {}", scenario.description);
    }
}

#[test]
fn every_key_does_what_the_table_says() {
    for binding in BINDINGS.iter().chain(&LIVE) {
        for &key in binding.keys {
            let mut app = watched("seventy_devices", 3, 80, 24);
            app.update(Message::Key(Key::Char('f')));
            for _ in 0..20 {
                app.update(Message::Key(Key::Char('j')));
            }
            app.update(Message::Key(Key::Char(']')));
            let drawn = |app: &App| terminal(app, 80, 24).backend().buffer().clone();
            let before = drawn(&app);
            let effect = app.update(Message::Key(key));
            let changed = drawn(&app) != before;
            match binding.action {
                Action::Quit => assert_eq!(effect, Effect::Quit),
                Action::Suspend => assert_eq!(effect, Effect::Suspend),
                Action::Back => assert_eq!((effect, changed), (Effect::None, false)),
                Action::LongerInterval => {
                    assert_eq!(
                        (effect, changed),
                        (Effect::Interval(Duration::from_secs(2)), true)
                    );
                }
                Action::ShorterInterval => {
                    let half = Duration::from_millis(500);
                    assert_eq!((effect, changed), (Effect::Interval(half), true));
                }
                Action::Export => assert_eq!((effect, changed), (Effect::Export, false)),
                Action::Record => assert_eq!((effect, changed), (Effect::Record, false)),
                Action::Copy => assert_eq!((effect, changed), (Effect::Copy, true)),
                _ => assert_eq!((effect, changed), (Effect::Redraw, true), "{key:?}"),
            }
            assert_eq!(Keys::default().action(key, false), Some(binding.action));
        }
    }
}

#[test]
fn every_key_of_a_replay_is_passed_on_and_is_none_when_it_is_live() {
    for binding in REPLAY {
        for &key in binding.keys {
            let mut app = app(snapshot("seventy_devices"), 80, 24);
            let effect = app.update(Message::Key(key));
            assert!(!matches!(effect, Effect::Control(_)), "{key:?}");
            app.update(frame(true));
            let Action::Control(control) = binding.action else {
                panic!("{binding:?} asks for something else");
            };
            assert_eq!(app.update(Message::Key(key)), Effect::Control(control));
        }
    }
}

#[test]
fn a_replay_says_where_it_is() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    app.update(frame(true));
    let playing = screen(&app, 80, 24);
    insta::assert_snapshot!("replay", playing);
    app.update(frame(false));
    assert!(screen(&app, 80, 24).contains("replay paused"));
    app.update(Message::Key(Key::Char('?')));
    let help = screen(&app, 80, 60);
    for binding in REPLAY {
        assert!(help.contains(binding.help), "{help}");
    }
    for (columns, rows) in [(40, 12), (1, 1), (3, 60), (200, 2)] {
        screen(&app, columns, rows);
    }
}

fn frame(plays: bool) -> Message {
    Message::Frame(Arc::new(snapshot("seventy_devices")), playback(plays))
}

fn playback(plays: bool) -> Playback {
    Playback {
        now: Duration::from_secs(72),
        length: Duration::from_secs(130),
        is_whole: true,
        at: Duration::from_secs(1_795_000_072),
        plays,
        speed: -2,
        window: Window::TenSeconds,
    }
}

#[test]
fn escape_closes_the_help() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    let before = screen(&app, 80, 24);
    app.update(Message::Key(Key::Char('?')));
    assert_eq!(app.update(Message::Key(Key::Esc)), Effect::Redraw);
    assert_eq!(screen(&app, 80, 24), before);
}

#[test]
fn scrolling_stops_at_the_last_device_and_turns_at_once() {
    let mut app = seventy_devices();
    for _ in 0..200 {
        app.update(Message::Key(Key::Down));
    }
    let end = screen(&app, 80, 24);
    assert!(end.contains("image-69 "), "{end}");
    assert!(end.contains("of 70"), "{end}");
    app.update(Message::Key(Key::Up));
    app.update(Message::Key(Key::Enter));
    assert!(screen(&app, 80, 24).contains("device image-68 "));
}

#[test]
fn a_device_that_is_counted_with_others_is_not_shown_as_idle() {
    let mut app = seventy_devices();
    app.update(Message::Key(Key::End));
    insta::assert_snapshot!("80x24_seventy_devices_end", screen(&app, 80, 24));
}

#[test]
fn fewer_devices_pull_the_table_back() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    app.update(Message::Key(Key::End));
    app.update(Message::Snapshot(Arc::new(snapshot("failed_ios"))));
    assert!(screen(&app, 80, 24).contains("root "));
}

#[test]
fn a_stop_request_ends_and_an_unbound_key_changes_nothing() {
    let mut app = app(snapshot("failed_ios"), 80, 24);
    assert_eq!(app.update(Message::Key(Key::Char('x'))), Effect::None);
    assert_eq!(app.update(Message::Stop), Effect::Quit);
}

#[test]
fn themes_change_colours_and_no_word() {
    let mut app = watched("bh_always_with_fallbacks", 9, 120, 40);
    app.update(Message::Key(Key::Tab));
    let plain = screen(&app, 120, 40);
    let mut colours = Vec::new();
    for _ in 0..4 {
        app.update(Message::Key(Key::Char('t')));
        assert_eq!(screen(&app, 120, 40), plain);
        let terminal = terminal(&app, 120, 40);
        let cells = terminal.backend().buffer().content().iter();
        let of_theme: BTreeSet<_> = cells.map(|cell| format!("{:?}", cell.fg)).collect();
        assert!(!colours.contains(&of_theme), "{of_theme:?}");
        colours.push(of_theme);
    }
}

#[test]
fn without_colours_nothing_is_coloured() {
    for (name, scenario) in common::scenarios() {
        let app = app(scenario.snapshot(), 120, 40);
        let terminal = terminal(&app, 120, 40);
        let plain = terminal.backend().buffer().content().iter().all(|cell| {
            use ratatui::style::Color::Reset;
            (cell.fg, cell.bg) == (Reset, Reset)
        });
        assert!(plain, "{name}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Key(Key),
    Mouse(Mouse),
    Size(u16, u16),
    Scenario(usize),
    Frame(usize, Window),
    Notice(String),
    Selected(bool),
    Recording(u64),
}

fn step(scenarios: usize) -> impl Strategy<Value = Step> {
    let keys: Vec<_> = BINDINGS
        .iter()
        .chain(&LIVE)
        .chain(&REPLAY)
        .filter(|binding| ![Action::Quit, Action::Suspend].contains(&binding.action))
        .flat_map(|binding| binding.keys.iter().copied())
        .collect();
    prop_oneof![
        prop::sample::select(keys).prop_map(Step::Key),
        any::<char>().prop_map(|character| Step::Key(Key::Char(character))),
        (0u16..200, 0u16..70).prop_map(|(columns, rows)| Step::Size(columns, rows)),
        (0..scenarios).prop_map(Step::Scenario),
        (0..scenarios).prop_map(Step::Scenario),
        (0..scenarios, prop::sample::select(&Window::ALL))
            .prop_map(|(at, window)| Step::Frame(at, window)),
        mouse().prop_map(Step::Mouse),
        any::<String>().prop_map(Step::Notice),
        any::<bool>().prop_map(Step::Selected),
        any::<u64>().prop_map(Step::Recording),
    ]
}

fn mouse() -> impl Strategy<Value = Mouse> {
    prop_oneof![
        Just(Mouse::Up),
        Just(Mouse::Down),
        (0u16..200, 0u16..70).prop_map(|(column, row)| Mouse::Click { column, row }),
    ]
}

#[test]
fn no_order_of_messages_panics() {
    let snapshots: Vec<_> = common::scenarios()
        .iter()
        .map(|(_, scenario)| Arc::new(scenario.snapshot()))
        .collect();
    proptest!(ProptestConfig::with_cases(64), |(
        steps in prop::collection::vec(step(snapshots.len()), 1..20),
    )| {
        let mut app = App::new(Styles::new(Theme::Dark, Glyphs::BLOCKS));
        let mut size = (80, 24);
        for step in steps {
            let message = match step {
                Step::Key(key) => Message::Key(key),
                Step::Scenario(at) => Message::Snapshot(Arc::clone(&snapshots[at])),
                Step::Frame(at, window) => {
                    let playback = Playback { window, ..playback(true) };
                    Message::Frame(Arc::clone(&snapshots[at]), playback)
                }
                Step::Mouse(mouse) => Message::Mouse(mouse),
                Step::Notice(text) => Message::Notice(text),
                Step::Selected(all) => {
                    let number = DeviceNumber { major: 253, minor: 1 };
                    Message::Selected((!all).then(|| BTreeSet::from([number])))
                }
                Step::Recording(records) => {
                    let lost = records / 2;
                    Message::Recording((records % 3 > 0).then_some(Recording { records, lost }))
                }
                Step::Size(columns, rows) => {
                    size = (columns, rows);
                    Message::Resize { columns, rows }
                }
            };
            if app.update(message) == Effect::Copy {
                let copied = app.copied().expect("what is said to be copied");
                prop_assert!(!copied.text.replace('\n', "").contains(escape::is_hidden));
            }
            screen(&app, size.0, size.1);
        }
    });
}

/// What stands on the line above the view.
fn status(app: &App) -> String {
    let screen = screen(app, 120, 40);
    let line = screen.lines().find(|line| line.contains("window "));
    line.expect("a window").to_owned()
}

#[test]
fn every_view_shows_the_window_that_the_keys_choose() {
    let mut app = watched("inline_and_bh_with_large_on_kverityd", 30, 120, 60);
    assert!(status(&app).contains("window 1 s   "), "{}", status(&app));
    app.update(Message::Key(Key::Enter));
    let device = screen(&app, 120, 60);
    assert!(
        device.contains("in the last 1.00 s\n  I/Os 999   I/O/s 999 "),
        "{device}"
    );
    app.update(Message::Key(Key::Char(']')));
    let device = screen(&app, 120, 60);
    assert!(
        device.contains("in the last 10.0 s\n  I/Os 9990   I/O/s 999 "),
        "{device}"
    );
    for _ in 0..5 {
        app.update(Message::Key(Key::Char(']')));
    }
    let all = screen(&app, 120, 60);
    let ios = 9_000 + 41_000 + 2_100 + 30 + 29 * 999;
    assert!(
        all.contains(&format!("in the last 1 min 44 s\n  I/Os {ios} ")),
        "{all}"
    );
    assert!(status(&app).contains("window all ("), "{}", status(&app));
    assert_eq!(app.update(Message::Key(Key::Char(']'))), Effect::None);
    // A window that reaches the start is of all, whatever was shown before.
    let mut young = watched("inline_and_bh_with_large_on_kverityd", 30, 120, 60);
    young.update(Message::Key(Key::Char('r')));
    let mut later = Snapshot::clone(&passing("inline_and_bh_with_large_on_kverityd", 50)[49]);
    for second in [30, 40, 49] {
        later.clone_from(&passing("inline_and_bh_with_large_on_kverityd", 50)[second]);
        young.update(Message::Snapshot(Arc::new(later.clone())));
    }
    for expected in [
        "window 10 s",
        "window 1 min (20.0 s)",
        "window 10 min (20.0 s)",
    ] {
        young.update(Message::Key(Key::Char(']')));
        assert!(status(&young).contains(expected), "{}", status(&young));
    }
    // The CPUs' and the devices' numbers are of the same time.
    app.update(Message::Key(Key::Tab));
    let of_all = screen(&app, 120, 60);
    for _ in 0..5 {
        app.update(Message::Key(Key::Char('[')));
    }
    assert_ne!(screen(&app, 120, 60), of_all);
    assert_eq!(app.update(Message::Key(Key::Char('['))), Effect::None);
}

#[test]
fn a_window_of_a_picture_that_stands_still_is_of_its_moment() {
    let snapshots = passing("inline_and_bh_with_large_on_kverityd", 30);
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    app.update(Message::Resize {
        columns: 120,
        rows: 40,
    });
    for (second, snapshot) in snapshots.iter().enumerate() {
        app.update(Message::Snapshot(Arc::clone(snapshot)));
        if second == 14 {
            app.update(Message::Key(Key::Char(' ')));
        }
    }
    app.update(Message::Key(Key::Char(']')));
    app.update(Message::Key(Key::Enter));
    let paused = screen(&app, 120, 40);
    assert!(
        paused.contains("I/Os 9990 ") && paused.contains("paused"),
        "{paused}"
    );
    let watched = format::span(snapshots[14].watched);
    assert!(paused.contains(&format!("watched {watched} ")), "{paused}");
}

#[test]
fn a_player_is_asked_for_the_window_and_says_which_it_is() {
    let mut app = app(snapshot("seventy_devices"), 120, 40);
    app.update(frame(true));
    assert!(
        status(&app).contains("window 10 s (1.00 s)"),
        "{}",
        status(&app)
    );
    for (key, control) in [('[', Control::ShorterWindow), (']', Control::LongerWindow)] {
        let effect = app.update(Message::Key(Key::Char(key)));
        assert_eq!(effect, Effect::Control(control));
    }
}

#[test]
fn counting_begins_anew_and_what_was_lost_or_failed_before_is_not_said_again() {
    let mut app = app(snapshot("failed_ios"), 120, 40);
    let before = screen(&app, 120, 40);
    assert!(before.contains("failed: "), "{before}");
    let mut now = snapshot("failed_ios");
    now.loss.insert(Loss::RingFull, 12);
    now.taken_at += Duration::from_secs(1);
    now.watched += Duration::from_secs(1);
    app.update(Message::Snapshot(Arc::new(now.clone())));
    assert!(screen(&app, 120, 40).contains("loss 12"));
    app.update(Message::Key(Key::Char('r')));
    let anew = screen(&app, 120, 40);
    assert!(
        anew.contains("watched 0 s") && anew.contains("loss 0"),
        "{anew}"
    );
    assert!(!anew.contains("failed: "), "{anew}");
    now.taken_at += Duration::from_secs(5);
    now.watched += Duration::from_secs(5);
    for device in &mut now.devices {
        if let (Some(totals), Some(recent)) = (&mut device.totals, &device.recent) {
            add(totals, recent);
        }
    }
    app.update(Message::Snapshot(Arc::new(now)));
    for _ in 0..5 {
        app.update(Message::Key(Key::Char(']')));
    }
    assert!(
        status(&app).contains("window all (5.00 s)"),
        "{}",
        status(&app)
    );
    app.update(Message::Key(Key::BackTab));
    assert!(screen(&app, 120, 40).contains("counting began anew"));
}

#[test]
fn a_picture_that_stands_still_goes_on_when_counting_begins_anew() {
    let mut app = watched("failed_ios", 5, 120, 40);
    app.update(Message::Key(Key::Char(' ')));
    app.update(Message::Key(Key::Char('r')));
    let anew = screen(&app, 120, 40);
    assert!(
        !anew.contains("paused") && anew.contains("watched 0 s"),
        "{anew}"
    );
}

#[test]
fn the_interval_goes_from_a_tenth_of_a_second_to_a_minute_and_stands_in_the_header() {
    let mut app = app(snapshot("failed_ios"), 120, 40);
    let mut seen = Vec::new();
    for _ in 0..12 {
        app.update(Message::Key(Key::Char('-')));
    }
    assert_eq!(app.update(Message::Key(Key::Char('-'))), Effect::None);
    assert!(screen(&app, 120, 40).contains("interval 100 ms"));
    while let Effect::Interval(interval) = app.update(Message::Key(Key::Char('+'))) {
        let text = format!("interval {} ", format::span(interval));
        assert!(screen(&app, 120, 40).contains(&text), "{text}");
        seen.push(interval.as_millis());
    }
    assert_eq!(
        seen,
        [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000]
    );
    // A recording has its own.
    app.update(frame(true));
    assert!(!screen(&app, 120, 40).contains("interval"));
}

#[test]
fn units_change_numbers_and_no_column() {
    let mut app = watched("bh_always_with_fallbacks", 9, 120, 40);
    let fitting = screen(&app, 120, 40);
    assert!(!fitting.contains("times in"), "{fitting}");
    app.update(Message::Key(Key::Char('u')));
    let micros = screen(&app, 120, 40);
    insta::assert_snapshot!("120x40_times_in_us", micros);
    app.update(Message::Key(Key::Char('u')));
    let millis = screen(&app, 120, 40);
    assert!(millis.contains("times in ms"), "{millis}");
    let widths = |screen: &str| -> Vec<usize> {
        let rows = screen.lines().filter(|line| line.starts_with("root "));
        rows.map(|row| row.chars().count()).collect()
    };
    assert_eq!(widths(&micros), widths(&fitting));
    assert_eq!(widths(&millis), widths(&fitting));
    app.update(Message::Key(Key::Char('u')));
    assert_eq!(screen(&app, 120, 40), fitting);
    app.update(Message::Key(Key::Char('U')));
    assert!(screen(&app, 120, 40).contains("  MB/s"));
    app.update(Message::Key(Key::Enter));
    assert!(screen(&app, 120, 40).contains("   MB/s "));
}

#[test]
fn a_notice_stands_above_the_keys_until_the_next_one() {
    let mut app = watched("seventy_devices", 3, 80, 24);
    let before = screen(&app, 80, 24);
    let text = "nothing was exported: create verity-trace-20261118T110752.045Z.json: \u{1b}[2J Permission \
                denied (os error 13)";
    assert_eq!(app.update(Message::Notice(text.to_owned())), Effect::Redraw);
    let said = screen(&app, 80, 24);
    insta::assert_snapshot!("80x24_notice", said);
    for (columns, rows) in [(40, 12), (1, 1), (3, 60), (200, 2)] {
        screen(&app, columns, rows);
    }
    assert_eq!(app.update(Message::Key(Key::Char('x'))), Effect::Redraw);
    assert_eq!(screen(&app, 80, 24), before);
    assert_eq!(app.update(Message::Key(Key::Char('x'))), Effect::None);
}

#[test]
fn what_is_exported_is_as_it_came_and_of_the_devices_that_are_shown() {
    let mut app = watched("seventy_devices", 3, 80, 24);
    let number = DeviceNumber {
        major: 253,
        minor: 3,
    };
    app.update(Message::Selected(Some(BTreeSet::from([number]))));
    app.update(Message::Key(Key::Char('r')));
    let last = passing("seventy_devices", 3).pop().expect("a snapshot");
    let exported = app.exported().expect("a snapshot").snapshot;
    assert_eq!(exported.devices, [last.devices[3].clone()]);
    assert_eq!(
        (exported.watched, exported.loss),
        (last.watched, last.loss.clone())
    );
}

#[test]
fn devices_that_are_not_selected_are_not_shown_and_make_no_event() {
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    app.update(Message::Resize {
        columns: 120,
        rows: 60,
    });
    let select = |minors: &[u32]| {
        let numbers = minors
            .iter()
            .map(|&minor| DeviceNumber { major: 253, minor });
        Message::Selected(Some(numbers.collect()))
    };
    let mut seconds = passing("seventy_devices", 20);
    app.update(select(&[3]));
    for snapshot in seconds.drain(..14) {
        app.update(Message::Snapshot(snapshot));
    }
    let shown = screen(&app, 120, 60);
    assert!(
        shown.contains("image-3 ") && !shown.contains("image-4 "),
        "{shown}"
    );
    // One that is selected later has its past, and does not count from nothing.
    app.update(select(&[3, 4]));
    let mut gone = Snapshot::clone(&seconds[0]);
    gone.devices
        .retain(|device| ![5, 3].contains(&device.number.minor));
    app.update(Message::Snapshot(Arc::new(gone)));
    app.update(Message::Key(Key::Char(']')));
    app.update(Message::Key(Key::Down));
    app.update(Message::Key(Key::Enter));
    let later = screen(&app, 120, 60);
    assert!(
        later.contains("device image-4 ") && later.contains("I/Os 30 "),
        "{later}"
    );
    app.update(Message::Key(Key::BackTab));
    app.update(Message::Key(Key::BackTab));
    let events = screen(&app, 120, 60);
    assert!(events.contains("image-3 (253:3) is gone"), "{events}");
    assert!(!events.contains("image-5"), "{events}");
}

#[test]
fn what_devices_did_that_are_not_selected_is_not_taken_from_that_of_others() {
    let mut app = watched("seventy_devices", 3, 120, 40);
    let number = DeviceNumber {
        major: 253,
        minor: 3,
    };
    app.update(Message::Selected(Some(BTreeSet::from([number]))));
    app.update(Message::Key(Key::Char('r')));
    let mut next = Snapshot::clone(&passing("seventy_devices", 4)[3]);
    let other = next.other.as_mut().expect("others");
    let these = other.totals.placements.values_mut().next();
    these.expect("I/Os").ios += 5;
    app.update(Message::Snapshot(Arc::new(next)));
    let shown = screen(&app, 120, 40);
    assert!(shown.contains("gone: 5 I/Os, 3 in flight"), "{shown}");
}

#[test]
fn the_chosen_line_or_the_whole_view_is_copied() {
    let mut app = watched("hostile_names", 3, 120, 40);
    assert_eq!(app.update(Message::Key(Key::Char('y'))), Effect::Copy);
    let copied = app.copied().expect("a line").text;
    let lines: Vec<_> = copied.lines().collect();
    assert_eq!(lines.len(), 3, "{copied}");
    assert!(
        lines[1].starts_with("device ") && copied.ends_with('\n'),
        "{copied}"
    );
    assert!(!copied.replace('\n', "").contains(escape::is_hidden));
    let screen_then = screen(&app, 120, 40);
    assert!(
        screen_then.contains("copied the chosen line ")
            && screen_then.contains("(3 lines) to the clipboard")
    );
    app.update(Message::Key(Key::Enter));
    app.update(Message::Key(Key::Char('y')));
    let view = app.copied().expect("a view").text;
    assert!(view.contains("share verified in BH or inline"), "{view}");
    assert!(view.contains("era ") && !view.contains("q quit"), "{view}");
    // It has an end.
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    let mut many = snapshot("softirqs_and_workqueues");
    many.cpus = (0..4_096)
        .map(|number| Cpu {
            number,
            ..many.cpus[0].clone()
        })
        .collect();
    many.interval = None;
    app.update(Message::Snapshot(Arc::new(many)));
    for _ in 0..3 {
        app.update(Message::Key(Key::Tab));
    }
    app.update(Message::Key(Key::Char('y')));
    let text = app.copied().expect("a view").text;
    assert!((60_000..=74_000).contains(&text.len()), "{}", text.len());
    assert!(screen(&app, 200, 40).contains(" more were left out"));
}

fn click(app: &mut App, text: &str) -> Effect {
    let screen = screen(app, 80, 24);
    let mut lines = screen.lines().enumerate();
    let (row, line) = lines.find(|(_, line)| line.contains(text)).expect(text);
    let column = line.find(text).map(|at| line[..at].chars().count());
    let at = |number: Option<usize>| u16::try_from(number.expect(text)).expect("a cell");
    app.update(Message::Mouse(Mouse::Click {
        column: at(column),
        row: at(Some(row)),
    }))
}

#[test]
fn a_click_chooses_a_view_or_a_device_and_a_second_one_opens_it() {
    let mut app = watched("seventy_devices", 3, 80, 24);
    app.update(Message::Key(Key::Char('f')));
    assert_eq!(click(&mut app, "CPUs"), Effect::Redraw);
    assert!(screen(&app, 80, 24).contains("[CPUs]"));
    assert_eq!(click(&mut app, "devices "), Effect::Redraw);
    assert!(screen(&app, 80, 24).contains("[devices]"));
    for turn in [Mouse::Down, Mouse::Down, Mouse::Up] {
        app.update(Message::Mouse(turn));
    }
    app.update(Message::Key(Key::PageDown));
    let target = screen(&app, 80, 24);
    let target = target.lines().filter_map(|it| it.split(' ').next());
    let target = target
        .filter(|it| it.starts_with("image-"))
        .nth(1)
        .expect("a device")
        .to_owned();
    assert_eq!(click(&mut app, &format!("{target} ")), Effect::Redraw);
    assert!(screen(&app, 80, 24).contains("[devices]"));
    click(&mut app, &format!("{target} "));
    let opened = screen(&app, 80, 24);
    assert!(opened.contains(&format!("device {target} ")), "{opened}");
    let scrolled = app.update(Message::Mouse(Mouse::Down));
    assert_eq!(scrolled, Effect::Redraw);
    assert!(screen(&app, 80, 24).contains("lines 4-"));
    // Nothing is there.
    for row in [0, 23] {
        let effect = app.update(Message::Mouse(Mouse::Click { column: 79, row }));
        assert_eq!(effect, Effect::None);
    }
    // Nor while a filter is written.
    app.update(Message::Key(Key::Char('/')));
    assert_eq!(app.update(Message::Mouse(Mouse::Down)), Effect::None);
}

#[test]
fn a_click_closes_the_help() {
    let mut app = watched("seventy_devices", 3, 80, 24);
    app.update(Message::Key(Key::Char('?')));
    app.update(Message::Mouse(Mouse::Down));
    assert!(screen(&app, 80, 24).contains("lines 4-"));
    click(&mut app, "events");
    assert!(screen(&app, 80, 24).contains("between the snapshots"));
}

#[test]
fn a_recording_that_is_made_stands_above_every_view_with_what_it_lost() {
    let mut app = watched("seventy_devices", 3, 80, 24);
    let recording = |records, lost| Message::Recording(Some(Recording { records, lost }));
    assert_eq!(app.update(recording(12, 0)), Effect::Redraw);
    assert_eq!(app.update(recording(12, 0)), Effect::None);
    app.update(Message::Key(Key::Tab));
    let words = screen(&app, 80, 24)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(words.contains("recording 12 (0 lost)"), "{words}");
    app.update(recording(4_000, 7));
    insta::assert_snapshot!("40x12_recording", screen(&app, 40, 12));
    app.update(Message::Recording(None));
    assert!(!screen(&app, 80, 24).contains("recording"));
}

#[test]
fn what_is_configured_is_what_is_shown() {
    let mut settings = Settings::new(Theme::Plain, Glyphs::BLOCKS);
    settings.columns = Columns::of(&[Column::Ios, Column::Total, Column::History]);
    settings.units.bytes = Bytes::Megabytes;
    settings.units.times = Times::Millis;
    settings.window = Window::TenSeconds;
    settings.interval = Duration::from_secs(5);
    assert!(
        settings
            .keys
            .bind("sort", vec![Key::Ctrl('s'), Key::Char('#')])
    );
    assert!(settings.keys.bind("filter", Vec::new()));
    let mut app = App::configured(&settings);
    app.update(Message::Resize {
        columns: 80,
        rows: 24,
    });
    for snapshot in passing("bh_always_with_fallbacks", 20) {
        app.update(Message::Snapshot(snapshot));
    }
    insta::assert_snapshot!("80x24_configured", screen(&app, 80, 24));
    assert_eq!(app.update(Message::Key(Key::Char('s'))), Effect::None);
    assert_eq!(app.update(Message::Key(Key::Char('#'))), Effect::Redraw);
    assert_eq!(app.update(Message::Key(Key::Char('/'))), Effect::None);
    app.update(Message::Key(Key::Char('?')));
    let help = screen(&app, 80, 60);
    assert!(
        help.contains("Ctrl-S, #") && !help.contains("placement:fallback"),
        "{help}"
    );
    for columns in [&[][..], &[Column::Bytes], &[Column::Option, Column::Failed]] {
        settings.columns = Columns::of(columns);
        for (width, rows) in [(80, 24), (40, 12), (1, 1), (200, 60)] {
            let mut app = App::configured(&settings);
            app.update(Message::Snapshot(Arc::new(snapshot("failed_ios"))));
            screen(&app, width, rows);
        }
    }
}

#[test]
fn the_first_screen_says_what_enter_does_where_there_is_room() {
    let few = app(snapshot("bh_always_with_fallbacks"), 80, 40);
    assert!(screen(&few, 80, 40).contains("Enter: everything about the chosen device"));
    let mut many = app(snapshot("seventy_devices"), 80, 24);
    many.update(Message::Key(Key::Char('f')));
    assert!(!screen(&many, 80, 24).contains("Enter: "));
}

#[test]
fn a_limit_that_changes_is_an_event_and_one_that_comes_with_the_module_is_none() {
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    let mut at = snapshot("failed_ios");
    for limits in [
        None,
        Some(vec![8_192; 4]),
        Some(vec![8_192, 0, 8_192, 8_192]),
        None,
    ] {
        at.use_bh_bytes = limits;
        at.taken_at += Duration::from_secs(1);
        at.watched += Duration::from_secs(1);
        app.update(Message::Snapshot(Arc::new(at.clone())));
    }
    app.update(Message::Key(Key::BackTab));
    let events = screen(&app, 120, 40);
    let change = "use_bh_bytes went from 8192,8192,8192,8192 to 8192,0,8192,8192";
    assert!(events.contains(change), "{events}");
    assert_eq!(events.matches("use_bh_bytes went").count(), 1, "{events}");
}

fn snapshot(name: &str) -> Snapshot {
    common::scenario(name).snapshot()
}

fn app(snapshot: Snapshot, columns: u16, rows: u16) -> App {
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS));
    app.update(Message::Resize { columns, rows });
    app.update(Message::Snapshot(Arc::new(snapshot)));
    app
}

fn terminal(app: &App, columns: u16, rows: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a screen");
    terminal.draw(|frame| draw(app, frame)).expect("drawn");
    terminal
}

/// What the screen shows, blanks at the ends of lines left out.
fn screen(app: &App, columns: u16, rows: u16) -> String {
    let terminal = terminal(app, columns, rows);
    let buffer = terminal.backend().buffer();
    let lines: Vec<String> = (0..rows)
        .map(|row| {
            let mut line = String::new();
            let mut column = 0;
            while column < columns {
                let symbol = buffer[(column, row)].symbol();
                line += symbol;
                // The cells behind a wide character are its own.
                column += u16::try_from(Span::raw(symbol).width()).map_or(1, |it| it.max(1));
            }
            line.trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}
