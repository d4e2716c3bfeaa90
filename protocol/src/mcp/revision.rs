//! The five revisions, in order of time, so that `<` means "older than".
//!
//! The decision: a revision is parsed once and is an enum from then on; a string that is not one of the five never
//! travels further into the gateway than the error that quotes it.

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Revision {
    V2024_11_05 = 0,
    V2025_03_26 = 1,
    V2025_06_18 = 2,
    V2025_11_25 = 3,
    V2026_07_28 = 4,
}

impl Revision {
    pub const ALL: [Revision; 5] = [
        Revision::V2024_11_05,
        Revision::V2025_03_26,
        Revision::V2025_06_18,
        Revision::V2025_11_25,
        Revision::V2026_07_28,
    ];
    pub const LATEST: Revision = Revision::V2026_07_28;
    pub const LATEST_LEGACY: Revision = Revision::V2025_11_25;
    /// What a request without a version header speaks, once it is known to be legacy.
    pub const ASSUMED: Revision = Revision::V2025_03_26;

    pub fn parse(text: &[u8]) -> Option<Revision> {
        Revision::ALL.into_iter().find(|revision| revision.as_str().as_bytes() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Revision::V2024_11_05 => "2024-11-05",
            Revision::V2025_03_26 => "2025-03-26",
            Revision::V2025_06_18 => "2025-06-18",
            Revision::V2025_11_25 => "2025-11-25",
            Revision::V2026_07_28 => "2026-07-28",
        }
    }

    /// The inverse of `self as u8`, for a revision kept in a sealed id.
    pub fn from_index(index: u8) -> Option<Revision> {
        Revision::ALL.get(index as usize).copied()
    }

    /// Stateless, with metadata on every request; the others begin with `initialize`.
    pub const fn is_modern(self) -> bool {
        matches!(self, Revision::V2026_07_28)
    }

    /// Whether a well-formed but unknown version (`2026-10-01`) claims to be newer than the handshake: a header like
    /// that is answered as modern, with the list of supported versions.
    pub fn claims_modern(text: &[u8]) -> bool {
        let dated = text.len() == 10
            && text
                .iter()
                .enumerate()
                .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
        dated && text >= Revision::LATEST.as_str().as_bytes()
    }

    /// The answer to `initialize`: the revision asked for when it is a legacy one we know, else our newest legacy one.
    pub fn negotiate(requested: &[u8]) -> Revision {
        Revision::parse(requested).filter(|revision| !revision.is_modern()).unwrap_or(Revision::LATEST_LEGACY)
    }

    /// Only this revision allowed arrays of messages.
    pub const fn has_batches(self) -> bool {
        matches!(self, Revision::V2025_03_26)
    }
}

#[cfg(test)]
mod tests {
    use super::Revision;

    #[test]
    fn every_revision_reads_back_and_they_are_in_order() {
        for (index, revision) in Revision::ALL.into_iter().enumerate() {
            assert_eq!(Revision::parse(revision.as_str().as_bytes()), Some(revision));
            assert_eq!(Revision::from_index(index as u8), Some(revision));
        }
        assert!(Revision::ALL.is_sorted());
        assert_eq!(Revision::from_index(5), None);
    }

    #[test]
    fn the_handshake_never_agrees_on_a_modern_revision() {
        let cases = [
            ("2024-11-05", Revision::V2024_11_05),
            ("2025-06-18", Revision::V2025_06_18),
            ("2026-07-28", Revision::V2025_11_25),
            ("1999-01-01", Revision::V2025_11_25),
            ("", Revision::V2025_11_25),
        ];
        for (requested, answer) in cases {
            assert_eq!(Revision::negotiate(requested.as_bytes()), answer, "{requested}");
        }
    }

    #[test]
    fn a_later_date_claims_to_be_modern() {
        let cases = [
            ("2026-07-28", true),
            ("2027-01-01", true),
            ("2025-11-25", false),
            ("DRAFT-2027", false),
            ("9999", false),
        ];
        for (text, claims) in cases {
            assert_eq!(Revision::claims_modern(text.as_bytes()), claims, "{text}");
        }
    }
}
