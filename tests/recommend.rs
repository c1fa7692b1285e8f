//! What is advised, as text and as a document, and that what is printed to be typed does what it says.

mod common;
mod valid;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use ratatui::text::Span;
use serde_json::Value;
use verity_trace::archive::Given;
use verity_trace::demo::Demo;
use verity_trace::histogram::Histogram;
use verity_trace::overview::Overview;
use verity_trace::recommend::{
    self, Advice, Certainty, Forecasts, NOBODY_AHEAD, Origin, RULES, SAVED, Verdict,
};
use verity_trace::snapshot::{Placement, Snapshot, Stage};
use verity_trace::target::Table;
use verity_trace::{escape, export};

#[test]
fn every_rule_has_a_row_in_the_patterns_and_every_row_a_rule() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/patterns.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|line| line.rsplit('|').nth(1));
    let named: Vec<_> = last
        .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let rules: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(named, rules);
    let different: BTreeSet<_> = rules.iter().collect();
    assert_eq!(different.len(), rules.len());
}

#[test]
fn pages() {
    for name in [
        "kverityd_only_option_off",
        "bh_always_with_fallbacks",
        "inline_and_bh_with_large_on_kverityd",
        "inert_option_on",
        "cold_hash_cache",
        "tasklet_with_fallbacks",
        "failed_ios",
        "hostile_names",
        "losses_of_every_kind",
        "nothing_happened_yet",
        "workqueues_alone",
    ] {
        let scenario = common::scenario(name);
        let snapshot = scenario.snapshot();
        let advices = recommend::advices(&snapshot, &Forecasts::new(), None);
        insta::with_settings!({ description => scenario.description.clone() }, {
            insta::assert_snapshot!(format!("recommend_{name}"), page_of(&snapshot, &advices));
        });
    }
}

#[test]
fn verdicts() {
    let cases = [
        ("kverityd_only_option_off", Verdict::Enable),
        ("inert_option_on", Verdict::NotEffective),
        ("tasklet_with_fallbacks", Verdict::Disable),
        ("failed_ios", Verdict::Keep),
        ("losses_of_every_kind", Verdict::NotEnoughData),
        ("nothing_happened_yet", Verdict::NotEnoughData),
    ];
    for (name, verdict) in cases {
        let snapshot = common::scenario(name).snapshot();
        let advices = recommend::advices(&snapshot, &Forecasts::new(), None);
        assert_eq!(advices[0].verdict, verdict, "{name}: {:?}", advices[0]);
    }
    let unseen = common::scenario("workqueues_alone").snapshot();
    assert_eq!(recommend::advices(&unseen, &Forecasts::new(), None), []);
}

/// Whatever it is, text is narrow and harmless, and a document says the same.
#[test]
fn advice_for_every_scenario_is_harmless_and_the_same_everywhere() {
    for (name, scenario) in common::scenarios() {
        let snapshot = scenario.snapshot();
        let origin = Origin::of(&snapshot);
        let advices = recommend::advices(&snapshot, &Forecasts::new(), Some(&origin));
        let page = page_of(&snapshot, &advices);
        let commands = advices.iter().flat_map(|it| &it.commands);
        let lines: BTreeSet<_> = commands
            .flat_map(|it| it.lines.iter().chain(&it.undo))
            .collect();
        for line in page.lines() {
            assert!(!line.contains(escape::is_hidden), "{name}: {line}");
            let is_command = lines.iter().any(|command| line.contains(&***command));
            assert!(
                is_command || Span::raw(line).width() <= 80,
                "{name}: {line}"
            );
        }
        let document: Value = serde_json::from_str(&json_of(&snapshot, &advices)).expect("JSON");
        let said = document["advice"].as_array().expect("a list");
        assert_eq!(said.len(), advices.len());
        for (said, advice) in said.iter().zip(&advices) {
            assert_eq!(said["name"], advice.name);
            assert_eq!(said["verdict"], advice.verdict.name());
            assert_eq!(said["recorded_on"]["host"], snapshot.kernel.host);
            let verdict = format!("verdict      {}", advice.verdict.name());
            assert!(page.contains(&verdict), "{page}");
        }
    }
}

#[test]
fn a_command_of_a_recording_names_its_host_and_time() {
    let snapshot = common::scenario("kverityd_only_option_off").snapshot();
    let advices = recommend::advices(&snapshot, &Forecasts::new(), Some(&Origin::of(&snapshot)));
    let page = page_of(&snapshot, &advices);
    let words: Vec<_> = page.split_whitespace().collect();
    let expected =
        "as root on web-7, of which this is a recording that ends at 2026-11-18T11:06:40Z";
    assert!(words.join(" ").contains(expected), "{page}");
}

