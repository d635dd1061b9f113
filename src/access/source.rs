//! Where a connection comes from, as far as it can be believed.

use std::net::{IpAddr, Ipv6Addr};

/// What is counted as one place: an IPv4 address, or the /64 of an IPv6 one, all of which one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

impl Source {
    /// The network around it: of an IPv6 one the /48, which is as much as anybody is given.
    pub fn network(self) -> Self {
        Self(match self.0 {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).into(),
            v4 => v4,
        })
    }
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// `address` or `address/prefix`; `None` for what is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u8 =
            prefix.map_or(Some(longest), |prefix| prefix.parse().ok()).filter(|prefix| *prefix <= longest)?;
        Some(match address.to_canonical() {
            // Of a mapped address the last 32 bits are the IPv4 one.
            IpAddr::V4(v4) if address.is_ipv6() => {
                Self { address: v4.into(), prefix: prefix.saturating_sub(96) }
            }
            _ => Self { address, prefix },
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Which proxies are believed when they say for whom they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// None.
    #[default]
    Nobody,
    /// So many, counted from here.
    Hops(usize),
    /// Those in these networks.
    Networks(Vec<Network>),
    /// All: the first address counts, whoever wrote it.
    Everybody,
}

impl Trust {
    /// Whether the address of a connection is that of the client.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// The client's address: the nearest one that is no proxy that is believed. `forwarded` are the values of
    /// `X-Forwarded-For`, in order. What is no address ends the list. A `peer` without one has come over a pipe.
    pub fn client<'v>(
        &self,
        peer: Option<IpAddr>,
        forwarded: impl DoubleEndedIterator<Item = &'v str>,
    ) -> Option<IpAddr> {
        let mut client = peer.map(|peer| peer.to_canonical());
        let mut before = forwarded.rev().flat_map(|value| value.rsplit(','));
        let mut hops = 0;
        while self.trusts(client, hops) {
            let Some(Some(next)) = before.next().map(|text| address(text.trim())) else { break };
            (client, hops) = (Some(next.to_canonical()), hops + 1);
        }
        client
    }

    /// Whether the client's connection is TLS, when that from `peer` is or is not. `forwarded` is `X-Forwarded-Proto`, of
    /// which the first value counts.
    pub fn is_secure(&self, peer: Option<IpAddr>, is_tls: bool, forwarded: Option<&str>) -> bool {
        let peer = peer.map(|peer| peer.to_canonical());
        let scheme = forwarded.filter(|_| self.trusts(peer, 0)).and_then(|values| values.split(',').next());
        match scheme.map(|scheme| scheme.trim().to_ascii_lowercase()).as_deref() {
            // Some say what the WebSocket came by.
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => is_tls,
        }
    }

    fn trusts(&self, address: Option<IpAddr>, hops: usize) -> bool {
        match self {
            Self::Nobody => false,
            Self::Hops(number) => hops < *number,
            Self::Networks(networks) => {
                address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            Self::Everybody => true,
        }
    }
}

/// An address, as proxies write it: some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_is_an_address_or_the_half_of_one() {
        let same = [("1.2.3.4", "::ffff:1.2.3.4"), ("2001:db8::1", "2001:db8::ffff:0:0:1")];
        let different = [("1.2.3.4", "1.2.3.5"), ("2001:db8::1", "2001:db8:0:1::1"), ("::1", "127.0.0.1")];
        for (one, two) in same {
            assert_eq!(Source::of(ip(one)), Source::of(ip(two)));
        }
        for (one, two) in different {
            assert_ne!(Source::of(ip(one)), Source::of(ip(two)));
        }
    }

    #[test]
    fn a_source_is_in_a_network() {
        let network = |text| Source::of(ip(text)).network();
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:ffff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:1::1"));
        assert_ne!(network("1.2.3.4"), network("1.2.3.5"));
    }

    #[test]
    fn networks_hold_what_begins_alike() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("192.168.1.128/25", "192.168.1.255", "192.168.1.127"),
            ("0.0.0.0/0", "255.0.0.1", "::1"),
            ("::/0", "ff::1", "1.2.3.4"),
            ("fc00::/7", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert!(parsed.contains(ip(inside)) && !parsed.contains(ip(outside)), "{network}");
        }
        for wrong in
            ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "localhost"]
        {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_nearest_that_is_not_believed() {
        let networks = Trust::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        for (trust, values, client) in [
            (Trust::Nobody, &["1.1.1.1"][..], "10.0.0.1"),
            (Trust::Everybody, &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (Trust::Everybody, &["1.1.1.1", "2.2.2.2"], "1.1.1.1"),
            (Trust::Everybody, &[], "10.0.0.1"),
            (Trust::Everybody, &["nonsense, 2.2.2.2"], "2.2.2.2"),
            (Trust::Everybody, &[""], "10.0.0.1"),
            (Trust::Everybody, &["[2001:db8::1]:80"], "2001:db8::1"),
            (Trust::Everybody, &["1.1.1.1:1234"], "1.1.1.1"),
            (Trust::Hops(0), &["1.1.1.1"], "10.0.0.1"),
            (Trust::Hops(1), &["1.1.1.1, 2.2.2.2"], "2.2.2.2"),
            (Trust::Hops(2), &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (Trust::Hops(9), &["1.1.1.1, 2.2.2.2"], "1.1.1.1"),
            (networks.clone(), &["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1"),
            (networks.clone(), &["6.6.6.6", "1.1.1.1,10.2.2.2"], "1.1.1.1"),
            (networks, &["10.3.3.3"], "10.3.3.3"),
        ] {
            assert_eq!(
                trust.client(Some(ip("10.0.0.1")), values.iter().copied()),
                Some(ip(client)),
                "{trust:?} {values:?}"
            );
        }
        let stranger = Trust::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        assert_eq!(stranger.client(Some(ip("9.9.9.9")), ["1.1.1.1"].into_iter()), Some(ip("9.9.9.9")));
        // Over a pipe there is no address, but a proxy may be at its other end.
        for (trust, client) in
            [(Trust::Hops(1), Some(ip("1.1.1.1"))), (stranger, None), (Trust::Nobody, None)]
        {
            assert_eq!(trust.client(None, ["1.1.1.1"].into_iter()), client, "{trust:?}");
        }
    }

    #[test]
    fn a_connection_is_secure_if_a_proxy_that_is_believed_says_so() {
        let networks = Trust::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
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
                let by = |trust: &Trust, peer| trust.is_secure(Some(ip(peer)), is_tls, Some(value));
                for trust in [&Trust::Everybody, &Trust::Hops(1), &networks] {
                    assert_eq!(by(trust, "::ffff:10.0.0.1"), secure.unwrap_or(is_tls), "{trust:?} {value}");
                }
                for trust in [&Trust::Nobody, &Trust::Hops(0), &networks] {
                    assert_eq!(by(trust, "9.9.9.9"), is_tls, "{trust:?} {value}");
                }
            }
        }
        assert!(Trust::Everybody.is_secure(None, false, Some("https")));
        assert!(!Trust::Everybody.is_secure(None, false, None));
    }
}
