//! What is known of the addresses of a trace from elsewhere: their names, and the autonomous systems that they belong to.
//!
//! Plain data, filled in by others once the trace is made. Knows nothing of where it was looked up.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::route::{FlowHop, Node};

/// Names and autonomous systems of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The name of each address that is known to have one.
    pub names: BTreeMap<IpAddr, Arc<str>>,
    /// The autonomous system of each address that is known to belong to one; `None` where there is no database to tell.
    pub systems: Option<BTreeMap<IpAddr, u32>>,
}

impl Annotations {
    /// The name of an address.
    #[must_use]
    pub fn hostname(&self, address: IpAddr) -> Option<&str> {
        self.names.get(&address).map(|name| &**name)
    }

    /// The autonomous system of an address.
    #[must_use]
    pub fn asn(&self, address: IpAddr) -> Option<u32> {
        self.systems.as_ref()?.get(&address).copied()
    }

    /// The name and the autonomous system of a node's address.
    #[must_use]
    pub fn of(&self, node: &Node) -> (Option<&str>, Option<u32>) {
        let known = node.address.map(|address| (self.hostname(address), self.asn(address)));
        known.unwrap_or_default()
    }

    /// Whether any name is known.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether any autonomous system is known.
    #[must_use]
    pub fn has_systems(&self) -> bool {
        self.systems.as_ref().is_some_and(|systems| !systems.is_empty())
    }

    /// The autonomous systems that a flow passes, in the order of the hops, each once for hops in a row. Hops that are silent, or of which
    /// no autonomous system is known, are left out. `None` where there is no database to tell.
    #[must_use]
    pub fn as_path(&self, hops: &[FlowHop]) -> Option<Vec<u32>> {
        let systems = self.systems.as_ref()?;
        let known = hops.iter().filter_map(|hop| systems.get(&hop.address?).copied());
        let mut path: Vec<u32> = known.collect();
        path.dedup();
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::Ttl, render::sample::address};

    #[test]
    fn an_as_path_has_each_system_once_in_a_row() {
        let systems = [("192.0.2.1", 64_496), ("192.0.2.2", 64_496), ("198.51.100.1", 64_500)]
            .map(|(text, asn)| (address(text), asn));
        let annotations = Annotations { systems: Some(systems.into()), ..Annotations::default() };
        // The hops -> the path. 203.0.113.1 is in no system.
        let cases = [
            (&[Some("192.0.2.1"), Some("192.0.2.2"), Some("198.51.100.1")][..], &[64_496, 64_500][..]),
            (&[Some("192.0.2.1"), None, Some("198.51.100.1")], &[64_496, 64_500]),
            (&[Some("192.0.2.1"), Some("203.0.113.1"), None, Some("192.0.2.2")], &[64_496]),
            (&[Some("192.0.2.1"), Some("198.51.100.1"), Some("192.0.2.2")], &[64_496, 64_500, 64_496]),
            (&[Some("203.0.113.1"), None], &[]),
            (&[], &[]),
        ];
        for (hops, expected) in cases {
            let hops: Vec<_> = Ttl::MIN
                .to(Ttl::MAX)
                .zip(hops)
                .map(|(ttl, hop)| FlowHop { ttl, address: hop.map(address) })
                .collect();
            assert_eq!(annotations.as_path(&hops).as_deref(), Some(expected), "{hops:?}");
            assert_eq!(Annotations::default().as_path(&hops), None, "no database");
        }
    }
}
