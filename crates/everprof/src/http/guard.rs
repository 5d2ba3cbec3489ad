//! Who may ask: the Host header, and the bearer token where there is one.
//!
//! A page in a browser on this machine may send requests to any loopback port,
//! and by rebinding its own name to 127.0.0.1 may read the answers. Its requests
//! still carry that name as their Host, so a name that is not ours is refused.
//!
//! Context: cold. Invariant: a host that is neither an address nor known as ours is
//! refused; the time that a comparison takes tells nothing of the token.

use std::fmt;
use std::net::IpAddr;

/// A secret that a request must show as `Authorization: Bearer …`.
#[derive(Clone)]
pub(crate) struct Token(Vec<u8>);

impl Token {
    pub(crate) fn new(token: impl Into<String>) -> Self {
        Self(token.into().into_bytes())
    }

    /// Whether the value of an `Authorization` header shows this token.
    ///
    /// The time it takes depends on the length of what is shown, not on how
    /// much of it is right.
    pub(super) fn is_shown_by(&self, authorization: Option<&str>) -> bool {
        let Some((scheme, shown)) = authorization.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case("bearer") {
            return false;
        }
        let shown = shown.trim_matches(' ').as_bytes();
        let mut differs = shown.len() ^ self.0.len();
        for (i, byte) in shown.iter().enumerate() {
            // A token of no bytes admits nobody, as `differs` is then not 0.
            let ours = self.0.get(i % self.0.len().max(1)).copied().unwrap_or(0);
            // Opaque, so that the loop is not made to end at the first difference.
            differs |= usize::from(std::hint::black_box(byte ^ ours));
        }
        differs == 0 && !self.0.is_empty()
    }
}

/// Says that there is one, not which.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The hosts that a server answers for.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    /// Names that the program says are its own.
    pub(super) named: Vec<String>,
    /// The address it is bound to.
    pub(super) bound: Option<IpAddr>,
    /// It serves other machines, which know it by any of its addresses. (An
    /// address needs no rebinding guard: only names can be rebound.)
    pub(super) any_address: bool,
}

impl Hosts {
    /// Whether a Host header (or the authority of a request's target) is ours.
    pub(super) fn include(&self, host: &str) -> bool {
        let name = without_port(host.trim());
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.any_address || address.is_loopback() || self.bound == Some(address);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case("localhost")
            || self
                .named
                .iter()
                .any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => "",
        };
    }
    match host.rsplit_once(':') {
        // More than one colon and no brackets: an IPv6 address without a port.
        Some((name, _)) if !name.contains(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_the_whole_token_admits() {
        let token = Token::new("s3cret");
        assert!(token.is_shown_by(Some("Bearer s3cret")));
        assert!(token.is_shown_by(Some("bearer s3cret ")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cre",
            "Bearer s3crets",
            "Basic s3cret",
        ] {
            assert!(!token.is_shown_by(Some(wrong)), "{wrong:?}");
        }
        assert!(!token.is_shown_by(Some("Bearer s3crets3cret")));
        assert!(!token.is_shown_by(None));
        assert!(!Token::new("").is_shown_by(Some("Bearer ")));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn loopback_is_ours_under_all_its_names() {
        let hosts = Hosts::default();
        for ours in [
            "localhost",
            "LOCALHOST:6060",
            "localhost.:1",
            "127.0.0.1",
            "127.0.0.1:6060",
            "127.9.9.9",
            "[::1]",
            "[::1]:6060",
            "::1",
        ] {
            assert!(hosts.include(ours), "{ours}");
        }
    }

    #[test]
    fn a_rebound_name_is_not_ours() {
        let hosts = Hosts {
            bound: Some("10.0.0.7".parse().unwrap()),
            ..Hosts::default()
        };
        for other in [
            "evil.example",
            "evil.example:6060",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":",
            "[",
            "[::1",
            "[::1]x",
            "10.0.0.8",
            "0",
            "2130706433",
            "localhost:1:2",
        ] {
            assert!(!hosts.include(other), "{other}");
        }
        assert!(hosts.include("10.0.0.7:6060"));
    }

    #[test]
    fn names_and_addresses_can_be_added() {
        let hosts = Hosts {
            named: vec!["pod.svc".into()],
            any_address: true,
            ..Hosts::default()
        };
        assert!(
            hosts.include("POD.svc:80") && hosts.include("10.1.2.3") && hosts.include("[fe80::1]")
        );
        assert!(!hosts.include("evil.example"));
    }
}
