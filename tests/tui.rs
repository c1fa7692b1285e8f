//! The live view on a screen in memory.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::text::Span;
use verity_trace::replay::Playback;
use verity_trace::snapshot::{Loss, Other, Snapshot, Totals, Tracing};
use verity_trace::tui::{
    Action, App, BINDINGS, Effect, Glyphs, Key, LIVE, Message, REPLAY, Styles, Theme, action, draw,
};
use verity_trace::{escape, format};

#[test]
fn screens() {
    let cases: [(u16, u16, &str); 17] = [
        (80, 24, "kverityd_only_option_off"),
        (80, 24, "inert_option_on"),
        (80, 24, "bh_always_with_fallbacks"),
        (80, 24, "inline_and_bh_with_large_on_kverityd"),
        (80, 24, "nothing_happened_yet"),
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
        ("softirqs_and_workqueues", 2),
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
fn views_are_gone_through_in_both_directions() {
    let mut app = app(snapshot("seventy_devices"), 80, 24);
    let devices = screen(&app, 80, 24);
    for view in ["[device]", "[CPUs]", "[events]", "[devices]"] {
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
    let mut app = App::new(Styles::new(Theme::Plain, Glyphs::BLOCKS))
        .grouped(vec!["*-a".parse().expect("a pattern")]);
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
    for _ in 0..3 {
        app.update(Message::Key(Key::Tab));
    }
    let nothing = screen(&app, 100, 24);
    assert!(
        nothing.contains("between the snapshots that were shown no device"),
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
        assert!(
            screen.contains("root") && screen.contains("[devices]"),
            "{screen}"
        );
    }
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

/// A scenario that goes on: a snapshot each second, each with more in it than the one before.
fn passing(name: &str, seconds: u64) -> Vec<Arc<Snapshot>> {
    let snapshot = snapshot(name);
    let at = |second: u64| {
        let mut later = snapshot.clone();
        later.taken_at += Duration::from_secs(second);
        let totals = later.devices.iter_mut().filter_map(|it| it.totals.as_mut());
        for these in totals.flat_map(|totals| totals.placements.values_mut()) {
            for histogram in these.stages.values_mut() {
                let once = histogram.clone();
                for _ in 0..second {
                    histogram.merge(&once);
                }
            }
        }
        Arc::new(later)
    };
    (0..seconds).map(at).collect()
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
    let mut app = app(snapshot("bh_always_with_fallbacks"), 80, 40);
    assert_eq!(app.update(Message::Key(Key::Char('?'))), Effect::Redraw);
    let help = screen(&app, 80, 40);
    for binding in BINDINGS.iter().chain(&LIVE) {
        assert!(help.contains(binding.label), "{}", binding.label);
        assert!(help.contains(binding.help), "{}", binding.help);
    }
    app.update(Message::Resize {
        columns: 80,
        rows: 24,
    });
    app.update(Message::Key(Key::End));
    let end = screen(&app, 80, 24);
    assert!(end.contains("total: from the I/O's start"), "{end}");
    insta::assert_snapshot!("80x40_help", help);
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
            let mut app = seventy_devices();
            for _ in 0..20 {
                app.update(Message::Key(Key::Char('j')));
            }
            let drawn = |app: &App| terminal(app, 80, 24).backend().buffer().clone();
            let before = drawn(&app);
            let effect = app.update(Message::Key(key));
            let changed = drawn(&app) != before;
            match binding.action {
                Action::Quit => assert_eq!(effect, Effect::Quit),
                Action::Suspend => assert_eq!(effect, Effect::Suspend),
                Action::Back => assert_eq!((effect, changed), (Effect::None, false)),
                _ => assert_eq!((effect, changed), (Effect::Redraw, true), "{key:?}"),
            }
            assert_eq!(action(key, false), Some(binding.action));
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
    let playback = Playback {
        now: Duration::from_secs(72),
        length: Duration::from_secs(130),
        is_whole: true,
        at: Duration::from_secs(1_795_000_072),
        plays,
        speed: -2,
        window: Some(Duration::from_secs(10)),
    };
    Message::Frame(Arc::new(snapshot("seventy_devices")), playback)
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
    Size(u16, u16),
    Scenario(usize),
}

fn step(scenarios: usize) -> impl Strategy<Value = Step> {
    let keys: Vec<_> = BINDINGS
        .iter()
        .chain(&LIVE)
        .filter(|binding| ![Action::Quit, Action::Suspend].contains(&binding.action))
        .flat_map(|binding| binding.keys.iter().copied())
        .collect();
    prop_oneof![
        prop::sample::select(keys).prop_map(Step::Key),
        any::<char>().prop_map(|character| Step::Key(Key::Char(character))),
        (0u16..200, 0u16..70).prop_map(|(columns, rows)| Step::Size(columns, rows)),
        (0..scenarios).prop_map(Step::Scenario),
    ]
}

#[test]
fn no_order_of_messages_panics() {
    let snapshots: Vec<_> = common::scenarios()
        .iter()
        .map(|(_, scenario)| Arc::new(scenario.snapshot()))
        .collect();
    proptest!(ProptestConfig::with_cases(48), |(
        steps in prop::collection::vec(step(snapshots.len()), 1..20),
    )| {
        let mut app = App::new(Styles::new(Theme::Dark, Glyphs::BLOCKS));
        let mut size = (80, 24);
        for step in steps {
            let message = match step {
                Step::Key(key) => Message::Key(key),
                Step::Scenario(at) => Message::Snapshot(Arc::clone(&snapshots[at])),
                Step::Size(columns, rows) => {
                    size = (columns, rows);
                    Message::Resize { columns, rows }
                }
            };
            app.update(message);
            screen(&app, size.0, size.1);
        }
    });
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
