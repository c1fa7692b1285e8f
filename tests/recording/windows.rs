//! Parts of a recording's time, counted anew from its records.

use std::ffi::OsStr;

use verity_trace::demo;
use verity_trace::dm::VerityDevice;
use verity_trace::export::Entry;
use verity_trace::recording::{Devices, Encoder, Writer};
use verity_trace::snapshot::Era;

use crate::{HEADER, document, machine, picture, records, reported, snapshots};

/// The programs counted the same I/Os that there are records of, each on its own.
#[test]
fn records_counted_anew_make_what_the_programs_counted() {
    for demo in demo::ALL {
        let option = format!("--demo={}", demo.kernel);
        let whole = document(&[option.as_ref()]);
        let anew = document(&[option.as_ref(), "--from=0s".as_ref()]);
        assert_eq!(anew["recording"], whole["recording"]);
        assert_eq!(anew["window"]["records"], whole["account"]["finished"]);
        assert_eq!(anew["inferred_reasons"], whole["inferred_reasons"]);
        let devices = [&anew, &whole].map(|it| it["devices"].as_array().expect("devices"));
        assert_eq!(devices[0].len(), devices[1].len());
        for (anew, whole) in devices[0].iter().zip(devices[1]) {
            for (field, value) in anew.as_object().expect("a device") {
                assert_eq!(*value, whole[field], "{field}");
            }
            assert!(anew.get("rejected").is_none(), "no record tells it");
        }
    }
}

#[test]
fn windows_side_by_side_make_the_whole() {
    let counts = |arguments: &[&str]| {
        let arguments = ["--demo"].iter().chain(arguments);
        let found = document(&arguments.map(OsStr::new).collect::<Vec<_>>());
        let [count, from, to] =
            ["records", "from_ns", "to_ns"].map(|field| found["window"][field].as_u64());
        (count.expect("a count"), from, to)
    };
    let (first, _, end) = counts(&["--to=3s"]);
    let (second, start, _) = counts(&["--from=3s", "--to=6500ms"]);
    let (third, _, last) = counts(&["--from=6500ms"]);
    assert_eq!((end, start), (Some(3_000_000_000), Some(3_000_000_000)));
    assert!([first, second, third].iter().all(|&count| count > 0));
    assert_eq!(first + second + third, counts(&["--from=0s"]).0);
    assert!(last > Some(6_500_000_000));
    assert_eq!(counts(&["--from=1h"]).0, 0);
    let text = reported(&["--demo".as_ref(), "--from=3s".as_ref(), "usr".as_ref()]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.contains("device usr") && !text.contains("device root"),
        "{text}"
    );
    assert!(!text.contains("other devices"), "{text}");
}

/// Devices of which the last snapshot knows nothing are counted together, and a sample says that it is one.
#[test]
fn what_is_counted_anew_says_what_it_is_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let mut encoder = Encoder::new(false).expect("an encoder");
    let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
    let mut both = records(0..4);
    both[1].device += 9;
    both[2].outcome = 200;
    let snapshot = snapshots().remove(0);
    let frames = [
        encoder.machine(&machine()),
        encoder.picture(&picture(0, &snapshot)),
        encoder.ios(&both, Some(Era::Bh)),
    ];
    for frame in frames {
        writer.write(&frame.expect("a block")).expect("written");
    }
    std::fs::write(&path, writer.into_inner()).expect("written");
    let output = reported(&[path.as_os_str(), "--from=0s".as_ref()]);
    let text = String::from_utf8(output.stdout).expect("text");
    insta::assert_snapshot!("counted_anew", text);
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains("1 records make no I/O"), "{message}");
    let anew = document(&[path.as_os_str(), "--from=0s".as_ref()]);
    assert_eq!(anew["other"]["ios"], 1);
    assert_eq!(anew["window"]["records"], 3);
}

/// Another device had the number before.
#[test]
fn a_number_that_is_used_again_gives_no_device_the_ios_of_another() {
    let snapshot = snapshots().remove(0);
    let mut now = VerityDevice::from(&snapshot.devices[0]);
    now.disk_sequence = Some(7);
    let renamed = VerityDevice {
        name: "before".to_owned(),
        disk_sequence: None,
        ..now.clone()
    };
    let mut shown = snapshot.clone();
    shown.devices[0].disk_sequence = now.disk_sequence;
    let another = VerityDevice {
        disk_sequence: Some(6),
        ..now.clone()
    };
    let names = &snapshot.kernel_names;
    for (before, own) in [(&renamed, 3), (&another, 3), (&now, 8)] {
        let noted = |device| Devices {
            monotonic_ns: 5_000_000_000,
            devices: vec![Entry::new(device, names, Some(Era::Bh))],
        };
        let mut encoder = Encoder::new(false).expect("an encoder");
        let mut writer = Writer::new(Vec::new(), &HEADER).expect("written to memory");
        let frames = [
            encoder.devices(&noted(before)),
            encoder.ios(&records(0..5), Some(Era::Bh)),
            encoder.devices(&noted(&now)),
            encoder.ios(&records(5..8), Some(Era::Bh)),
            encoder.picture(&picture(0, &shown)),
        ];
        for frame in frames {
            writer.write(&frame.expect("a block")).expect("written");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, writer.into_inner()).expect("written");
        let anew = document(&[path.as_os_str(), "--from=0s".as_ref()]);
        assert_eq!(anew["devices"][0]["ios"], own, "{}", before.name);
        let other = anew["other"]["ios"].as_u64().unwrap_or(0);
        assert_eq!(other, 8 - own, "{}", before.name);
    }
}

#[test]
fn a_window_is_of_a_recording_and_of_what_is_counted() {
    let cases: [&[&str]; 5] = [
        &["--from=1s"],
        &["--demo", "--from=2s", "--to=2s"],
        &["--demo", "--to=0s"],
        &["--demo", "--from=1s", "--format=csv"],
        &["--demo", "--from=yesterday"],
    ];
    for arguments in cases {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        assert_eq!(reported(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}
