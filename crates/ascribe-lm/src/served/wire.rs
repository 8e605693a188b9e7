//! One endpoint over HTTP: what is sent, what comes back, and in words what went wrong.
//!
//! The key is sent in one header and stands in no message: what a server says is searched for it first. No redirect is
//! followed, so it goes to no other address; a loopback address is asked directly, whatever proxy the environment names.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, Response, Uri};
use ureq::{Agent, Body, RequestBuilder};

use super::ServedOptions;
use crate::LmError;

/// Largest answer. The log-probabilities of a whole vocabulary take some 20 MB.
const MOST_BYTES: u64 = 256 << 20;

/// Characters of a server's own words that a message repeats.
const QUOTED: usize = 300;

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Fault {
    /// What happened, and what to do.
    pub(super) why: String,
    pub(super) cure: Cure,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Time: as much as the server asked for, if it did.
    Wait(Option<Duration>),
    /// Nothing: the same request will fail again.
    Nothing,
}

impl Fault {
    /// It may not happen again.
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), cure: Cure::Wait(None) }
    }

    /// It will happen again.
    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), cure: Cure::Nothing }
    }
}

/// A connection to one endpoint.
pub(super) struct Wire {
    /// The address without `/v1`.
    pub(super) address: String,
    agent: Agent,
    key: Option<Key>,
    key_variable: String,
}