/// What the law counts on, held against real recordings.
#[test]
fn handing_over_to_bh_takes_less_than_to_kverityd_by_what_is_counted_on() {
    for kernel in ["6.12", "7.3"] {
        let demo = Demo::parse(kernel).expect("a demo");
        let mut archive = Given::Demo(demo).open(false).expect("a recording");
        let overview = Overview::read(&mut archive).expect("a recording");
        let alone = |placement| {
            let totals = overview
                .snapshot
                .devices
                .iter()
                .filter_map(|it| it.totals.as_ref());
            let placements = totals.filter_map(|it| it.placements.get(&placement));
            let waits: Histogram = placements.map(|it| &it.stages[&Stage::Wait]).sum();
            assert!(waits.count() > 100, "{kernel}");
            waits.percentile(NOBODY_AHEAD).expect("waits").0 as f64
        };
        let (bh, kverityd) = (alone(Placement::Bh), alone(Placement::Kverityd));
        assert!(bh <= (1.0 - SAVED) * kverityd, "{kernel}: {bh} {kverityd}");
    }
}

const ROOT: &str = "4fa5d3b7c8e1a2964fa5d3b7c8e1a2964fa5d3b7c8e1a2964fa5d3b7c8e1a296";

/// The scenario in which the option is to be switched on, with this name and this table.
fn with(name: &str, uuid: &str, options: &str) -> Snapshot {
    let mut snapshot = common::scenario("kverityd_only_option_off").snapshot();
    let device = &mut snapshot.devices[0];
    name.clone_into(&mut device.name);
    uuid.clone_into(&mut device.uuid);
    let line = format!("1 254:0 254:16 4096 4096 16384 1 sha256 {ROOT} beef{options}");
    device.table = Table::parse(&line).expect("a verity table");
    snapshot
}

fn advice_for(snapshot: &Snapshot) -> Advice {
    let mut advices = recommend::advices(snapshot, &Forecasts::new(), None);
    advices.remove(0)
}

/// Programs that note what they are given stand in for the real ones.
#[test]
fn commands_load_the_same_table_with_the_option_and_undo_it() {
    let cases = [
        ("", "1 try_verify_in_tasklet"),
        (
            " 1 check_at_most_once",
            "2 check_at_most_once try_verify_in_tasklet",
        ),
        (
            " 10 restart_on_corruption ignore_zero_blocks use_fec_from_device 254:32 fec_blocks 16513 fec_start 0 \
             fec_roots 2",
            "11 restart_on_corruption ignore_zero_blocks try_verify_in_tasklet use_fec_from_device 254:32 \
             fec_blocks 16513 fec_start 0 fec_roots 2",
        ),
        (
            " 2 root_hash_sig_key_desc cryptsetup:$(id)'\"",
            "3 try_verify_in_tasklet root_hash_sig_key_desc cryptsetup:$(id)'\"",
        ),
    ];
    for (name, node) in [
        ("root", "root"),
        ("$(id)<script>'\"", "/dev/dm-0"),
        ("-rf", "/dev/dm-0"),
        ("\u{1b}[2J\n", "/dev/dm-0"),
    ] {
        for (options, expected) in cases {
            let advice = advice_for(&with(name, "", options));
            assert_eq!(advice.verdict, Verdict::Enable);
            let command = &advice.commands[0];
            let fixed =
                format!("0 131072 verity 1 254:0 254:16 4096 4096 16384 1 sha256 {ROOT} beef");
            let (off, on) = (format!("{fixed}{options}"), format!("{fixed} {expected}"));
            let reload = |table: &str| {
                format!("table|{node}\nreload|{node}|--readonly|--table|{table}\nresume|{node}\n")
            };
            assert_eq!(typed(&command.lines, &off), reload(&on), "{name}");
            assert_eq!(typed(&command.undo, &on), reload(&off), "{name}");
            // Somebody has loaded another table meanwhile.
            assert_eq!(
                typed(&command.lines, &on),
                format!("table|{node}\n"),
                "{name}"
            );
        }
    }
}

/// What `dmsetup` is called with while this is the table.
fn typed(lines: &[String], table: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, notes) = (folder.path().join("dmsetup"), folder.path().join("notes"));
    let script = "#!/bin/sh\n(IFS='|'; printf '%s\\n' \"$*\") >>\"$NOTES\"\n\
                  if [ \"$1\" = table ]; then printf '%s\\n' \"$TABLE\"; fi\n";
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
    let status = Command::new("/bin/sh")
        .args(["-c", &lines.join("\n")])
        .env("PATH", folder.path())
        .env("NOTES", &notes)
        .env("TABLE", table)
        .status();
    status.expect("a shell");
    fs::read_to_string(notes).expect("some notes")
}

