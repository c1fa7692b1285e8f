//! What there is to be had, and the answer to a request. Nothing here reads a socket or a clock.
//!
//! What is served of a snapshot is made when somebody asks for it the first time, and kept until the next one
//! comes: however many ask, it is made once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::feed::{Kind, Settings};
use super::guard::{self, Knows};
use super::page;
use crate::export::{self, Document};
use crate::metrics::{self, Limits};
use crate::recommend::{self, Advice, Forecasts, Origin};
use crate::snapshot::Snapshot;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What every answer says of itself, to a browser.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Without a page there is nothing that a browser could run.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// See the module.
pub struct Site {
    settings: Settings,
    policy: String,
    known: Mutex<Known>,
}

/// What was told last.
struct Known {
    picture: Option<Picture>,
    records: Option<Bytes>,
    heard: Instant,
}

/// A snapshot, and what was made of it.
struct Picture {
    /// The document, until somebody asks for something.
    told: Vec<u8>,
    whole: Views,
    /// The same without the names of who submitted I/Os.
    public: Views,
}

#[derive(Default)]
struct Views {
    read: Option<(Snapshot, Vec<Advice>)>,
    made: [Option<Bytes>; View::COUNT],
}

/// What can be made of a snapshot.
#[derive(Clone, Copy)]
enum View {
    Json,
    OpenMetrics,
    Text,
}

impl View {
    const COUNT: usize = 3;

    const fn kind(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::OpenMetrics => metrics::OPENMETRICS_TYPE,
            Self::Text => metrics::TEXT_TYPE,
        }
    }
}

type Answer = Response<Full<Bytes>>;

