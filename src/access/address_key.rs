//! What counts as one address.

use std::net::{IpAddr, Ipv6Addr};

use super::HostAddress;

/// What counts as one address: an IPv4 address or an IPv6 /64, which is what one customer gets. A link-local /64 exists on
/// every link, so its zone counts too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey(IpAddr);

impl AddressKey {
    /// The key shared by all clients behind a trusted proxy that did not name their addresses.
    pub const UNKNOWN: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

    /// Returns the key of an address.
    pub fn of(address: HostAddress) -> Self {
        let address = address.to_canonical();
        Self(match address.ip() {
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64 | u128::from(address.zone())).into()
            }
            v4 => v4,
        })
    }

    /// Returns the key of the surrounding network: of an IPv6 address the /48, the most that one customer gets.
    pub fn network(self) -> Self {
        Self(match self.0 {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        AddressKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn ipv6_addresses_of_one_64_share_a_key() {
        let same = [("1.2.3.4", "::ffff:1.2.3.4"), ("2001:db8::1", "2001:db8::ffff:0:0:1")];
        let different = [("1.2.3.4", "1.2.3.5"), ("2001:db8::1", "2001:db8:0:1::1"), ("::1", "127.0.0.1")];
        for (one, two) in same {
            assert_eq!(key(one), key(two));
        }
        for (one, two) in different {
            assert_ne!(key(one), key(two));
        }
        assert_eq!(key("fe80::1%2"), key("fe80::2%2"));
        assert_ne!(key("fe80::1%2"), key("fe80::1%3"));
        assert_ne!(key("fe80::1%2"), key("fe80::1"));
    }

    #[test]
    fn ipv6_addresses_of_one_48_share_a_network() {
        let network = |text| key(text).network();
        assert_eq!(network("2001:db8::1"), network("2001:db8:0:ffff::1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:1::1"));
        assert_ne!(network("1.2.3.4"), network("1.2.3.5"));
    }
}
