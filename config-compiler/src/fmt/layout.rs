//! Pieces of a text, put where the form wants them. What lies between two pieces is white space, comments and the few
//! characters of YAML's own (`-`, `:`, `,`, `&`, `!`): it is read here, byte by byte; whatever else is met is refused.

use crate::source::pieces::{Broken, Piece, Placed};

const STEP: usize = 2;
/// Blanks before a comment behind something.
const COMMENT_GAP: usize = 2;

pub fn lay_out(text: &str, pieces: &[Placed]) -> Result<String, Broken> {
    if let Some((Piece::OpenFlow, at, _)) = pieces.iter().find(|(piece, ..)| *piece != Piece::Marker) {
        return Err(("this is JSON, or written like it: it has no form of its own here".to_owned(), *at));
    }
    let mut layout = Layout::new(text);
    for (piece, start, end) in pieces {
        layout.piece(*piece, *start, *end)?;
    }
    layout.between(text.len())?;
    Ok(layout.finish())
}

/// The kinds of token that spacing knows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Marker,
    Dash,
    Colon,
    Comma,
    /// An anchor or a tag.
    Property,
    Alias,
    Text,
    Open(u8),
    Close(u8),
}

/// A block mapping or list that is open.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The column it had.
    was: usize,
    /// The one it gets.
    is: usize,
    is_list: bool,
}

/// A comment on a line of its own, until it is known what comes after it.
struct Waiting<'t> {
    text: &'t str,
    was: usize,
    is_apart: bool,
    /// Columns that it may belong to: as they were, as they are.
    levels: Vec<(usize, usize)>,
}

struct Layout<'t> {
    text: &'t str,
    /// Everything before it is laid out.
    cursor: usize,
    out: String,
    blocks: Vec<Block>,
    /// Of every open `[` and `{`, the column that its closing one gets at the beginning of a line.
    flows: Vec<usize>,
    /// The column at which the current line begins, and whether that is inside of `[` or `{`.
    line: (usize, bool),
    /// How many lines began with a token.
    lines: usize,
    last: Option<Kind>,
    /// A block was opened, and nothing of it is laid out yet.
    is_fresh: bool,
    /// Line ends since the last token or comment.
    breaks: usize,
    waiting: Vec<Waiting<'t>>,
}