impl Site {
    /// With nothing known yet.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            policy: page::policy(),
            known: Mutex::new(Known {
                picture: None,
                records: None,
                heard: now,
            }),
        }
    }

    /// Takes in what is told.
    pub fn learn(&self, kind: Kind, bytes: Vec<u8>, now: Instant) {
        let mut known = self.known();
        known.heard = now;
        match kind {
            Kind::Snapshot => {
                known.picture = Some(Picture {
                    told: bytes,
                    whole: Views::default(),
                    public: Views::default(),
                });
            }
            Kind::Records => known.records = Some(bytes.into()),
            Kind::Alive => {}
        }
    }

    /// The answer to a request, at this moment.
    pub fn answer(&self, request: &Request<()>, now: Instant) -> Answer {
        let mut answer = self.unframed(request, now);
        let headers = answer.headers_mut();
        for (name, value) in ALWAYS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let no_page = HeaderValue::from_static(NO_PAGE);
        headers
            .entry(header::CONTENT_SECURITY_POLICY)
            .or_insert(no_page);
        answer
    }

    fn unframed(&self, request: &Request<()>, now: Instant) -> Answer {
        let (uri, headers) = (request.uri(), request.headers());
        if !guard::is_meant_for_us(uri, headers, &self.settings.hosts) {
            return said(
                StatusCode::MISDIRECTED_REQUEST,
                "this is not the host that was asked for; --host NAME allows another name for it",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut answer = said(
                StatusCode::METHOD_NOT_ALLOWED,
                "everything here is read only",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return answer;
        }
        let client = guard::knows(headers, self.settings.token.as_deref());
        let is_open = match client {
            Knows::Token => true,
            Knows::Nothing => !self.settings.is_closed,
            Knows::WrongToken => false,
        };
        match uri.path() {
            "/" => self.page(),
            "/healthz" => self.health(now),
            "/snapshot.json" if is_open => self.view(View::Json, client),
            "/metrics" if is_open => {
                let view = if guard::prefers_openmetrics(headers) {
                    View::OpenMetrics
                } else {
                    View::Text
                };
                let mut answer = self.view(view, client);
                let by = HeaderValue::from_static("Accept");
                answer.headers_mut().insert(header::VARY, by);
                answer
            }
            "/records" if client == Knows::Token => self.records(),
            "/metrics" | "/snapshot.json" | "/records" => self.unknown_client(),
            _ => said(
                StatusCode::NOT_FOUND,
                "there are /, /metrics, /snapshot.json, /records and /healthz",
            ),
        }
    }

    fn page(&self) -> Answer {
        let mut answer = found(
            "text/html; charset=utf-8",
            Bytes::from_static(page::TEXT.as_bytes()),
        );
        if let Ok(policy) = HeaderValue::from_str(&self.policy) {
            answer
                .headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        answer
    }

    fn health(&self, now: Instant) -> Answer {
        let known = self.known();
        if now.saturating_duration_since(known.heard) > self.settings.patience {
            return said(
                StatusCode::SERVICE_UNAVAILABLE,
                "the process that watches has said nothing for a while",
            );
        }
        if known.picture.is_none() {
            return nothing_yet();
        }
        found(TEXT, Bytes::from_static(b"ok\n"))
    }

    fn records(&self) -> Answer {
        match &self.known().records {
            Some(records) => found(JSON, records.clone()),
            None => nothing_yet(),
        }
    }

    fn view(&self, view: View, client: Knows) -> Answer {
        let mut known = self.known();
        let Some(picture) = &mut known.picture else {
            return nothing_yet();
        };
        match picture.view(view, client == Knows::Token, self.settings.is_recorded) {
            Ok(bytes) => found(view.kind(), bytes),
            Err(error) => said(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("the snapshot cannot be shown: {error}"),
            ),
        }
    }

    fn unknown_client(&self) -> Answer {
        let text = if self.settings.token.is_some() {
            "this needs the token: Authorization: Bearer TOKEN"
        } else {
            "this needs a token, and there is none: start with --token-file FILE"
        };
        let mut answer = said(StatusCode::UNAUTHORIZED, text);
        let scheme = HeaderValue::from_static("Bearer realm=\"verity-trace\"");
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        answer
    }

    /// Whoever panicked has left nothing half done.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picture {
    fn view(&mut self, view: View, is_whole: bool, is_recorded: bool) -> anyhow::Result<Bytes> {
        let views = if is_whole {
            &mut self.whole
        } else {
            &mut self.public
        };
        if let Some(made) = &views.made[view as usize] {
            return Ok(made.clone());
        }
        let (snapshot, advices) = match &mut views.read {
            Some(read) => read,
            empty => empty.insert(read(&self.told, is_whole, is_recorded)?),
        };
        let limits = Limits::default();
        let made: Bytes = match view {
            View::Json => {
                let mut json = Vec::new();
                export::json(snapshot, advices, None, &mut json)?;
                json.into()
            }
            View::OpenMetrics => metrics::openmetrics(snapshot, advices, &limits).into(),
            View::Text => metrics::text(snapshot, advices, &limits).into(),
        };
        views.made[view as usize] = Some(made.clone());
        Ok(made)
    }
}

/// What was told, and what is advised from it.
fn read(told: &[u8], is_whole: bool, is_recorded: bool) -> anyhow::Result<(Snapshot, Vec<Advice>)> {
    let document: Document<'_> = serde_json::from_slice(told)?;
    let mut snapshot = document.snapshot()?;
    if !is_whole {
        hide_submitters(&mut snapshot);
    }
    let origin = is_recorded.then(|| Origin::of(&snapshot));
    let advices = recommend::advices(&snapshot, &Forecasts::new(), origin.as_ref());
    Ok((snapshot, advices))
}

/// Every user of this machine reaches what is served to it, and is not to see what others run.
fn hide_submitters(snapshot: &mut Snapshot) {
    let other = snapshot.other.iter_mut().map(|other| &mut other.totals);
    let devices = snapshot.devices.iter_mut();
    let devices = devices.filter_map(|device| device.totals.as_mut());
    for totals in devices.chain(other) {
        totals.submitters = None;
    }
}

fn nothing_yet() -> Answer {
    said(
        StatusCode::SERVICE_UNAVAILABLE,
        "nothing is known yet; try again",
    )
}

fn found(kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn said(status: StatusCode, text: &str) -> Answer {
    let mut answer = found(TEXT, Bytes::from(format!("{text}\n")));
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TOKEN: &str = "0123456789abcdef";

    fn site(settings: Settings) -> (Site, Instant) {
        let now = Instant::now();
        let settings = Settings {
            patience: Duration::from_secs(10),
            ..settings
        };
        (Site::new(settings, now), now)
    }

    fn status(site: &Site, path: &str, token: Option<&str>, now: Instant) -> u16 {
        let mut request = Request::get(path).header("Host", "localhost");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(()).expect("a request");
        site.answer(&request, now).status().as_u16()
    }

    #[test]
    fn nothing_is_known_at_first_and_in_the_end_it_hangs() {
        let (site, now) = site(Settings::default());
        assert_eq!(status(&site, "/healthz", None, now), 503);
        assert_eq!(status(&site, "/snapshot.json", None, now), 503);
        site.learn(Kind::Snapshot, b"not JSON".to_vec(), now);
        assert_eq!(status(&site, "/snapshot.json", None, now), 500);
        assert_eq!(status(&site, "/healthz", None, now), 200);
        let later = now + Duration::from_secs(11);
        assert_eq!(status(&site, "/healthz", None, later), 503);
        site.learn(Kind::Alive, Vec::new(), later);
        assert_eq!(status(&site, "/healthz", None, later), 200);
        assert_eq!(status(&site, "/", None, now), 200);
        assert_eq!(status(&site, "/x", None, now), 404);
    }

    #[test]
    fn records_need_the_token_and_off_this_machine_so_does_everything_that_is_known() {
        let token = Some(TOKEN.to_owned());
        for is_closed in [false, true] {
            let (site, now) = site(Settings {
                token: token.clone(),
                is_closed,
                ..Settings::default()
            });
            site.learn(Kind::Records, b"{}".to_vec(), now);
            let unknown = if is_closed { 401 } else { 503 };
            assert_eq!(status(&site, "/snapshot.json", None, now), unknown);
            assert_eq!(status(&site, "/snapshot.json", Some(TOKEN), now), 503);
            assert_eq!(status(&site, "/snapshot.json", Some("wrong"), now), 401);
            assert_eq!(status(&site, "/records", None, now), 401);
            assert_eq!(status(&site, "/records", Some("wrong"), now), 401);
            assert_eq!(status(&site, "/records", Some(TOKEN), now), 200);
            assert_eq!(status(&site, "/", None, now), 200);
        }
        let (site, now) = site(Settings::default());
        site.learn(Kind::Records, b"{}".to_vec(), now);
        assert_eq!(status(&site, "/records", Some(""), now), 401);
        assert_eq!(status(&site, "/records", None, now), 401);
    }
}
