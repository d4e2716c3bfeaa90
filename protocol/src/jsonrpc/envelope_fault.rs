//! Everything that makes an upstream's message none: the list, and under it what each is called and told.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeCause {
    NotAnObject,
    SyntaxInvalid,
    TooDeep,
    KeyRepeated,
    TrailingBytes,
    Truncated,
    TooLarge,
    Shapeless,
    MethodWithResult,
    ResultWithError,
}

/// Why an upstream's message is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeFault {
    pub cause: EnvelopeCause,
    /// Offset from the first byte fed.
    pub at: u32,
}

impl EnvelopeFault {
    pub const fn label(&self) -> &'static str {
        self.facts().0
    }

    pub fn message(&self) -> String {
        format!("{} at byte {}", self.facts().1, self.at)
    }

    const fn facts(&self) -> (&'static str, &'static str) {
        match self.cause {
            EnvelopeCause::NotAnObject => {
                ("reply_not_an_object", "expected a JSON object, found another value")
            }
            EnvelopeCause::SyntaxInvalid => ("reply_syntax", "expected JSON, found a byte that does not fit"),
            EnvelopeCause::TooDeep => ("reply_depth", "expected at most 512 levels of nesting, found more"),
            EnvelopeCause::KeyRepeated => {
                ("reply_key_repeated", "expected each key we read once, found one repeated")
            }
            EnvelopeCause::TrailingBytes => {
                ("reply_trailing", "expected nothing after the message, found more bytes")
            }
            EnvelopeCause::Truncated => {
                ("reply_truncated", "expected the rest of a message, found the end of the input")
            }
            EnvelopeCause::TooLarge => ("reply_too_large", "expected less than 4 GiB, found more"),
            EnvelopeCause::Shapeless => {
                ("reply_shapeless", "expected `method`, `result` or `error`, found none of them")
            }
            EnvelopeCause::MethodWithResult => {
                ("reply_method_with_result", "expected a request or a response, found parts of both")
            }
            EnvelopeCause::ResultWithError => {
                ("reply_result_with_error", "expected `result` or `error`, found both")
            }
        }
    }
}

impl std::fmt::Display for EnvelopeFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for EnvelopeFault {}
