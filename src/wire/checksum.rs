//! The Internet checksum (RFC 1071) and its arithmetic.
//!
//! Knows one's complement sums of 16-bit words, nothing of the headers they protect.

use std::net::IpAddr;

/// A one's complement sum of 16-bit words. The order of the words does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u16);

impl Sum {
    /// The sum of the pseudo-header that UDP, TCP and ICMPv6 protect (RFC 768, RFC 9293 section 3.1, RFC 8200
    /// section 8.1). `protocol` is the IP protocol number, `length` that of transport header and data in bytes.
    #[must_use]
    pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: u16) -> Self {
        Self::default().address(source).address(destination).words([u16::from(protocol), length])
    }

    /// Adds words.
    #[must_use]
    pub fn words(self, words: impl IntoIterator<Item = u16>) -> Self {
        Self(words.into_iter().fold(self.0, add))
    }

    /// Adds the words that `bytes` make in network order; a last odd byte counts as if followed by a zero.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (pairs, odd) = bytes.as_chunks();
        self.words(pairs.iter().map(|&pair| u16::from_be_bytes(pair)))
            .words(odd.iter().map(|&byte| u16::from_be_bytes([byte, 0])))
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    /// The checksum field that goes with this sum. Over bytes that include their own checksum field it is 0 where
    /// that one is right.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.0
    }

    /// The word that has to be added to this sum for its checksum to become `wanted`: RFC 1624's equation 3 solved
    /// for the changed word.
    ///
    /// Works for `wanted` 0 to 0xfffe. 0xffff is the checksum of nothing but zeros, so no packet can have it; the
    /// result is then a packet with checksum 0, which is the same number.
    #[must_use]
    pub const fn tweak(self, wanted: u16) -> u16 {
        difference(!wanted, self.0)
    }
}

/// `one` minus `other` in one's complement arithmetic; 0 where they are the same number, which 0 and 0xffff are.
#[must_use]
pub const fn difference(one: u16, other: u16) -> u16 {
    match add(one, !other) {
        0xffff => 0,
        difference => difference,
    }
}

const fn add(one: u16, other: u16) -> u16 {
    match one.overflowing_add(other) {
        // Cannot overflow again: two words are at most 0x1fffe.
        (sum, true) => sum + 1,
        (sum, false) => sum,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sums_the_example_of_rfc_1071() {
        // Section 3: the words sum to 2ddf0, folded ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).checksum(), !0xddf2);
        assert_eq!(Sum::default().words([0x0001, 0xf203, 0xf4f5, 0xf6f7]), Sum::default().bytes(&bytes));
    }

    #[test]
    fn an_odd_byte_is_the_upper_half_of_a_word() {
        assert_eq!(Sum::default().bytes(&[0x12, 0x34, 0x56]), Sum::default().words([0x1234, 0x5600]));
    }

    #[test]
    fn differences() {
        for (one, other, difference) in [
            (5, 3, 2),
            (3, 5, 0xfffd),
            (7, 7, 0),
            (0, 0xffff, 0),
            (0xffff, 0, 0),
            (0xffff, 0xffff, 0),
            (0, 0, 0),
            (1, 0xffff, 1),
        ] {
            assert_eq!(super::difference(one, other), difference, "{one:#x} - {other:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_tweaked_sum_has_the_wanted_checksum(words: [u16; 5], wanted in 0..0xffff_u16) {
            // The type of an echo request: no sum of ours is that of zeros alone.
            let sum = Sum::default().words([0x0800]).words(words);
            prop_assert_eq!(sum.words([sum.tweak(wanted)]).checksum(), wanted);
        }

        #[test]
        fn etherparse_computes_the_same(bytes: Vec<u8>, source: [u8; 4], destination: [u8; 4]) {
            use etherparse::{IpNumber, TcpHeader, UdpHeader};
            let length = u16::try_from(bytes.len()).unwrap();
            let header = UdpHeader { source_port: 1, destination_port: 2, length: 8 + length, checksum: 0 };
            let sum = Sum::pseudo_header(source.into(), destination.into(), IpNumber::UDP.0, 8 + length);
            let theirs = header.calc_checksum_ipv4_raw(source, destination, &bytes).unwrap();
            prop_assert_eq!(difference(sum.words([1, 2, 8 + length]).bytes(&bytes).checksum(), theirs), 0);

            let header = TcpHeader::new(1, 2, 3, 4);
            let sum = Sum::pseudo_header(source.into(), destination.into(), IpNumber::TCP.0, 20 + length);
            let theirs = header.calc_checksum_ipv4_raw(source, destination, &bytes).unwrap();
            prop_assert_eq!(difference(sum.bytes(&header.to_bytes()).bytes(&bytes).checksum(), theirs), 0);
        }
    }
}
