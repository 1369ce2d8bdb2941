//! A checked reader over bytes that may end anywhere.
//!
//! Knows lengths and byte order, nothing of formats. Every read is `None` where the bytes do not suffice.

/// The bytes not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// The next `count` bytes.
    pub(super) fn slice(&mut self, count: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(slice)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes as words.
    pub(super) fn words(&mut self) -> Option<[u16; 4]> {
        let [a, b, c, d, e, f, g, h] = self.array()?;
        Some([[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes))
    }
}
