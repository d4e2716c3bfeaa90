//! What is on the screen, and what keys do to it. [`draw`] is a function of the picture and of this state alone, so
//! that tests can hold a screen against the one it should be.
//!
//! Everything is ASCII, and says with words what colours say too: a terminal without colours or Unicode loses nothing.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::cell::{Cell, printable};
use super::picture::{Picture, View};
use super::table::{Mood, Order, Table};

/// Whom is looked at, and whether it answers.
pub struct Link {
    pub address: String,
    /// Why there is no answer, and for how many seconds.
    pub lost: Option<(String, u64)>,
}

pub struct Screen {
    pub view: View,
    pub is_paused: bool,
    is_helping: bool,
    /// Letters go to the filter.
    is_typing: bool,
    orders: [Order; View::ALL.len()],
    scroll: usize,
    is_colored: bool,
}

/// What a key asks for beyond the screen.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    Stay,
    Quit,
}

const HELP: [&str; 11] = [
    "1-7, Tab     another view           s, S   sort by the next column, or back",
    "up, down     scroll                 r      the other way round",
    "PgUp, PgDn   scroll by a page       /      only names that hold a text",
    "p, space     stand still            Esc    all names again",
    "q, Ctrl-C    leave                  ?      this help",
    "",
    "Rates and times are those of the last five looks; ALL is since the start.",
    "FAILED   the upstream's errors and faults, overload, faults of the gateway",
    "DENIED   by policy, by a limit, or for the form of the request",
    "TRIPS    requests that were handed to another core",
    "LATE     how late a core's timer fired: what any event there may have waited",
];

impl Screen {
    pub fn new(is_colored: bool) -> Screen {
        let orders = View::ALL.map(|view| Order { by: view.sorted(), ..Order::default() });
        Screen {
            view: View::Overview,
            is_paused: false,
            is_helping: false,
            is_typing: false,
            orders,
            scroll: 0,
            is_colored,
        }
    }

    pub fn key(&mut self, key: KeyEvent) -> Act {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Act::Quit } else { Act::Stay };
        }
        if self.is_typing {
            self.typed(key.code);
            return Act::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Char('?' | 'h') => self.is_helping = !self.is_helping,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('r') => self.order().reversed ^= true,
            KeyCode::Char('s') => self.sort(true),
            KeyCode::Char('S') => self.sort(false),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc if self.is_helping => self.is_helping = false,
            KeyCode::Esc => self.order().filter.clear(),
            KeyCode::Char(digit @ '1'..='7') => self.turn_to(digit as usize - '1' as usize),
            KeyCode::Tab | KeyCode::Right => self.turn_to(self.view as usize + 1),
            KeyCode::BackTab | KeyCode::Left => self.turn_to(self.view as usize + View::ALL.len() - 1),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll += 1,
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll += PAGE,
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Act::Stay
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.order().filter.clear();
            }
            KeyCode::Backspace => drop(self.order().filter.pop()),
            KeyCode::Char(c) if self.order().filter.len() < FILTER_MAX => self.order().filter.push(c),
            _ => {}
        }
        self.scroll = 0;
    }

    fn turn_to(&mut self, view: usize) {
        self.view = View::ALL.get(view % View::ALL.len()).copied().unwrap_or_default();
        self.scroll = 0;
    }

    /// No view has more columns than this wraps at; a column that a table lacks sorts nothing.
    fn sort(&mut self, forward: bool) {
        let columns = self.view.columns();
        let by = self.order().by;
        let next = match (by, forward) {
            (None, true) => 0,
            (None, false) => columns - 1,
            (Some(by), true) => (by + 1) % columns,
            (Some(by), false) => (by + columns - 1) % columns,
        };
        self.order().by = Some(next);
    }

    fn order(&mut self) -> &mut Order {
        &mut self.orders[self.view as usize]
    }

    fn style(&self, mood: Mood) -> Style {
        let style = Style::default();
        match mood {
            Mood::Usual => style,
            Mood::Bad if self.is_colored => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            Mood::Bad => style.add_modifier(Modifier::BOLD),
            Mood::Quiet => style.add_modifier(Modifier::DIM),
        }
    }

    fn head(&self) -> Style {
        let style = Style::default().add_modifier(Modifier::BOLD);
        if self.is_colored { style.fg(Color::Cyan) } else { style }
    }
}

const PAGE: usize = 10;
const FILTER_MAX: usize = 40;

/// Below this there is no room for a table.
const LEAST: (u16, u16) = (66, 10);
/// Beyond this names and numbers would lose each other.
const TABLE_MAX: usize = 110;

pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, link: &Link, picture: Option<&Picture<'_>>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text =
            format!("strait top wants {} x {}; this is {} x {}", LEAST.0, LEAST.1, area.width, area.height);
        return frame.render_widget(Paragraph::new(text), area);
    }
    let mut lines = vec![title(screen, link, picture, area.width), tabs(screen, area.width)];
    lines.extend(notice(screen, link, picture));
    lines.push(Line::default());
    match picture {
        _ if screen.is_helping => lines.extend(HELP.iter().map(|line| Line::from(format!(" {line}")))),
        None => lines.push(Line::from(" waiting for the gateway's first answer")),
        Some(picture) => body(screen, picture, area, &mut lines),
    }
    // The last line is the foot, however little room there is.
    lines.truncate(usize::from(area.height) - 1);
    frame.render_widget(Paragraph::new(lines), area);
    let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
    frame.render_widget(Paragraph::new(foot_line(screen)), foot);
}

