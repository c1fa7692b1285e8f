//! The style sheet, and the policy that lets a browser use it and nothing else.

/// The style sheet, between its tags.
pub const TEXT: &str = include_str!("style.css");

/// SHA-256 of it, in base64, as the test below says.
const HASH: &str = "Ic1LTmY1i084FmHjOej7BC39l9a2rPXWFiefZ2gwVAI=";

/// Nothing is loaded, run or sent anywhere, and no other style is used.
pub fn policy() -> String {
    format!("default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; form-action 'none'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn the_hash_is_that_of_the_style_sheet() {
        assert_eq!(HASH, base64(&Sha256::digest(TEXT)));
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let number = (0..3).fold(0, |number, at| {
                number << 8 | usize::from(three.get(at).copied().unwrap_or(0))
            });
            for at in 0..4 {
                let digit = DIGITS[number >> (18 - 6 * at) & 63];
                text.push(if at <= three.len() {
                    char::from(digit)
                } else {
                    '='
                });
            }
        }
        text
    }
}
