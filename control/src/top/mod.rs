//! `strait top`: what a running gateway does just now, read from its admin endpoints.
//!
//! `ask.rs` looks at it again and again, `scrape.rs` reads `/metrics`, `picture.rs` makes tables of what happened between
//! looks (`table.rs`, `cell.rs`), `screen.rs` draws them and knows the keys. `--once` and `--json` print the same tables.

mod ask;
mod cell;
mod picture;
mod scrape;
mod screen;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::limits::TOP_KEYS_EVERY;
use ask::{News, Watched};
pub use picture::View;
use picture::Window;
use screen::{Act, Link, Screen};
use table::Order;

pub struct Options {
    /// `HOST:PORT`, or a URL of it; `None`: the socket in the state folder, or the default address.
    pub admin: Option<String>,
    pub state: PathBuf,
    pub interval: Duration,
    pub is_colored: bool,
}

/// What two looks, an interval apart, show: as text of these columns, or as JSON.
pub struct Once {
    pub text: String,
    pub json: Value,
}

pub fn once(options: &Options, views: &[View], columns: usize) -> Result<Once, Failure> {
    let gateway = Watched::new(options.admin.as_deref(), &options.state);
    let mut window = Window::default();
    let began = Instant::now();
    ask::runtime()?.block_on(async {
        window.take(gateway.look(began).await?);
        tokio::time::sleep(options.interval).await;
        window.take(gateway.look(began).await?);
        Ok::<(), Failure>(())
    })?;
    let Some(picture) = window.picture() else { return Err(Failure::bug("two looks made no picture")) };
    let mut text: String =
        picture.notices().iter().map(|notice| format!("! {}\n", cell::printable(notice))).collect();
    for view in views {
        let order = Order { by: view.sorted(), ..Order::default() };
        for table in picture.tables(*view) {
            text.push_str(if text.is_empty() { "" } else { "\n" });
            text.push_str(&table.text(columns, &order));
            if let Some(missing) = picture.missing(*view).filter(|_| table.rows.is_empty()) {
                text.push_str(&format!("{missing}\n"));
            }
        }
    }
    Ok(Once { text, json: picture.json() })
}

/// Takes the terminal until somebody leaves.
pub fn watch(options: &Options) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Code::Usage, "`strait top` wants a terminal, and this is none").help(
            "`strait top --once` prints a table, `strait top --once --json` everything for a program",
        ));
    }
    let gateway = Watched::new(options.admin.as_deref(), &options.state);
    let link = Link { address: gateway.address.clone(), lost: None };
    let (sender, news) = mpsc::channel();
    gateway.watch(options.interval, sender)?;
    let broken = |error: io::Error| Failure::new(Code::Unfit, format!("cannot use this terminal: {error}"));
    // Restored by the guard, and by a hook when something panics.
    let _guard = Restore;
    let mut terminal = ratatui::try_init().map_err(broken)?;
    shown(&mut terminal, &news, Screen::new(options.is_colored), link).map_err(broken)
}

/// However it ends, the terminal is as it was.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
    }
}

fn shown(
    terminal: &mut DefaultTerminal,
    news: &Receiver<News>,
    mut screen: Screen,
    mut link: Link,
) -> io::Result<()> {
    let mut window = Window::default();
    let mut lost_since: Option<Instant> = None;
    let mut why = String::new();
    loop {
        loop {
            match news.try_recv() {
                Ok(News::Look(look)) => {
                    lost_since = None;
                    if !screen.is_paused {
                        window.take(*look);
                    }
                }
                Ok(News::Lost(told)) => {
                    lost_since.get_or_insert_with(Instant::now);
                    why = told;
                }
                Ok(News::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => break,
            }
        }
        link.lost = lost_since.map(|since| (why.clone(), since.elapsed().as_secs()));
        terminal.draw(|frame| screen::draw(frame, &mut screen, &link, window.picture().as_ref()))?;
        if event::poll(TOP_KEYS_EVERY)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && screen.key(key) == Act::Quit
        {
            return Ok(());
        }
    }
}