impl<'t> Layout<'t> {
    fn new(text: &'t str) -> Layout<'t> {
        let (blocks, flows, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let out = String::with_capacity(text.len());
        Layout {
            text,
            cursor: 0,
            out,
            blocks,
            flows,
            line: (0, false),
            lines: 0,
            last: None,
            is_fresh: false,
            breaks: 0,
            waiting,
        }
    }

    fn piece(&mut self, piece: Piece, start: usize, end: usize) -> Result<(), Broken> {
        if piece == Piece::BlockScalar {
            return self.block_scalar();
        }
        self.between(start)?;
        let raw = self.text.get(start..end).unwrap_or_default();
        match piece {
            Piece::OpenList | Piece::OpenMap => {
                let is = self.blocks.last().map_or(0, |block| block.is + STEP);
                self.blocks.push(Block { was: self.column(start), is, is_list: piece == Piece::OpenList });
                self.is_fresh = true;
            }
            Piece::CloseBlock => {
                self.blocks.pop();
                self.is_fresh = false;
            }
            Piece::OpenFlow | Piece::CloseFlow if raw.is_empty() => {}
            Piece::OpenFlow => {
                let lines = self.lines;
                self.token(start, raw, Kind::Open(raw.as_bytes()[0]));
                // At the beginning of a line, or on one that began inside of another, it is that line that counts.
                let is_first = self.lines > lines;
                self.flows.push(if is_first || self.line.1 { self.line.0 } else { self.inner() });
            }
            Piece::CloseFlow => self.token(start, raw, Kind::Close(raw.as_bytes()[0])),
            Piece::Scalar if raw.is_empty() => {}
            Piece::Scalar => self.scalar(start, raw),
            Piece::Alias => self.token(start, raw, Kind::Alias),
            Piece::Marker => self.token(start, raw, Kind::Marker),
            Piece::BlockScalar => {}
        }
        self.cursor = self.cursor.max(end);
        Ok(())
    }

    /// The column of what belongs to the innermost block without being its key or its `-`, as a closing bracket.
    fn inner(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.is + if block.is_list { STEP } else { 0 })
    }

    fn column(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.rfind('\n').map_or(before, |end| before.get(end + 1..).unwrap_or_default());
        line.chars().count()
    }

    /// What stands before the next piece.
    fn between(&mut self, until: usize) -> Result<(), Broken> {
        while self.cursor < until {
            let at = self.cursor;
            let rest = self.text.get(at..until).unwrap_or_default();
            let Some(first) = rest.chars().next() else { break };
            let length = match first {
                '\n' => {
                    self.breaks += 1;
                    1
                }
                ' ' | '\t' => 1,
                '#' => self.comment(at),
                '-' => self.indicator(at, Kind::Dash),
                ':' => self.indicator(at, Kind::Colon),
                ',' => self.indicator(at, Kind::Comma),
                '&' | '!' => {
                    let length = rest.find([' ', '\t', '\n']).unwrap_or(rest.len());
                    self.token(at, rest.get(..length).unwrap_or_default(), Kind::Property);
                    length
                }
                '?' => return Err(("keys that are announced with `?` are left alone".to_owned(), at)),
                other => return Err((format!("`{other}` is not expected here"), at)),
            };
            self.cursor += length;
        }
        Ok(())
    }

    fn indicator(&mut self, at: usize, kind: Kind) -> usize {
        let raw = self.text.get(at..at + 1).unwrap_or_default();
        self.token(at, raw, kind);
        1
    }

    fn comment(&mut self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let whole = rest.lines().next().unwrap_or_default();
        let text = whole.trim_end();
        if self.breaks == 0 && !self.out.is_empty() && self.waiting.is_empty() {
            self.behind(at, text);
            return whole.len();
        }
        let levels = match self.flows.last() {
            Some(flow) => vec![(0, flow + STEP)],
            None => self.blocks.iter().map(|block| (block.was, block.is)).collect(),
        };
        self.waiting.push(Waiting { text, was: self.column(at), is_apart: self.breaks > 1, levels });
        self.breaks = 0;
        whole.len()
    }

    /// A comment behind something: at the column it had, if there is room.
    fn behind(&mut self, at: usize, text: &str) {
        let line = self.out.rfind('\n').map_or(0, |end| end + 1);
        let used = self.out.get(line..).unwrap_or_default().chars().count();
        let column = self.column(at).max(used + COMMENT_GAP);
        self.blanks(column - used);
        self.out.push_str(text);
    }

    fn token(&mut self, at: usize, raw: &str, kind: Kind) {
        let is_first = self.out.is_empty() && self.waiting.is_empty();
        if is_first || self.breaks > 0 || !self.waiting.is_empty() {
            let column = self.line_column(kind);
            self.settle(Some((self.column(at), column)));
            self.new_line(column, self.breaks > 1);
            self.line = (column, !self.flows.is_empty());
            self.lines += 1;
        } else {
            let gap = gap(self.last, kind);
            self.blanks(gap);
        }
        if matches!(kind, Kind::Close(_)) {
            self.flows.pop();
        }
        self.out.push_str(raw);
        (self.last, self.breaks, self.is_fresh) = (Some(kind), 0, false);
    }

    /// Where a line begins that begins with this.
    fn line_column(&self, kind: Kind) -> usize {
        if let Some(flow) = self.flows.last() {
            return flow + if matches!(kind, Kind::Close(_)) { 0 } else { STEP };
        }
        let block = self.blocks.last().map_or(0, |block| block.is);
        let is_value = matches!(self.last, Some(Kind::Colon | Kind::Dash | Kind::Property));
        match kind {
            Kind::Marker => 0,
            Kind::Dash => block,
            _ if is_value && !self.is_fresh => block + STEP,
            _ => block,
        }
    }

    /// Comments that waited go where they belong: with what follows, or to a level above.
    fn settle(&mut self, next: Option<(usize, usize)>) {
        for comment in std::mem::take(&mut self.waiting) {
            // Of equals the first: what follows, then what is further out.
            let levels = comment.levels.iter().rev().copied().chain(next);
            let level = levels.filter(|(was, _)| *was <= comment.was).max_by_key(|(was, _)| *was);
            self.new_line(level.map_or(0, |(_, is)| is), comment.is_apart);
            self.out.push_str(comment.text);
        }
    }

    fn new_line(&mut self, column: usize, is_apart: bool) {
        if !self.out.is_empty() {
            self.out.push_str(if is_apart { "\n\n" } else { "\n" });
        }
        self.blanks(column);
    }

    fn blanks(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(' ', count));
    }

