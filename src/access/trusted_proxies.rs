//! Which address is the client's when a connection comes from a proxy.

use std::net::IpAddr;

use super::list::{members, trim};
use super::{HostAddress, Network};

/// The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustedProxies {
    /// No proxy.
    #[default]
    None,
    /// The nearest proxies, this many.
    Hops(usize),
    /// The proxies with an address in these networks.
    Networks(Vec<Network>),
    /// Every proxy: the first address in the list is the client's, no matter which proxy wrote it.
    All,
}

impl TrustedProxies {
    /// Returns whether no proxy is trusted, so that a connection's address is the client's.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the client's address: the nearest address that is not a trusted proxy's.
    ///
    /// `peer` is the connection's address, `None` over a pipe. `forwarded` are the lines of `X-Forwarded-For`, in order.
    /// A member that is not an address ends the search, because the origin of what precedes it is unknown; the address
    /// found so far is then the client's.
    pub fn client<'v, V: AsRef<[u8]> + ?Sized + 'v>(
        &self,
        peer: Option<HostAddress>,
        forwarded: impl DoubleEndedIterator<Item = &'v V>,
    ) -> Option<HostAddress> {
        let mut client = peer.map(HostAddress::to_canonical);
        let mut forwarded = forwarded.rev().flat_map(|line| members(line.as_ref()).rev());
        let mut hops = 0;
        while self.trusts(client.map(HostAddress::ip), hops) {
            let Some(Some(next)) = forwarded.next().map(parse_forwarded) else { break };
            (client, hops) = (Some(next.to_canonical().into()), hops + 1);
        }
        client
    }

    /// Returns whether the client's connection is encrypted.
    ///
    /// `is_tls` says so of the connection from `peer`. `forwarded` are the lines of `X-Forwarded-Proto`, whose first
    /// member counts. Lines that contradict each other come from different proxies: the connection then counts as not
    /// encrypted.
    pub fn is_secure<'v, V: AsRef<[u8]> + ?Sized + 'v>(
        &self,
        peer: Option<HostAddress>,
        is_tls: bool,
        forwarded: impl Iterator<Item = &'v V>,
    ) -> bool {
        if !self.trusts(peer.map(|peer| peer.to_canonical().ip()), 0) {
            return is_tls;
        }
        let mut schemes = forwarded.filter_map(|line| members(line.as_ref()).next()).map(|scheme| {
            // Some proxies send the WebSocket scheme.
            match scheme.to_ascii_lowercase().as_slice() {
                b"https" | b"wss" => true,
                b"http" | b"ws" => false,
                _ => is_tls,
            }
        });
        schemes.next().map_or(is_tls, |first| first && schemes.all(|scheme| scheme))
    }

    /// Returns whether a connection over a pipe counts as a trusted proxy's.
    pub fn trusts_pipes(&self) -> bool {
        self.trusts(None, 0)
    }

