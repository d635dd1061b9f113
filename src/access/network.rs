//! Networks of addresses, as in `10.0.0.0/8`.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Parses `address` or `address/prefix`. A mapped IPv6 network is its IPv4 network.
    pub fn parse(text: &str) -> Option<Self> {
        let network = match text.split_once('/') {
            Some((address, prefix)) => IpNet::new(address.parse().ok()?, parse_prefix(prefix)?).ok()?,
            None => text.parse::<IpAddr>().ok()?.into(),
        };
        let mapped = match network {
            IpNet::V4(_) => None,
            // The last 32 bits of a mapped address are the IPv4 address.
            IpNet::V6(v6) => {
                let v4 = v6.addr().to_ipv4_mapped();
                v4.and_then(|v4| Ipv4Net::new(v4, v6.prefix_len().saturating_sub(96)).ok())
            }
        };
        Some(Self(mapped.map_or(network, IpNet::V4)))
    }

    /// Returns whether `address` is in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

/// Parses one to three digits; `u8::from_str` accepts a sign and more zeros.
fn parse_prefix(text: &str) -> Option<u8> {
    let is_number = text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/008", "10.255.0.1", "11.0.0.0"),
            ("10.9.9.9/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("192.168.1.128/25", "192.168.1.255", "192.168.1.127"),
            ("0.0.0.0/0", "255.0.0.1", "::1"),
            ("::/0", "ff::1", "1.2.3.4"),
            ("fc00::/7", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
            ("::ffff:10.0.0.0/90", "11.1.1.1", "::1"),
        ] {
            let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
            let parsed = Network::parse(network).expect(network);
            assert!(parsed.contains(ip(inside)) && !parsed.contains(ip(outside)), "{network}");
        }
    }

    #[test]
    fn rejects_other_text() {
        for wrong in [
            "",
            "10",
            "10.0.0.0/33",
            "::/129",
            "::/256",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "10.0.0.0/8/8",
            "010.0.0.0/8",
            "fe80::1%eth0/64",
            "localhost",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