struct Key {
    text: String,
    header: HeaderValue,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Connections to all endpoints; nothing is sent yet.
pub(super) fn open(options: &ServedOptions) -> Result<Vec<Wire>, LmError> {
    options.check()?;
    let key = options.key()?;
    options.endpoints.iter().map(|address| Wire::open(address, key.as_deref(), options)).collect()
}

impl Wire {
    fn open(address: &str, key: Option<&str>, options: &ServedOptions) -> Result<Self, LmError> {
        // What stands before an @ may be a password.
        let shown = address.rsplit('@').next().unwrap_or_default().to_owned();
        let refuse = |why: &str| LmError::Endpoint { endpoint: shown.clone(), why: why.into() };
        if address.contains('@') {
            return Err(refuse("a name or a password has no place in an address; put the key into the environment"));
        }
        let base = address.trim().trim_end_matches('/');
        let base = base.strip_suffix("/v1").unwrap_or(base).trim_end_matches('/');
        let uri = base.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).filter(|host| !host.is_empty());
        let http = base.starts_with("http://") || base.starts_with("https://");
        let (Some(host), true, false) = (host, http, base.contains(['?', '#'])) else {
            return Err(refuse("an address is http:// or https://, a host, and perhaps a port and a path"));
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("ascribe/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(options.concurrency)
            .max_idle_connections_per_host(options.concurrency);
        let config = if is_loopback(host) { config.proxy(None) } else { config };
        let key = match key {
            None => None,
            Some(text) => {
                let mut header = HeaderValue::from_str(&format!("Bearer {text}"))
                    .map_err(|_| refuse("the key holds characters that no header can carry; look for a line break"))?;
                header.set_sensitive(true);
                Some(Key { text: text.to_owned(), header })
            }
        };
        let (address, key_variable) = (base.to_owned(), options.key_variable.clone());
        Ok(Self { address, agent: Agent::new_with_config(config.build()), key, key_variable })
    }

    /// What stands at `path`.
    pub(super) fn get(&self, path: &str, within: Duration) -> Result<Value, Fault> {
        let request = self.agent.get(self.url(path)).config().timeout_global(Some(within)).build();
        let sent = self.signed(request).call();
        self.json(sent, within)
    }

    /// The answer to `body`.
    pub(super) fn post(&self, path: &str, body: &Value, within: Duration) -> Result<Value, Fault> {
        self.json(self.send(path, body, within), within)
    }

    /// Gives every event of the answer to `take`, until the stream says that it is over.
    pub(super) fn stream(
        &self,
        path: &str,
        body: &Value,
        within: Duration,
        take: &mut dyn FnMut(&Value) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let response = self.accepted(self.send(path, body, within), within)?;
        let mut lines = BufReader::new(response.into_body().into_with_config().limit(MOST_BYTES).reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).map_err(|error| failed(&ureq::Error::from(error), within))?;
            if read == 0 {
                return Err(Fault::passing("closed the stream before its end; see the server's log"));
            }
            // Empty lines, comments and the names of events.
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                return Ok(());
            }
            let event = parsed(data)?;
            if event.get("error").is_some() {
                let said = self.said(data);
                return Err(Fault::passing(format!("failed in the middle of its answer{said}; see the server's log")));
            }
            take(&event)?;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    fn send(&self, path: &str, body: &Value, within: Duration) -> Result<Response<Body>, ureq::Error> {
        let request = self.agent.post(self.url(path)).config().timeout_global(Some(within)).build();
        let request = self.signed(request).header(CONTENT_TYPE, "application/json");
        request.send(body.to_string())
    }

    fn signed<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, key.header.clone()),
            None => request,
        }
    }

    fn json(&self, sent: Result<Response<Body>, ureq::Error>, within: Duration) -> Result<Value, Fault> {
        let response = self.accepted(sent, within)?;
        let body = response.into_body().into_with_config().limit(MOST_BYTES).read_to_vec();
        parsed(&body.map_err(|error| failed(&error, within))?)
    }

    /// The response, if its status says that the request was understood and done.
    fn accepted(&self, sent: Result<Response<Body>, ureq::Error>, within: Duration) -> Result<Response<Body>, Fault> {
        let response = sent.map_err(|error| failed(&error, within))?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        let wait = retry_after(response.headers(), SystemTime::now());
        // The status says enough, whatever becomes of the words.
        let body = response.into_body().into_with_config().limit(MOST_BYTES).read_to_vec().unwrap_or_default();
        let said = self.said(&body);
        let variable = &self.key_variable;
        Err(match (status, &self.key) {
            (401 | 403, Some(_)) => {
                Fault::lasting(format!("refuses the key ({status}){said}; put the right one into {variable}"))
            }
            (401 | 403, None) => Fault::lasting(format!("asks for a key ({status}){said}; put it into {variable}")),
            (404, _) => Fault::lasting(format!("has no such thing (404){said}; check address and name of the model")),
            (300..=399, _) => Fault::lasting(format!("points to another address ({status}); give that one")),
            (429, _) => Fault {
                why: format!("is asked too much (429){said}; lower the concurrency, or come back later"),
                cure: Cure::Wait(wait),
            },
            (408 | 500 | 502..=599, _) => Fault {
                why: format!("failed ({status}){said}; see the server's log, or ask for less at once"),
                cure: Cure::Wait(wait),
            },
            _ => Fault::lasting(format!("refuses the request ({status}){said}")),
        })
    }

    /// What a server says about an error, without the key, behind a colon.
    fn said(&self, body: &[u8]) -> String {
        let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
        let places = ["/error/message", "/error", "/message", "/detail"];
        let message = places.iter().find_map(|place| answer.pointer(place)?.as_str());
        let message = message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
        let message = match &self.key {
            Some(key) => message.replace(&key.text, "[the key]"),
            None => message,
        };
        let words: Vec<&str> = message.split_whitespace().collect();
        match words.is_empty() {
            true => String::new(),
            false => format!(": {}", words.join(" ").chars().take(QUOTED).collect::<String>()),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parsed(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        let bytes = body.len();
        Fault::passing(format!("answered with {bytes} bytes that are no whole JSON ({error}); see the server's log"))
    })
}

