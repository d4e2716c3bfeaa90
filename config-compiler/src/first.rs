//! The first configuration of somebody who has none: `strait init` writes it. One text, kept whole, so that it reads
//! like what a person would write; tests hold that it has no findings and is formatted.

/// What an editor finds by the first line of [`text`], beside it.
pub const SCHEMA_NAME: &str = "strait.schema.json";

/// The line that tells an editor of it.
pub const MODELINE: &str = "# yaml-language-server: $schema=./strait.schema.json\n";

/// The file as it is in the text below.
const NAME: &str = "strait.yaml";

/// The text of a configuration that will be called `name`.
pub fn text(name: &str) -> String {
    include_str!("first.yaml").replace(NAME, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_has_no_findings_and_speaks_of_itself() {
        let text = text("mine.yml");
        let outcome = crate::load_text("mine.yml", &text, &|_| None);
        assert_eq!((outcome.findings.len(), outcome.rules.is_some()), (0, true), "{:?}", outcome.findings);
        assert!(text.contains("strait up mine.yml") && !text.contains(NAME), "{text}");
        assert!(text.starts_with(MODELINE) && MODELINE.contains(SCHEMA_NAME), "{text}");
    }
}
