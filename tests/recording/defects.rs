//! What is cut, damaged or no recording at all says so, and gives what can still be read.

use verity_trace::escape;
use verity_trace::export::Document;
use verity_trace::recording::Header;

use crate::{HEAD, HEADER, blocks, common, read, recording, reported, run, salvage};

#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let file = recording();
    let blocks = blocks(&file);
    for length in 0..file.len() {
        let read = read(&file[..length]);
        if length < Header::BYTES {
            let fault = read.fault.expect("no header");
            assert_eq!(fault.offset, 0);
            assert!(!fault.can_be_salvaged());
            continue;
        }
        assert!(read.fault.is_none(), "{length}: {:?}", read.fault);
        let whole = blocks.iter().filter(|&&(_, end)| end <= length).count();
        let cut = blocks.get(whole).map_or(file.len(), |&(start, _)| start);
        assert_eq!(read.condition.cut, Some(cut as u64), "{length}");
        assert!(!read.condition.ended);
        assert_eq!(read.blocks(), whole, "{length}");
    }
}

#[test]
fn a_file_of_which_the_last_part_was_never_written_is_cut_there() {
    let file = recording();
    for (start, _) in blocks(&file) {
        for zeros in [1, HEAD, 70_000] {
            let mut file = file[..start].to_vec();
            file.resize(start + zeros, 0);
            let read = read(&file);
            assert!(read.fault.is_none(), "{start} {zeros}: {:?}", read.fault);
            assert_eq!(read.condition.cut, Some(start as u64), "{start} {zeros}");
        }
    }
}

#[test]
fn every_changed_byte_is_noticed_and_the_rest_can_be_salvaged() {
    let file = recording();
    let blocks = blocks(&file);
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0xff;
        let fault = read(&changed).fault.expect("a fault");
        assert!(fault.offset <= at as u64, "{at}: {fault}");
        if at < Header::BYTES {
            assert!(!fault.can_be_salvaged(), "{at}: {fault}");
            continue;
        }
        let (start, end) = *blocks
            .iter()
            .find(|&&(start, end)| (start..end).contains(&at))
            .expect("a block");
        assert_eq!(fault.offset, start as u64, "{at}: {fault}");
        assert!(fault.can_be_salvaged(), "{at}: {fault}");
        if at % 7 != 0 {
            continue;
        }
        let rest = salvage(&changed);
        assert!(rest.fault.is_none(), "{at}: {:?}", rest.fault);
        assert_eq!(rest.condition.skipped, (end - start) as u64, "{at}");
        // The snapshot after a damaged one says only what differs.
        let lost = usize::try_from(rest.condition.lost_pictures).expect("few");
        assert!(lost <= 1, "{at}");
        assert_eq!(rest.blocks() + lost, blocks.len() - 1, "{at}");
    }
}

#[test]
fn blocks_of_an_unknown_kind_are_passed_over_and_counted() {
    let mut file = head_and_payload(0, 999, 0, b"from the future", None);
    file.splice(0..0, HEADER.to_bytes());
    file.extend(head_and_payload(1, 998, 0, b"", None));
    let read = read(&file);
    assert!(read.fault.is_none());
    assert_eq!(read.condition.unknown, 2);
    assert_eq!(read.condition.cut, Some(file.len() as u64));
}

#[test]
fn a_claim_that_cannot_be_is_refused_before_anything_is_kept_for_it() {
    let cases = [
        (head_and_payload(0, 2, 0, b"", Some([1 << 30, 0])), "claims"),
        (
            head_and_payload(0, 2, 0, b"", Some([0, u32::MAX])),
            "claims",
        ),
        (head_and_payload(0, 1, 0, b"{}", Some([2, 3])), "as long as"),
        (head_and_payload(0, 1, 7, b"{}", None), "unknown way"),
        (
            head_and_payload(0, 1, 1, b"{}", None),
            "compressed contents",
        ),
        (head_and_payload(0, 1, 0, b"{}", None), "missing field"),
        (head_and_payload(0, 2, 0, b"", None), "ends too early"),
        (head_and_payload(0, 6, 0, b"{}", None), "not there"),
        (
            head_and_payload(3, 1, 0, b"{}", None),
            "block 3 where block 0",
        ),
    ];
    for (block, expected) in cases {
        let mut file = HEADER.to_bytes().to_vec();
        file.extend(block);
        let fault = read(&file).fault.expect("a fault");
        assert_eq!(fault.offset, Header::BYTES as u64);
        assert!(fault.to_string().contains(expected), "{fault}");
    }
}

#[test]
fn a_few_bytes_that_claim_to_be_many_are_not_unpacked_beyond_the_claim() {
    let bomb = zstd::encode_all(&vec![b' '; 32 << 20][..], 3).expect("compressed");
    let mut file = HEADER.to_bytes().to_vec();
    let stored = u32::try_from(bomb.len()).expect("few");
    file.extend(head_and_payload(0, 1, 1, &bomb, Some([stored, 100])));
    let fault = read(&file).fault.expect("a fault");
    assert!(fault.to_string().contains("not as long"), "{fault}");
}

#[test]
fn what_follows_the_end_is_noticed() {
    let mut file = recording();
    let length = file.len();
    file.extend(b"more");
    let fault = read(&file).fault.expect("a fault");
    assert_eq!(fault.offset, length as u64);
    assert!(salvage(&file).fault.is_none());
}

