//! The page for a browser, and the policy that lets it use what is in it and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The page.
pub const TEXT: &str = include_str!("../../../dashboards/page.html");

/// Nothing is loaded but snapshots from where the page is from, and no other script or style is used.
pub fn policy() -> String {
    let [script, style] =
        ["script", "style"].map(|tag| STANDARD.encode(Sha256::digest(within(tag))));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// What is between the tags of an element that there is one of; empty where there is none.
fn within(tag: &str) -> &'static str {
    let part = TEXT.split_once(&format!("<{tag}>"));
    let part = part.and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
    part.map_or("", |(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_script_and_one_style_and_nothing_else_that_does_something() {
        for tag in ["script", "style"] {
            assert!(!within(tag).is_empty());
            assert_eq!(TEXT.matches(&format!("<{tag}")).count(), 1, "{tag}");
        }
        let markup = TEXT.replace(within("script"), "");
        for active in [
            " on", "style=", "src=", "href=", "http:", "https:", "url(", "@import",
        ] {
            let found = markup
                .find(active)
                .map(|at| &markup[at..(at + 30).min(markup.len())]);
            assert!(active == " on" || found.is_none(), "{active}: {found:?}");
        }
        // What a name is may be anything: it is never markup.
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!within("script").contains(sink), "{sink}");
        }
    }
}