    /// Lines after the first are moved as a whole: what is before their first character means nothing.
    fn scalar(&mut self, start: usize, raw: &str) {
        let mut lines = raw.split('\n');
        self.token(start, lines.next().unwrap_or_default(), Kind::Text);
        let column = match self.flows.last() {
            Some(flow) => flow + STEP,
            None => self.blocks.last().map_or(0, |block| block.is + STEP),
        };
        for line in lines {
            self.out.push('\n');
            let line = line.trim_start_matches([' ', '\t']);
            if !line.is_empty() {
                self.blanks(column);
                self.out.push_str(line);
            }
        }
    }

    /// `|` or `>`, with its lines: moved as a whole, so that what is further in stays so.
    fn block_scalar(&mut self) -> Result<(), Broken> {
        let rest = self.text.get(self.cursor..).unwrap_or_default();
        let Some(head_at) = head_of_block(rest).map(|at| self.cursor + at) else {
            return Err(("the head of this block cannot be found".to_owned(), self.cursor));
        };
        self.between(head_at)?;
        let rest = self.text.get(head_at..).unwrap_or_default();
        let length = rest.find([' ', '\t', '\n']).unwrap_or(rest.len());
        let head = rest.get(..length).unwrap_or_default();
        self.token(head_at, head, Kind::Text);
        self.cursor = head_at + length;
        let line_end =
            self.text.get(self.cursor..).and_then(|rest| rest.find('\n')).map(|at| self.cursor + at);
        let Some(line_end) = line_end else { return Ok(()) };
        self.between(line_end)?;
        let (was, is) = self.blocks.last().map_or((0, 0), |block| (block.was, block.is));
        let said = head.chars().find_map(|c| c.to_digit(10)).map(|digit| digit as usize);
        let lines: Vec<&str> = self.text.get(line_end + 1..).unwrap_or_default().split('\n').collect();
        let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let first =
            lines.iter().find(|line| !line.trim_start_matches(' ').is_empty()).map_or(0, |line| indent(line));
        let from = said.map_or(first, |digit| was + digit);
        let to = is + said.unwrap_or(STEP);
        if from <= was {
            // Nothing is in it.
            return Ok(());
        }
        let belongs = |line: &&&str| indent(line) >= from || line.trim_start_matches(' ').is_empty();
        let mut count = lines.iter().take_while(belongs).count();
        if !head.contains('+') {
            // Empty lines at its end are between it and what follows.
            count = lines
                .iter()
                .take(count)
                .rposition(|line| !line.trim_start_matches(' ').is_empty())
                .map_or(0, |last| last + 1);
        } else if count == lines.len() {
            // After the last line end there is no line.
            count -= 1;
        }
        self.cursor = line_end;
        for line in lines.iter().take(count) {
            self.cursor += 1 + line.len();
            self.out.push('\n');
            // What is over the indentation is said, blanks too.
            if let Some(line) = line.get(from..).filter(|line| !line.is_empty()) {
                self.blanks(to);
                self.out.push_str(line);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> String {
        self.settle(None);
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }
}

/// Where `|` or `>` is, past anchors, tags, comments and line ends.
fn head_of_block(rest: &str) -> Option<usize> {
    let mut is_comment = false;
    let mut before = ' ';
    for (at, c) in rest.char_indices() {
        match c {
            '\n' => is_comment = false,
            _ if is_comment => {}
            '#' if before.is_whitespace() => is_comment = true,
            '|' | '>' if before.is_whitespace() || before == ':' => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

/// Blanks between two tokens on one line.
fn gap(last: Option<Kind>, next: Kind) -> usize {
    match (last, next) {
        // Else the `:` would be part of the name.
        (Some(Kind::Alias | Kind::Property), Kind::Colon) => 1,
        (_, Kind::Colon | Kind::Comma) => 0,
        (Some(Kind::Open(_)), Kind::Close(_)) => 0,
        (Some(Kind::Open(b'[')), _) | (_, Kind::Close(b']')) => 0,
        (None, _) => 0,
        _ => 1,
    }
}