#[test]
fn the_next_activation_is_that_of_the_table() {
    let uuid = "CRYPT-VERITY-53b45bfe0de9451cae0dd5cd4e0d0c2b-root";
    let activation = |snapshot: &Snapshot| {
        let advice = advice_for(snapshot);
        let command = advice.commands.get(1)?;
        Some((command.lines.join("\n"), command.undo.join("\n")))
    };
    let plain = activation(&with("root", uuid, "")).expect("by veritysetup");
    let without = format!("veritysetup open -- /dev/vda root /dev/vdb {ROOT}");
    let with_option = without.replace("open", "open --use-tasklets");
    assert_eq!(plain, (with_option, without));
    let full = with(
        "root",
        uuid,
        " 10 panic_on_corruption panic_on_error use_fec_from_device 8:3 fec_blocks 16513 fec_start 10 fec_roots 2",
    );
    let (line, _) = activation(&full).expect("by veritysetup");
    for word in [
        "--panic-on-corruption",
        "--error-as-corruption",
        "--fec-device /dev/block/8:3",
        "--fec-offset 40960",
        "--fec-roots 2",
    ] {
        assert!(line.contains(word), "{line}");
    }
    let bare = with("root", "CRYPT-VERITY-root", "");
    let (line, _) = activation(&bare).expect("by veritysetup");
    assert!(
        line.contains("--no-superblock --format 1 --hash sha256"),
        "{line}"
    );
    assert!(line.contains("--hash-offset 4096"), "{line}");
    assert_eq!(activation(&with("root", "", "")), None);
    assert_eq!(
        activation(&with("root", uuid, " 2 root_hash_sig_key_desc key")),
        None
    );
}

#[test]
fn what_is_weak_says_how_to_measure_it() {
    for (name, node) in [("root", "root"), ("a#b", "'a#b'"), ("$(id)", "/dev/dm-0")] {
        let advice = advice_for(&with(name, "", ""));
        assert_eq!(advice.confidence.certainty, Certainty::Weak);
        let expected = format!("`verity-trace tune {node}` measures it");
        assert_eq!(recommend::surer(&advice), Some(expected));
        let limits = Advice {
            verdict: Verdict::Limit([0; 4]),
            ..advice
        };
        assert_eq!(recommend::surer(&limits), None);
    }
    for name in ["inert_option_on", "failed_ios", "nothing_happened_yet"] {
        let advice = advice_for(&common::scenario(name).snapshot());
        assert_ne!(advice.confidence.certainty, Certainty::Weak);
        assert_eq!(recommend::surer(&advice), None, "{advice:?}");
    }
}

#[test]
fn what_cannot_be_put_back_is_not_loaded() {
    let mut corrupt = with("root", "", "");
    corrupt.devices[0].table.options.try_verify_in_tasklet = true;
    corrupt.devices[0].status = verity_trace::target::Status::parse("C");
    corrupt.kernel.era = Some(verity_trace::snapshot::Era::Inert);
    let mut redacted = with("root", "", "");
    "redacted".clone_into(&mut redacted.devices[0].table.root_hash);
    let unknown = with("root", "", " 1 new_option");
    let mut hidden = with("root", "", "");
    "sha256\u{1b}[0m".clone_into(&mut hidden.devices[0].table.algorithm);
    for snapshot in [corrupt, redacted, unknown, hidden] {
        let advice = advice_for(&snapshot);
        assert_eq!(advice.commands, []);
        let why = advice
            .risk
            .iter()
            .any(|it| it.starts_with("there is no command"));
        assert!(why, "{advice:?}");
    }
}

#[test]
fn risks_of_a_reload_are_named_with_what_to_do_first() {
    let signed = with(
        "root",
        "",
        " 3 panic_on_corruption root_hash_sig_key_desc key",
    );
    let risk = advice_for(&signed).risk.join("\n");
    for words in [
        "keyctl padd user key @u",
        "require_signatures=1",
        "panics",
        "root file system",
    ] {
        assert!(risk.contains(words), "{words}: {risk}");
    }
}

fn page_of(snapshot: &Snapshot, advices: &[Advice]) -> String {
    let mut text = Vec::new();
    recommend::page(snapshot, advices, &mut text).expect("written to memory");
    String::from_utf8(text).expect("text")
}

fn json_of(snapshot: &Snapshot, advices: &[Advice]) -> String {
    let mut text = Vec::new();
    export::recommendation(snapshot, advices, &mut text).expect("written to memory");
    let text = String::from_utf8(text).expect("text");
    valid::written("recommend", &text);
    text
}
