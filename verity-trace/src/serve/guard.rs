//! Who may see what: plain functions of a request's headers.

use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap};
use hyper::http::uri::{Authority, Uri};
use subtle::ConstantTimeEq as _;

/// What a request says of who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knows {
    /// The token.
    Token,
    /// Some other one.
    WrongToken,
    /// It says nothing.
    Nothing,
}

/// Whether somebody knows the token, where there is one.
pub fn knows(headers: &HeaderMap, token: Option<&str>) -> Knows {
    let Some(given) = headers.get(AUTHORIZATION) else {
        return Knows::Nothing;
    };
    let given = given.as_bytes();
    let bearer = given
        .split_at_checked("Bearer ".len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    match (bearer, token) {
        (Some((_, given)), Some(token)) if given.ct_eq(token.as_bytes()).into() => Knows::Token,
        _ => Knows::WrongToken,
    }
}

/// Whether a request is meant for this machine. A page of somebody else's, whose name leads here by now, is
/// called by that name; an address cannot be made to lead elsewhere.
pub fn is_meant_for_us(uri: &Uri, headers: &HeaderMap, names: &[String]) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    is_ours(&host, names) && uri.authority().is_none_or(|it| is_ours(it, names))
}

fn is_ours(authority: &Authority, names: &[String]) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Whether a client would rather have `OpenMetrics` than the older text, as Prometheus says it would.
pub fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let (mut openmetrics, mut text) = (None, None);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        let weight = weight.unwrap_or(1.0);
        let best = match kind {
            "application/openmetrics-text" => &mut openmetrics,
            "text/plain" | "text/*" | "*/*" => &mut text,
            _ => continue,
        };
        *best = Some(best.unwrap_or(0.0_f32).max(weight));
    }
    openmetrics.is_some_and(|it| it > 0.0 && it >= text.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(all: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).expect("a value");
        let all = all.iter().map(|(name, text)| (name.clone(), value(text)));
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn the_token_is_known_or_not() {
        let token = Some("0123456789abcdef");
        for (given, expected) in [
            (None, Knows::Nothing),
            (Some("Bearer 0123456789abcdef"), Knows::Token),
            (Some("bearer 0123456789abcdef"), Knows::Token),
            (Some("Bearer 0123456789abcde"), Knows::WrongToken),
            (Some("Bearer 0123456789abcdef "), Knows::WrongToken),
            (Some("Bearer "), Knows::WrongToken),
            (Some("Basic 0123456789abcdef"), Knows::WrongToken),
            (Some(""), Knows::WrongToken),
        ] {
            let headers = given.map(|given| headers(&[(AUTHORIZATION, given)]));
            let headers = headers.unwrap_or_default();
            assert_eq!(knows(&headers, token), expected, "{given:?}");
            assert_ne!(knows(&headers, None), Knows::Token, "{given:?}");
        }
    }

    #[test]
    fn another_name_is_not_meant_for_us() {
        let names = ["db1.example".to_owned()];
        let is_meant = |host: &str, uri: &str| {
            let uri = uri.parse().expect("an address");
            is_meant_for_us(&uri, &headers(&[(HOST, host)]), &names)
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:9466",
            "[::1]:9466",
            "localhost",
            "LOCALHOST:1",
            "192.0.2.7:9466",
            "db1.example:9466",
        ] {
            assert!(is_meant(host, "/"), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9466",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "db1.example.evil.example",
            "a b",
            "user@evil.example",
        ] {
            assert!(!is_meant(host, "/"), "{host}");
        }
        assert!(is_meant("localhost", "http://localhost/metrics"));
        assert!(!is_meant("localhost", "http://evil.example/metrics"));
        let two = headers(&[(HOST, "localhost"), (HOST, "evil.example")]);
        assert!(!is_meant_for_us(&Uri::from_static("/"), &two, &names));
        let none = HeaderMap::new();
        assert!(!is_meant_for_us(&Uri::from_static("/"), &none, &names));
    }

    #[test]
    fn prometheus_gets_openmetrics_and_a_browser_text() {
        for (accept, expected) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), false),
            (Some("application/openmetrics-text"), true),
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
                ),
                true,
            ),
            (
                Some("text/plain, application/openmetrics-text;q=0.5"),
                false,
            ),
            (Some("application/openmetrics-text;q=0"), false),
        ] {
            let headers = accept.map(|accept| headers(&[(ACCEPT, accept)]));
            let prefers = prefers_openmetrics(&headers.unwrap_or_default());
            assert_eq!(prefers, expected, "{accept:?}");
        }
    }
}
