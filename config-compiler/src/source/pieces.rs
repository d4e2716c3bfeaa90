//! A YAML text as what it is made of, in the order written, with places: for `strait fmt`, which moves pieces and changes
//! none. Beside `parse.rs` the only module that knows the YAML parser; unlike there, anchors, tags and comments
//! are pieces like others, and nothing is refused that is YAML.

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};

use crate::limits::DEPTH_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// `---`
    Marker,
    Alias,
    /// Plain or quoted, perhaps over several lines; nothing at all for an empty value.
    Scalar,
    /// `|` and `>`: the place is that of its content, not of its head.
    BlockScalar,
    /// At its first `-`.
    OpenList,
    OpenMap,
    CloseBlock,
    OpenFlow,
    CloseFlow,
}

/// A piece and its bytes in the text.
pub type Placed = (Piece, usize, usize);

/// What a text means, and what is said beside that: equal before and after only white space has moved.
#[derive(Debug, PartialEq)]
pub struct Meaning {
    said: Vec<String>,
    comments: Vec<String>,
}

/// Why a text has no pieces: what the parser says, at which byte.
pub type Broken = (String, usize);

pub fn pieces(text: &str) -> Result<Vec<Placed>, Broken> {
    let mut pieces = Vec::new();
    let mut is_flow = Vec::new();
    events(text, false, |event, start, end| {
        let piece = match event {
            Event::DocumentStart(true, _) => Piece::Marker,
            Event::Alias(_) | Event::UnresolvedAlias(_) => Piece::Alias,
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => Piece::BlockScalar,
            Event::Scalar(..) => Piece::Scalar,
            Event::SequenceStart(StructureStyle::Flow, ..)
            | Event::MappingStart(StructureStyle::Flow, ..) => {
                is_flow.push(true);
                Piece::OpenFlow
            }
            Event::SequenceStart(..) => {
                is_flow.push(false);
                // Of a list that stands no further in than its key, the parser tells the place after the `-`.
                let is_told_late = text.get(start..).is_some_and(|rest| !rest.starts_with('-'));
                let dash = text.get(..start).and_then(|before| before.rfind('-')).filter(|_| is_told_late);
                let start = dash.unwrap_or(start);
                return pieces.push((Piece::OpenList, start, start));
            }
            Event::MappingStart(..) => {
                is_flow.push(false);
                Piece::OpenMap
            }
            Event::SequenceEnd | Event::MappingEnd => match is_flow.pop() {
                Some(true) => Piece::CloseFlow,
                _ => Piece::CloseBlock,
            },
            _ => return,
        };
        pieces.push((piece, start, end));
    })?;
    Ok(pieces)
}

pub fn meaning(text: &str) -> Result<Meaning, Broken> {
    let mut meaning = Meaning { said: Vec::new(), comments: Vec::new() };
    events(text, true, |event, _, _| match event {
        Event::Comment(text, _) => meaning.comments.push(text.trim_end().to_owned()),
        event => meaning.said.push(format!("{event:?}")),
    })?;
    Ok(meaning)
}

fn events(text: &str, comments: bool, mut each: impl FnMut(Event<'_>, usize, usize)) -> Result<(), Broken> {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX + 1,
        block_nesting_limit: DEPTH_MAX + 1,
        simple_key_max_lookahead: 64 << 10,
    };
    options.set_emit_comments(comments);
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            next.map_err(|error| (error.info(), error.marker().byte_offset().unwrap_or(0)))?;
        let range = span.byte_range().unwrap_or(0..0);
        each(event, range.start, range.end);
    }
    Ok(())
}
