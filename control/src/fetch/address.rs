//! Where a URL may lead, once its name is resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Chosen, Url};

/// Whether the URL may be asked at this address.
pub fn allowed(url: &Url, chosen: Chosen, address: IpAddr) -> Result<(), String> {
    let address = address.to_canonical();
    match chosen {
        Chosen::ByOperator if url.is_https() || address.is_loopback() => Ok(()),
        Chosen::ByOperator => Err(format!(
            "is http, and {address} is another machine: whoever is between could answer; use https"
        )),
        Chosen::ByPlatform if url.is_https() || is_of_the_platform(address) => Ok(()),
        Chosen::ByPlatform => Err(format!("is http, and {address} is not on this machine or its link")),
        Chosen::ByPeer if !url.is_https() => Err("is named by a peer, and is not https".to_owned()),
        Chosen::ByPeer if !is_public(address) => {
            Err(format!("is named by a peer, and {address} is no public address"))
        }
        Chosen::ByPeer => Ok(()),
    }
}

/// Where clouds answer the machines that they run: 169.254.0.0/16, and what AWS has of IPv6 for the same.
fn is_of_the_platform(address: IpAddr) -> bool {
    address.is_loopback()
        || match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.segments()[..3] == [0xfd00, 0x0ec2, 0],
        }
}

/// Whether an address is reached over the internet. What the registries of special-purpose addresses (RFC 6890) hold back is not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b)) // shared by carriers
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99) // relays of 6to4
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || a >= 224; // multicast, reserved, broadcast
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast, less what in it is a tunnel to IPv4, documentation or a protocol's own.
    (first & 0xe000) == 0x2000
        && first != 0x2002
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_peer_may_name() {
        let check = |address: &str, expected: bool| {
            let url = Url::parse("https://idp.example/jwks").unwrap();
            let found = allowed(&url, Chosen::ByPeer, address.parse().unwrap());
            assert_eq!(found.is_ok(), expected, "{address}: {found:?}");
        };
        for public in ["8.8.8.8", "1.1.1.1", "192.88.98.1", "2606:4700::1111", "2a00:1450::1"] {
            check(public, true);
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
        ] {
            check(special, false);
        }
    }

    #[test]
    fn clear_text_stays_on_this_machine() {
        let http = Url::parse("http://idp/jwks").unwrap();
        let https = Url::parse("https://idp/jwks").unwrap();
        let (here, there) = ("127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert!(allowed(&http, Chosen::ByOperator, here).is_ok());
        assert!(allowed(&http, Chosen::ByOperator, there).is_err());
        assert!(allowed(&https, Chosen::ByOperator, there).is_ok());
        assert!(allowed(&http, Chosen::ByPeer, "8.8.8.8".parse().unwrap()).is_err());
        for (address, expected) in [
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("fd00:ec2::254", true),
            ("fd00:ec3::254", false),
            ("10.0.0.1", false),
            ("8.8.8.8", false),
        ] {
            let found = allowed(&http, Chosen::ByPlatform, address.parse().unwrap());
            assert_eq!(found.is_ok(), expected, "{address}: {found:?}");
        }
    }
}