/// Who is looked at, and how it is; the same places in every view.
fn title(screen: &Screen, link: &Link, picture: Option<&Picture<'_>>, width: u16) -> Line<'static> {
    let left = format!(" strait top  {}", link.address);
    let right = match picture {
        None => String::new(),
        Some(picture) => {
            let ready = &picture.now.ready;
            let word = |name: &str| ready[name].as_str().unwrap_or("-").to_owned();
            let up = Cell::Age(ready["uptime_s"].as_f64().unwrap_or_default()).shown();
            format!("generation {}  {}  up {up:>9} ", word("generation"), word("phase"))
        }
    };
    let room = usize::from(width).saturating_sub(right.len());
    let left = printable(&left);
    let left = left.get(..room.saturating_sub(1)).unwrap_or(&left);
    let text = format!("{left:<room$}{right}");
    Line::styled(text, screen.head().add_modifier(Modifier::REVERSED))
}

fn tabs(screen: &Screen, width: u16) -> Line<'static> {
    // The words that fit; the digits alone otherwise.
    let words = width >= 76;
    let tabs = View::ALL.iter().enumerate().flat_map(|(at, view)| {
        let text = if words || *view == screen.view {
            format!("{} {}", at + 1, view.word())
        } else {
            format!("{}", at + 1)
        };
        let style = if *view == screen.view {
            Style::default().add_modifier(Modifier::REVERSED)
        } else {
            Style::default()
        };
        [Span::raw(" "), Span::styled(text, style)]
    });
    Line::from(tabs.collect::<Vec<_>>())
}

/// The most urgent thing to say, on a line that is there for it alone.
fn notice(screen: &Screen, link: &Link, picture: Option<&Picture<'_>>) -> Option<Line<'static>> {
    let text = match (&link.lost, picture) {
        (Some((why, seconds)), _) => format!(" NO ANSWER for {seconds} s, trying again: {why}"),
        (None, Some(picture)) => {
            let notices = picture.notices();
            let first = notices.first()?;
            match notices.len() {
                1 => format!(" ! {first}"),
                n => format!(" ! {first} (and {} more)", n - 1),
            }
        }
        (None, None) => return None,
    };
    Some(Line::styled(printable(&text), screen.style(Mood::Bad)))
}

fn body(screen: &mut Screen, picture: &Picture<'_>, area: Rect, lines: &mut Vec<Line<'static>>) {
    let width = (usize::from(area.width) - 2).min(TABLE_MAX);
    let tables = picture.tables(screen.view);
    // The last line is the foot.
    let mut room = usize::from(area.height).saturating_sub(lines.len() + 1);
    let hint = picture.missing(screen.view);
    if let (View::Overview, [requests, parts, standing]) = (screen.view, tables.as_slice()) {
        lines.extend(whole(screen, requests, width));
        lines.push(Line::default());
        return lines.extend(beside(screen, parts, standing, width));
    }
    let Some(table) = tables.first() else { return };
    let order = screen.orders[screen.view as usize].clone();
    let rows = table.arranged(&order);
    room = room.saturating_sub(1);
    screen.scroll = screen.scroll.min(rows.len().saturating_sub(room));
    lines.push(Line::styled(format!(" {}", table.head(width, order.by)), screen.head()));
    if rows.is_empty() {
        lines.push(Line::from(format!(" {}", hint.unwrap_or("nothing to show"))));
    }
    for row in rows.iter().skip(screen.scroll).take(room) {
        lines.push(Line::styled(format!(" {}", table.row(width, row)), screen.style(row.mood)));
    }
}

fn whole(screen: &Screen, table: &Table, width: usize) -> Vec<Line<'static>> {
    let head = Line::styled(format!(" {}", table.head(width, None)), screen.head());
    let rows = table
        .rows
        .iter()
        .map(|row| Line::styled(format!(" {}", table.row(width, row)), screen.style(row.mood)));
    std::iter::once(head).chain(rows).collect()
}

/// Two tables next to each other, the second as wide as it must be.
fn beside(screen: &Screen, left: &Table, right: &Table, width: usize) -> Vec<Line<'static>> {
    const RIGHT: usize = 26;
    let room = width.saturating_sub(RIGHT + 3);
    let (left_lines, right_lines) = (whole(screen, left, room), whole(screen, right, RIGHT));
    let count = left_lines.len().max(right_lines.len());
    let text =
        |lines: &[Line<'static>], at: usize| lines.get(at).map(|line| line.to_string()).unwrap_or_default();
    (0..count)
        .map(|at| {
            let style = if at == 0 { screen.head() } else { Style::default() };
            Line::styled(
                format!("{:<1$}  {2}", text(&left_lines, at), room + 1, text(&right_lines, at)),
                style,
            )
        })
        .collect()
}

fn foot_line(screen: &Screen) -> Line<'static> {
    let filter = &screen.orders[screen.view as usize].filter;
    let mut text = match (screen.is_typing, filter.is_empty()) {
        (true, _) => format!(" only names with: {filter}_   Enter: done, Esc: all"),
        (false, false) => format!(" only names with: {filter}   Esc: all"),
        (false, true) => " ? help  q leave  p pause  s sort  / only  Tab next view".to_owned(),
    };
    if screen.is_paused {
        text = format!(" PAUSED (p goes on) {text}");
    }
    Line::styled(printable(&text), Style::default().add_modifier(Modifier::DIM))
}
