//! Addresses of hosts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::str::FromStr;

/// The IP address of a host and, if it is a link-local IPv6 address, its zone: the index of the network interface. Displayed
/// as `fe80::1%3`; parsed from `fe80::1%eth0` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostAddress {
    ip: IpAddr,
    /// 0 without a zone.
    zone: u32,
}

impl HostAddress {
    /// Returns the IP address without its zone.
    pub fn ip(self) -> IpAddr {
        self.ip
    }

    /// Returns the zone, 0 if there is none.
    pub fn zone(self) -> u32 {
        self.zone
    }

    /// Returns the address with an IPv4-mapped IPv6 address converted to IPv4.
    pub fn to_canonical(self) -> Self {
        Self { ip: self.ip.to_canonical(), ..self }
    }

    /// Returns the address of a port of this host.
    pub fn with_port(self, port: u16) -> SocketAddr {
        match self.ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, self.zone).into(),
        }
    }

    fn new(ip: IpAddr, zone: u32) -> Self {
        // Only link-local addresses depend on the interface.
        let has_zone = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        Self { ip, zone: if has_zone { zone } else { 0 } }
    }
}

impl From<IpAddr> for HostAddress {
    fn from(ip: IpAddr) -> Self {
        Self::new(ip, 0)
    }
}

impl From<Ipv4Addr> for HostAddress {
    fn from(ip: Ipv4Addr) -> Self {
        Self::new(ip.into(), 0)
    }
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self::new(address.ip().to_owned().into(), 0),
            SocketAddr::V6(address) => Self::new(address.ip().to_owned().into(), address.scope_id()),
        }
    }
}

/// An error for text that is not an address, or names an interface that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an IP address, or names an interface that does not exist")]
pub struct InvalidAddress;

impl FromStr for HostAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let Some((ip, zone)) = text.split_once('%') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| InvalidAddress);
        };
        let ip: Ipv6Addr = ip.parse().map_err(|_| InvalidAddress)?;
        match zone.parse() {
            _ if zone.is_empty() => Err(InvalidAddress),
            Ok(zone) => Ok(Self::new(ip.into(), zone)),
            Err(_) if !ip.is_unicast_link_local() => Ok(Self::from(IpAddr::V6(ip))),
            // Resolves the interface's name. A numeric address causes no DNS query.
            Err(_) => {
                let found = (text, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
                found.map(Self::from).ok_or(InvalidAddress)
            }
        }
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone {
            0 => self.ip.fmt(formatter),
            zone => write!(formatter, "{}%{zone}", self.ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_displays() {
        for (text, shown) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("fe80::1", Some("fe80::1")),
            ("fe80::1%3", Some("fe80::1%3")),
            ("::1%3", Some("::1")),
            ("::1%eth0", Some("::1")),
            ("fe80::1%", None),
            ("fe80::1%no such interface", None),
            ("127.0.0.1%3", None),
            ("localhost", None),
            ("", None),
        ] {
            let address = text.parse::<HostAddress>().ok();
            assert_eq!(address.map(|address| address.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn parses_the_name_of_an_interface() {
        // The loopback interface is the first on every Linux system.
        assert_eq!("fe80::1%lo".parse(), "fe80::1%1".parse::<HostAddress>());
    }

    #[test]
    fn keeps_the_zone_in_a_socket_address() {
        for text in ["fe80::1%3", "fe80::1", "2001:db8::1", "127.0.0.1"] {
            let address: HostAddress = text.parse().expect("an address");
            assert_eq!(HostAddress::from(address.with_port(80)), address);
        }
    }
}
