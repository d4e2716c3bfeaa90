//! Against DNS rebinding: a page in a browser may make any name point at 127.0.0.1, but it cannot
//! choose the `Host` and `Origin` that the browser then sends. What listens on loopback without a token
//! answers only to names that mean loopback, or to the address it was told to listen on.

use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// Does a request name this machine, and no foreign origin?
pub fn is_local(headers: &HeaderMap) -> bool {
    admits(headers, &[])
}

/// As [`is_local`], with further names of ours, lower case and without port.
pub fn admits(headers: &HeaderMap, ours: &[String]) -> bool {
    let known = |authority: &str| {
        let name = name_of(authority).to_ascii_lowercase();
        is_loopback(&name) || ours.contains(&name)
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let origins = headers.get_all(header::ORIGIN);
    host.to_str().is_ok_and(known)
        && origins.iter().all(|origin| {
            let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
            authority.is_some_and(|(_, authority)| known(authority))
        })
}

/// `host`, `host:port` and `[v6]:port` without port and brackets.
pub fn name_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(name, _)| name);
    }
    match authority.rsplit_once(':') {
        // More than one colon: an IPv6 address without brackets.
        Some((name, _)) if !name.contains(':') => name,
        _ => authority,
    }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(admits(&headers, &["10.0.0.5".into()]), expected, "{host} {origin:?}");
    }

    #[test]
    fn only_our_names_are_admitted() {
        for host in [
            "localhost",
            "localhost:8081",
            "127.0.0.1:1",
            "[::1]:8081",
            "LocalHost",
            "a.localhost",
            "10.0.0.5:1",
        ] {
            check(host, None, true);
        }
        for host in
            ["evil.example", "evil.example:8081", "10.0.0.6", "127.0.0.1.evil.example", "localhost.evil", ""]
        {
            check(host, None, false);
        }
        check("localhost", Some("http://localhost:3000"), true);
        check("localhost", Some("http://127.0.0.1"), true);
        check("localhost", Some("https://evil.example"), false);
        check("localhost", Some("null"), false);
    }

    #[test]
    fn one_host_is_expected() {
        let mut headers = HeaderMap::new();
        assert!(!is_local(&headers));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(is_local(&headers));
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(!is_local(&headers));
    }
}
