//! Where a connection comes from, as far as it can be believed.

use std::net::{IpAddr, Ipv6Addr};

use super::HostAddress;
use super::list::{members, trim};

/// What is counted as one place: an IPv4 address, or the /64 of an IPv6 address, all of which one customer has. A
/// link-local /64 is on every link, so its zone counts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// The place of all clients whose address nobody can tell, not even of the connection that they share.
    pub const UNKNOWN: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

    /// The place of an address.
    pub fn of(address: HostAddress) -> Self {
        let address = address.to_canonical();
        Self(match address.ip() {
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64 | u128::from(address.zone())).into()
            }
            v4 => v4,
        })
    }

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
pub enum TrustedProxies {
    /// None.
    #[default]
    None,
    /// So many, counted from here.
    Hops(usize),
    /// Those in these networks.
    Networks(Vec<Network>),
    /// All: the first address counts, whoever wrote it.
    All,
}

impl TrustedProxies {
    /// Whether the address of a connection is that of the client.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The client's address: the nearest one that is not the address of a trusted proxy. `forwarded` holds the lines of
    /// `X-Forwarded-For`, in order. The list ends at a member that is no address: who wrote what stands before it cannot be
    /// told, so the address that was reached counts. A connection over a pipe has no `peer`.
    pub fn client<'v, V: AsRef<[u8]> + ?Sized + 'v>(
        &self,
        peer: Option<HostAddress>,
        forwarded: impl DoubleEndedIterator<Item = &'v V>,
    ) -> Option<HostAddress> {
        let mut client = peer.map(HostAddress::to_canonical);
        let mut before = forwarded.rev().flat_map(|line| members(line.as_ref()).rev());
        let mut hops = 0;
        while self.trusts(client.map(HostAddress::ip), hops) {
            let Some(Some(next)) = before.next().map(address) else { break };
            (client, hops) = (Some(next.to_canonical().into()), hops + 1);
        }
        client
    }

    /// Whether the client's connection is TLS. The connection from `peer` is or is not, as `is_tls` says. `forwarded` holds
    /// the lines of `X-Forwarded-Proto`, whose first member counts. Lines that contradict each other come from different
    /// hands: the connection is then not taken for TLS.
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
            // Some proxies name the scheme of the WebSocket.
            match scheme.to_ascii_lowercase().as_slice() {
                b"https" | b"wss" => true,
                b"http" | b"ws" => false,
                _ => is_tls,
            }
        });
        schemes.next().map_or(is_tls, |first| first && schemes.all(|scheme| scheme))
    }

    /// Whether the other end of a pipe is a trusted proxy.
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

/// An address as proxies write it: in brackets, with a port, or with a zone, which means nothing on this machine.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(trim(text)).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match text.split_once(':') {
            // More colons are those of an IPv6 address.
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
    fn a_source_is_an_address_or_the_half_of_one() {
        let same = [("1.2.3.4", "::ffff:1.2.3.4"), ("2001:db8::1", "2001:db8::ffff:0:0:1")];
        let different = [("1.2.3.4", "1.2.3.5"), ("2001:db8::1", "2001:db8:0:1::1"), ("::1", "127.0.0.1")];
        let of = |text: &str| AddressKey::of(text.parse().expect("an address"));
        for (one, two) in same {
            assert_eq!(of(one), of(two));
        }
        for (one, two) in different {
            assert_ne!(of(one), of(two));
        }
        assert_eq!(of("fe80::1%2"), of("fe80::2%2"));
        assert_ne!(of("fe80::1%2"), of("fe80::1%3"));
        assert_ne!(of("fe80::1%2"), of("fe80::1"));
    }

    #[test]
    fn a_source_is_in_a_network() {
        let network = |text: &str| AddressKey::of(text.parse().expect("an address")).network();
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
        let stranger = TrustedProxies::Networks(vec![Network::parse("10.0.0.0/8").expect("a network")]);
        let client = stranger.client(Some(ip("9.9.9.9").into()), ["1.1.1.1"].into_iter());
        assert_eq!(client, Some(ip("9.9.9.9").into()));
        // Over a pipe there is no address, but a proxy may be at its other end.
        for (trust, client) in [
            (TrustedProxies::Hops(1), Some(ip("1.1.1.1").into())),
            (stranger, None),
            (TrustedProxies::None, None),
        ] {
            assert_eq!(trust.client(None, ["1.1.1.1"].into_iter()), client, "{trust:?}");
        }
    }

    #[test]
    fn a_connection_is_secure_if_a_proxy_that_is_believed_says_so() {
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
        // Who wrote which line cannot be told.
        assert!(!by(false, &[]) && !by(true, &["https", "http"]) && !by(true, &["http", "https"]));
        assert!(!TrustedProxies::All.is_secure(None, false, [&b"https\xFF"[..], b"https"].into_iter()));
    }

    #[test]
    fn what_is_no_address_ends_the_list_and_hides_nothing_behind_it() {
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
                // A proxy has written the last address, whatever the client had put before it.
                (vec![line(&[odd, b", ", real.as_bytes()])], real),
                (vec![odd.to_vec(), real.as_bytes().to_vec()], real),
                (vec![line(&[b"6.6.6.6,", odd, b",,", real.as_bytes(), b" ,"]), b"\t".to_vec()], real),
                (vec![line(&[odd, b",", real.as_bytes(), b",127.0.0.2"])], real),
                // Nobody can tell whom the proxy means, and what stands before it may be the client's own.
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
    fn addresses_are_read_as_proxies_write_them() {
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