    fn trusts(&self, address: Option<IpAddr>, hops: usize) -> bool {
        match self {
            Self::None => false,
            Self::Hops(number) => hops < *number,
            Self::Networks(networks) => {
                address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            Self::All => true,
        }
    }
}

/// Parses an address as proxies write it: also in brackets, with a port, or with a zone, which is ignored because it
/// names an interface of another machine.
fn parse_forwarded(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(trim(text)).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match text.split_once(':') {
            // More than one colon: an IPv6 address.
            Some((host, port)) if !port.contains(':') => (host, &text[host.len()..]),
            _ => (text, ""),
        },
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let host = match host.split_once('%') {
        Some((host, zone)) => host.parse().ok().filter(|_| !zone.is_empty()).map(IpAddr::V6),
        None => host.parse().ok(),
    };
    host.filter(|_| is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn finds_the_nearest_address_that_is_not_trusted() {
        let networks = TrustedProxies::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        for (trust, values, client) in [
            (TrustedProxies::None, &["1.1.1.1"][..], "10.0.0.1"),
            (TrustedProxies::All, &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (TrustedProxies::All, &["1.1.1.1", "2.2.2.2"], "1.1.1.1"),
            (TrustedProxies::All, &[], "10.0.0.1"),
            (TrustedProxies::All, &["nonsense, 2.2.2.2"], "2.2.2.2"),
            (TrustedProxies::All, &[""], "10.0.0.1"),
            (TrustedProxies::All, &["1.1.1.1, nonsense, 2.2.2.2"], "2.2.2.2"),
            (TrustedProxies::All, &["1.1.1.1, ,", "", "2.2.2.2,"], "1.1.1.1"),
            (TrustedProxies::All, &["[2001:db8::1]:80"], "2001:db8::1"),
            (TrustedProxies::All, &["1.1.1.1:1234"], "1.1.1.1"),
            (TrustedProxies::Hops(0), &["1.1.1.1"], "10.0.0.1"),
            (TrustedProxies::Hops(1), &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            (TrustedProxies::Hops(2), &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (TrustedProxies::Hops(9), &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (networks.clone(), &["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1"),
            (networks.clone(), &["6.6.6.6", "1.1.1.1,10.2.2.2"], "1.1.1.1"),
            (networks, &["10.3.3.3"], "10.3.3.3"),
        ] {
            assert_eq!(
                trust.client(Some(ip("10.0.0.1").into()), values.iter().copied()),
                Some(ip(client).into()),
                "{trust:?} {values:?}"
            );
        }
        let untrusted = TrustedProxies::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        let client = untrusted.client(Some(ip("9.9.9.9").into()), ["1.1.1.1"].into_iter());
        assert_eq!(client, Some(ip("9.9.9.9").into()));
        // A pipe has no address, but its other end may be a proxy.
        for (trust, client) in [
            (TrustedProxies::Hops(1), Some(ip("1.1.1.1").into())),
            (untrusted, None),
            (TrustedProxies::None, None),
        ] {
            assert_eq!(trust.client(None, ["1.1.1.1"].into_iter()), client, "{trust:?}");
        }
    }

    #[test]
    fn believes_the_scheme_of_a_trusted_proxy_only() {
        let networks = TrustedProxies::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        for (value, secure) in [
            ("https", Some(true)),
            ("WSS", Some(true)),
            (" https , http", Some(true)),
            ("http", Some(false)),
            ("ws", Some(false)),
            ("http, https", Some(false)),
            ("", None),
            ("nonsense", None),
        ] {
            for is_tls in [false, true] {
                let by = |trust: &TrustedProxies, peer| {
                    trust.is_secure(Some(ip(peer).into()), is_tls, [value].into_iter())
                };
                for trust in [&TrustedProxies::All, &TrustedProxies::Hops(1), &networks] {
                    assert_eq!(by(trust, "::ffff:10.0.0.1"), secure.unwrap_or(is_tls), "{trust:?} {value}");
                }
                for trust in [&TrustedProxies::None, &TrustedProxies::Hops(0), &networks] {
                    assert_eq!(by(trust, "9.9.9.9"), is_tls, "{trust:?} {value}");
                }
            }
        }
        let by = |is_tls, lines: &[&'static str]| {
            TrustedProxies::All.is_secure(None, is_tls, lines.iter().copied())
        };
        assert!(by(false, &["https"]) && by(false, &["", "https, http"]) && by(true, &[]));
        // It is unknown which proxy wrote which line.
        assert!(!by(false, &[]) && !by(true, &["https", "http"]) && !by(true, &["http", "https"]));
        assert!(!TrustedProxies::All.is_secure(None, false, [&b"https\xFF"[..], b"https"].into_iter()));
    }

    #[test]
    fn stops_at_a_member_that_is_not_an_address() {
        let loopback = TrustedProxies::Networks(vec![Network::parse("127.0.0.1/8").expect("a network")]);
        let (real, near) = ("203.0.113.9", "127.0.0.1");
        for odd in [
            &b"\xFF"[..],
            b"\x80\xC3",
            b"unknown",
            b"_hidden",
            b"unix:",
            b"1.2.3.4.5",
            b"1.2.3",
            b"010.1.1.1",
            b"[::1",
            b"::1]",
            b"[]",
            b"[1.2.3.4]x",
            b"1.2.3.4:",
            b"1.2.3.4:x",
            b"1.2.3.4:65536",
            b"[::1]:x",
            b"1.2.3.4%eth0",
            b"fe80::1%",
            b"\"1.2.3.4\"",
            b"1.2.3.4 5.6.7.8",
            b"for=1.2.3.4",
            b"::ffff:1.2.3.4.5",
            b"\x001.2.3.4",
            b"1.2.3.4\xA0",
        ] {
            let line = |text: &[&[u8]]| text.concat();
            for (lines, client) in [
                // The proxy appends the last address to whatever the client sent.
                (vec![line(&[odd, b", ", real.as_bytes()])], real),
                (vec![odd.to_vec(), real.as_bytes().to_vec()], real),
                (vec![line(&[b"6.6.6.6,", odd, b",,", real.as_bytes(), b" ,"]), b"\t".to_vec()], real),
                (vec![line(&[odd, b",", real.as_bytes(), b",127.0.0.2"])], real),
                // Members before the odd one may have been sent by the client itself.
                (vec![odd.to_vec()], near),
                (vec![line(&[b"6.6.6.6, ", odd])], near),
                (vec![line(&[b"6.6.6.6, ", odd, b",127.0.0.2"])], "127.0.0.2"),
            ] {
                let counts = loopback.client(Some(ip(near).into()), lines.iter());
                assert_eq!(counts, Some(ip(client).into()), "{lines:?}");
                let none = TrustedProxies::Hops(1).client(None, [odd].into_iter());
                assert_eq!(none, None, "{odd:?}");
            }
        }
        let many = [",".repeat(8000).as_bytes(), b"203.0.113.9", ",".repeat(8000).as_bytes()].concat();
        assert_eq!(loopback.client(Some(ip(near).into()), [&many].into_iter()), Some(ip(real).into()));
    }

    #[test]
    fn parses_addresses_as_proxies_write_them() {
        for (text, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:1234", "1.2.3.4"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:80", "fe80::1"),
        ] {
            let client = TrustedProxies::Hops(1).client(Some(ip("127.0.0.1").into()), [text].into_iter());
            assert_eq!(client, Some(ip(expected).into()), "{text}");
        }
    }
}