#[test]
fn a_file_that_is_no_recording_is_told_in_one_line_that_ends_with_6() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let file = recording();
    let (second, _) = blocks(&file)[1];
    let mut damaged = file.clone();
    damaged[second] ^= 1;
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "byte 0: the file is empty"),
        ("text", b"{}", "byte 0: this is no recording"),
        (
            "short",
            &file[..40],
            "byte 0: the file ends within its header",
        ),
        ("header", &file[..64], "byte 64: the block makes no sense"),
        ("damaged", &damaged, "; --salvage reads what is left"),
        ("\u{1b}[2J", b"PNG", "\\u{1b}[2J: byte 0: this is no"),
    ];
    for (name, contents, expected) in cases {
        std::fs::write(place(name), contents).expect("written");
        let output = reported(&[place(name).as_os_str()]);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(6), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        let path = escape::terminal(place(name).to_str().expect("a name")).into_owned();
        assert!(message.contains(&path), "{name}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(output.stdout.is_empty());
    }
    let offset = format!("byte {second}: there should be a block");
    let output = reported(&[place("damaged").as_os_str()]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert!(message.contains(&offset), "{message}");
    let output = reported(&[place("damaged").as_os_str(), "--salvage".as_ref()]);
    assert!(output.status.success());

    let pipe = place("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let output = reported(&[pipe.as_os_str()]);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains("is a pipe"), "{message}");
}

#[test]
fn a_folder_is_no_recording() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().as_os_str();
    for command in ["replay", "report", "compare"] {
        let arguments = [path, path];
        let count = if command == "compare" { 2 } else { 1 };
        let output = run(command, &arguments[..count]);
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(6), "{command}: {message}");
        assert!(
            message.contains("is a folder, and no recording"),
            "{message}"
        );
    }
}

#[test]
fn a_document_that_cannot_be_is_an_error() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let document = serde_json::to_value(Document::new(&snapshot, None)).expect("JSON");
    let fault = |document: serde_json::Value| {
        let document: Document<'static> = serde_json::from_value(document).expect("a document");
        document.snapshot().expect_err("no snapshot").to_string()
    };
    let mut late = document.clone();
    late["taken_at_unix_ms"] = serde_json::json!(253_402_300_800_000_u64);
    assert_eq!(fault(late), "253402300800000 is more than there can be");
    let mut many = document.clone();
    many["devices"] = vec![document["devices"][0].clone(); 4_097].into();
    assert_eq!(fault(many), "4097 is more than there can be");
    let buckets = |document: &mut serde_json::Value,
                   change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let these = &mut document["devices"][0]["placements"]["bh"]["stages"]["total"]["buckets"];
        change(these.as_array_mut().expect("buckets"));
    };
    let mut repeated = document.clone();
    buckets(&mut repeated, &|these| these.push(these[0].clone()));
    let message = fault(repeated);
    assert!(message.ends_with("is out of order"), "{message}");
    let mut huge = document.clone();
    buckets(&mut huge, &|these| {
        these[0]["count"] = serde_json::json!(1_u64 << 48);
        let mut next = these[0].clone();
        next["lower_ns"] = serde_json::json!(50_000_000_000_u64);
        next["count"] = serde_json::json!(1);
        these.truncate(1);
        these.push(next);
    });
    assert_eq!(fault(huge), "281474976710657 is more than there can be");
}

#[test]
fn a_part_of_a_device_that_makes_no_sense_is_an_error() {
    let snapshot = common::scenario("bh_always_with_fallbacks").snapshot();
    let document = serde_json::to_value(Document::new(&snapshot, None)).expect("JSON");
    let read = |document: &serde_json::Value| {
        serde_json::from_value::<Document<'static>>(document.clone())
            .map(|document| document.snapshot().expect("a snapshot"))
    };
    let whole = read(&document).expect("a document");
    assert_eq!(whole.devices[0].totals, snapshot.devices[0].totals);
    for (field, value) in [
        ("ios", serde_json::json!("many")),
        ("placements", serde_json::json!([])),
        ("mix", serde_json::json!([{"size_bytes": -1}])),
        ("in_flight", serde_json::json!(null)),
    ] {
        let mut malformed = document.clone();
        malformed["devices"][0][field] = value;
        assert!(read(&malformed).is_err(), "{field}");
    }
    let mut unseen = document;
    let device = unseen["devices"][0].as_object_mut().expect("a device");
    let totals = [
        "ios",
        "bytes",
        "failed",
        "rejected",
        "incomplete",
        "loss",
        "placements",
        "attempts",
        "attempt_contexts",
        "mix",
    ];
    for field in totals {
        device.remove(field).expect(field);
    }
    let unseen = read(&unseen).expect("a document");
    assert_eq!(unseen.devices[0].totals, None);
    assert_eq!(unseen.devices[0].in_flight, snapshot.devices[0].in_flight);
}

/// A block made by hand, which may claim other lengths than it has.
fn head_and_payload(
    number: u32,
    kind: u16,
    flags: u16,
    payload: &[u8],
    lengths: Option<[u32; 2]>,
) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length");
    let mut block = b"vblk".to_vec();
    block.extend(kind.to_le_bytes());
    block.extend(flags.to_le_bytes());
    block.extend(number.to_le_bytes());
    for length in lengths.unwrap_or([length; 2]) {
        block.extend(length.to_le_bytes());
    }
    block.extend(crc32fast::hash(payload).to_le_bytes());
    block.extend(crc32fast::hash(&block).to_le_bytes());
    block.extend(payload);
    block
}
