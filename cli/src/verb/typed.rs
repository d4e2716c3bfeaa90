//! What was typed, for reports that tell how to repeat them. What may be a credential is not in it.

/// As it was typed, ready to be typed again, but for what may be a credential.
pub fn command() -> String {
    let mut words = vec!["strait".to_owned()];
    let mut is_secret = false;
    for word in std::env::args_os().skip(1) {
        let word = word.to_string_lossy();
        let named = SECRET_OPTIONS.into_iter().find(|option| word.starts_with(&format!("{option}=")));
        words.push(match named {
            Some(option) => format!("{option}=…"),
            None if is_secret => "…".to_owned(),
            None => quoted(&word),
        });
        is_secret = SECRET_OPTIONS.contains(&&*word);
    }
    words.join(" ")
}

/// What follows these is in no report.
const SECRET_OPTIONS: [&str; 2] = ["--key", "--header"];

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@,%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
