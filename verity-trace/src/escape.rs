//! Text from the kernel or a file, made harmless for a terminal.
//!
//! A device-mapper name may hold any byte but `/` and NUL, so it can carry escape sequences that
//! move the cursor, and format characters that show text in another order than it is stored.

use std::borrow::Cow;

/// The text with every character that a terminal would obey, or hide, written as `\u{1b}`.
#[must_use]
pub fn terminal(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hidden(character) {
            visible.extend(character.escape_unicode());
        } else {
            visible.push(character);
        }
    }
    Cow::Owned(visible)
}

/// Whether a character has no shape of its own: controls (C0, DEL, C1), line and paragraph
/// separators, and the format characters (Unicode category Cf), bidirectional ones among them.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'
            | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_escape_sequence_becomes_visible() {
        assert_eq!(terminal("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(terminal("\u{9b}2J\n\u{7f}"), "\\u{9b}2J\\u{a}\\u{7f}");
    }

    #[test]
    fn text_cannot_be_turned_around() {
        assert_eq!(terminal("gpj\u{202e}exe"), "gpj\\u{202e}exe");
        assert_eq!(terminal("a\u{200b}b\u{feff}"), "a\\u{200b}b\\u{feff}");
    }

    #[test]
    fn ordinary_text_is_borrowed() {
        assert!(matches!(terminal("vg0-wurzel größe 根"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(text in any::<String>()) {
            prop_assert!(!terminal(&text).contains(is_hidden));
        }

        #[test]
        fn escaping_twice_changes_nothing(text in any::<String>()) {
            let once = terminal(&text).into_owned();
            prop_assert_eq!(terminal(&once), once.as_str());
        }

        #[test]
        fn what_is_visible_stays(text in "[ -~äöü根]*") {
            prop_assert_eq!(terminal(&text), text.as_str());
        }
    }
}