fn failed(error: &ureq::Error, within: Duration) -> Fault {
    Fault::passing(match error {
        ureq::Error::Timeout(_) => format!(
            "gave no whole answer within {:.1} s; allow more time (timeout), or ask for less at once",
            within.as_secs_f64()
        ),
        ureq::Error::HostNotFound => "there is no such host; check the address".into(),
        ureq::Error::Io(io) if io.kind() == ErrorKind::ConnectionRefused => {
            "nothing listens there; start the server, or check the port".into()
        }
        other => format!("the connection failed ({other}); is the server still running?"),
    })
}

/// How long a server asks to wait: seconds, or a date as RFC 9110 has them.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = http_date(text)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(at.saturating_sub(now)))
}

/// Seconds from 1970 to a date such as `Wed, 21 Oct 2015 07:28:00 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    let clock: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let &[hours, minutes, seconds] = clock.as_slice() else { return None };
    if !((1970..=9999).contains(&year) && (1..=31).contains(&day) && hours < 24 && minutes < 60 && seconds < 61) {
        return None;
    }
    // Leap days up to the end of a year.
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leaps(year) > leaps(year - 1);
    let leap_days = leaps(year - 1) - leaps(1969) + u64::from(is_leap && month > 1);
    let days = (year - 1970) * 365 + leap_days + DAYS_BEFORE[month] + day - 1;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(address: &str) -> Result<Wire, LmError> {
        Wire::open(address, Some("sk-secret"), &ServedOptions::default())
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        // 45 years with 11 leap days (1972 to 2012) are 16 436 days; 273 days to October and 20 more to the 21st: 16 729.
        // 16 729 * 86 400 + 7 h 28 min = 1 445 385 600 + 26 880.
        assert_eq!(http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480));
        // 2000 is a leap year: 30 years with 7 leap days are 10 957 days, and 60 to the first of March.
        assert_eq!(http_date("Wed, 01 Mar 2000 00:00:00 GMT"), Some((10_957 + 60) * 86_400));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1));
        for wrong in
            ["", "soon", "Wed, 21 Oct 2015 07:28:00", "Wed, 21 Okt 2015 07:28:00 GMT", "x, 0 Jan 2000 0:0:0 GMT"]
        {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(&headers, UNIX_EPOCH + Duration::from_secs(1_445_412_470))
        };
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        for wrong in ["-1", "NaN", "inf", "later"] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), UNIX_EPOCH), None);
    }

    #[test]
    fn addresses_are_plain_and_the_version_may_be_left_out() {
        for address in ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"] {
            assert_eq!(opened(address).unwrap().url("/v1/models"), "http://a:1/v1/models", "{address}");
        }
        assert_eq!(opened("https://a/api/v1").unwrap().address, "https://a/api");
        for address in ["", "a:1", "ftp://a", "http://", "http://a?key=b", "http://a#b", "http://a b"] {
            assert!(matches!(opened(address), Err(LmError::Endpoint { .. })), "{address}");
        }
        let refused = opened("http://me:secret@a:1").unwrap_err().to_string();
        assert!(refused.contains("a:1") && !refused.contains("secret"), "{refused}");
    }

    #[test]
    fn loopback_is_told_by_its_address() {
        assert!(["localhost", "127.0.0.1", "127.1.2.3", "[::1]"].into_iter().all(is_loopback));
        assert!(!["10.0.0.1", "example.org", "[::2]", "localhost.example.org"].into_iter().any(is_loopback));
    }

    #[test]
    fn words_of_a_server_are_short_and_without_the_key() {
        let wire = opened("http://a:1").unwrap();
        assert_eq!(wire.said(br#"{"error": {"message": "wrong key:\n sk-secret"}}"#), ": wrong key: [the key]");
        assert_eq!(wire.said(br#"{"error": "no"}"#), ": no");
        assert_eq!(wire.said(br#"{"detail": "none"}"#), ": none");
        assert_eq!(wire.said(b"<html>"), ": <html>");
        assert_eq!(wire.said(b""), "");
        assert_eq!(wire.said(&[b'x'; 1000]).len(), ": ".len() + QUOTED);
        assert!(!format!("{wire:?}").contains("secret"));
    }
}
