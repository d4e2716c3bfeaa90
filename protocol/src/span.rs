//! A place in a message: two numbers instead of a borrow, so that it can be kept in a `Copy` struct while the buffer
//! it speaks of grows, moves to another worker, or is edited by splices.

/// `len` bytes from `start`, counted from the first byte of the message the span was found in.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// From `start` up to, not including, `end`. Empty when they cross.
    #[inline]
    pub const fn between(start: usize, end: usize) -> Span {
        Span { start: start as u32, len: end.saturating_sub(start) as u32 }
    }

    /// The bytes meant. Empty when the span does not fit `bytes`, so that a stale span shows nothing instead of
    /// panicking or showing a neighbour.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }

    #[inline]
    pub const fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    #[inline]
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn a_span_that_does_not_fit_shows_nothing() {
        assert_eq!(Span { start: 1, len: 2 }.of(b"abc"), b"bc");
        assert_eq!(Span { start: 2, len: 2 }.of(b"abc"), b"");
        assert_eq!(Span { start: u32::MAX, len: u32::MAX }.of(b"abc"), b"");
        assert_eq!(Span::between(5, 3), Span { start: 5, len: 0 });
    }
}
