//! A run while it goes on, on a terminal: how far it is, what is answered, how late, and what fails.
//!
//! The decision: a thread of its own draws. The one that sends hands it a few numbers once a second through a slot for one of them, and never waits: a terminal that
//! is slow costs a picture and no request. The terminal is restored by a guard, and by a hook when something panics; Ctrl-C is a key here, and stops the run as
//! the signal would.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};
use strait_loadgen::load::Glance;
use strait_loadgen::target::Cause;
use strait_loadgen::words::{printable, shown_ns};

/// How long a key, or a new number, may wait for the next look.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Below this there is no room for a picture.
const LEAST: (u16, u16) = (48, 9);
/// Seconds that are drawn.
const SECONDS_MAX: usize = 300;

pub struct Live {
    numbers: SyncSender<Glance>,
    drawer: JoinHandle<()>,
}

impl Live {
    /// Takes the terminal. Where it cannot be taken the run goes on without a picture.
    pub fn start(url: &str, asked: String, is_colored: bool, stop: Arc<AtomicBool>) -> Option<Live> {
        let (numbers, given) = sync_channel(1);
        let view =
            View { url: printable(url), asked, is_colored, rates: Vec::new(), means: Vec::new(), last: None };
        let (taken, answer) = sync_channel(1);
        let drawer = std::thread::Builder::new().name("strait-live".into()).spawn(move || {
            // Dropped last: what comes after it is a terminal as it was.
            let _guard = Restore;
            let terminal = ratatui::try_init();
            let _ = taken.send(terminal.is_ok());
            if let Ok(mut terminal) = terminal {
                // A terminal that went away costs the picture alone.
                let _ = draw_until_the_end(&mut terminal, view, &given, &stop);
            }
        });
        let drawer = drawer.ok()?;
        match answer.recv() {
            Ok(true) => Some(Live { numbers, drawer }),
            _ => {
                let _ = drawer.join();
                None
            }
        }
    }

    /// Never waits: when the last numbers are not drawn yet, these are not.
    pub fn show(&self, glance: Glance) {
        let _ = self.numbers.try_send(glance);
    }

    /// Gives the terminal back.
    pub fn end(self) {
        drop(self.numbers);
        let _ = self.drawer.join();
    }
}

/// However it ends, the terminal is as it was.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

fn draw_until_the_end(
    terminal: &mut ratatui::DefaultTerminal,
    mut view: View,
    given: &Receiver<Glance>,
    stop: &AtomicBool,
) -> io::Result<()> {
    loop {
        match given.try_recv() {
            Ok(glance) => view.take(glance),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        terminal.draw(|frame| view.draw(frame))?;
        if event::poll(LOOK_EVERY)?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if is_ctrl_c || key.code == KeyCode::Char('q') {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

struct View {
    url: String,
    asked: String,
    is_colored: bool,
    /// Answers of each second, and their mean latency.
    rates: Vec<u64>,
    means: Vec<u64>,
    last: Option<Glance>,
}

impl View {
    fn take(&mut self, glance: Glance) {
        let before = self.last.filter(|last| last.elapsed_ns < glance.elapsed_ns);
        let (answers, sum, elapsed) = before
            .map_or((0, 0, 0), |last| (last.succeeded + last.failed, last.latency_sum_ns, last.elapsed_ns));
        let seconds = (glance.elapsed_ns - elapsed) as f64 / 1e9;
        let more = (glance.succeeded + glance.failed).saturating_sub(answers);
        let succeeded = glance.succeeded - before.map_or(0, |last| last.succeeded).min(glance.succeeded);
        let mean = glance.latency_sum_ns.saturating_sub(sum) / u128::from(succeeded.max(1));
        for (all, value) in [
            (&mut self.rates, (more as f64 / seconds) as u64),
            (&mut self.means, u64::try_from(mean).unwrap_or(u64::MAX)),
        ] {
            if all.len() == SECONDS_MAX {
                all.remove(0);
            }
            all.push(value);
        }
        self.last = Some(glance);
    }

    fn style(&self, color: Color) -> Style {
        if self.is_colored { Style::default().fg(color) } else { Style::default() }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let sent = self.last.map_or(0, |last| last.sent);
            let failed = self.last.map_or(0, |last| last.failed);
            let text = format!("{sent} sent, {failed} failed ({} x {} shows more)", LEAST.0, LEAST.1);
            return frame.render_widget(Paragraph::new(text), area);
        }
        let title = Line::styled(
            format!("{:<width$}", format!(" strait load  {}", self.url), width = usize::from(area.width)),
            self.style(Color::Cyan).add_modifier(Modifier::BOLD | Modifier::REVERSED),
        );
        let mut lines = vec![title, Line::from(format!(" {}", self.asked)), Line::default()];
        match &self.last {
            None => lines.push(Line::from(" greeting the target, making connections")),
            Some(glance) => self.figures(glance, usize::from(area.width), &mut lines),
        }
        let used = (lines.len() as u16).min(area.height - 1);
        lines.truncate(usize::from(used));
        frame.render_widget(Paragraph::new(lines), Rect { height: used, ..area });
        self.curves(frame, Rect { y: used + 1, height: area.height.saturating_sub(used + 2), ..area });
        let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
        let style = Style::default().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(Line::styled(" q or Ctrl-C stops and reports", style)), foot);
    }

    fn figures(&self, glance: &Glance, width: usize, lines: &mut Vec<Line<'static>>) {
        let what = if glance.warming_up { "warming up" } else { "measuring" };
        let share = glance.done.clamp(0.0, 1.0);
        let room = width.saturating_sub(32).min(60);
        let full = (room as f64 * share) as usize;
        lines.push(Line::from(format!(
            " {what:<10} {:>4.0} s  [{}{}] {:>3.0} %",
            glance.elapsed_ns as f64 / 1e9,
            "#".repeat(full),
            ".".repeat(room - full),
            share * 100.0
        )));
        let time = |ns: Option<u64>| ns.map_or_else(|| "n/a".to_owned(), |ns| shown_ns(ns as f64));
        let rate = self.rates.last().copied().unwrap_or(0);
        lines.push(Line::from(format!(
            " {:>9} sent  {rate:>9}/s answered  {:>9} due and unsent",
            glance.sent, glance.behind
        )));
        lines.push(Line::from(format!(
            " latency   p50 {:<9} p99 {:<9} max {:<9}",
            time(glance.latency_p50),
            time(glance.latency_p99),
            time(glance.latency_max)
        )));
        let bad = self.style(Color::Red).add_modifier(Modifier::BOLD);
        let style = if glance.failed > 0 { bad } else { Style::default() };
        let causes = Cause::WORDS.iter().zip(glance.causes).filter(|(_, count)| *count > 0);
        let causes: Vec<String> = causes.map(|(word, count)| format!("{word} {count}")).collect();
        lines.push(Line::styled(format!(" {:>9} failed  {}", glance.failed, causes.join("  ")), style));
    }

    /// What the room below allows: answers of each second, and their mean latency.
    fn curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let each = (area.height / 2).min(8);
        if each < 3 || self.rates.is_empty() {
            return;
        }
        let most = |values: &[u64]| values.iter().copied().max().unwrap_or(0);
        let named = [
            (format!(" answers each second, at most {}", most(&self.rates)), &self.rates, Color::Green),
            (
                format!(" mean latency of each second, at most {}", shown_ns(most(&self.means) as f64)),
                &self.means,
                Color::Yellow,
            ),
        ];
        for (place, (name, values, color)) in named.into_iter().enumerate() {
            let top = area.y + place as u16 * each;
            frame.render_widget(Paragraph::new(name), Rect { y: top, height: 1, ..area });
            let room = usize::from(area.width.saturating_sub(2));
            let shown = values.get(values.len().saturating_sub(room)..).unwrap_or_default();
            let below =
                Rect { x: area.x + 1, y: top + 1, width: area.width.saturating_sub(2), height: each - 1 };
            frame.render_widget(Sparkline::default().data(shown).style(self.style(color)), below);
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn glance(elapsed_s: u64, succeeded: u64, failed: u64) -> Glance {
        let mut causes = [0; Cause::WORDS.len()];
        causes[Cause::Timeout.index()] = failed;
        Glance {
            elapsed_ns: elapsed_s * 1_000_000_000,
            sent: succeeded + failed,
            succeeded,
            failed,
            causes,
            behind: 3,
            done: 0.5,
            warming_up: false,
            latency_p50: Some(1_500_000),
            latency_p99: None,
            latency_max: Some(9_000_000),
            latency_sum_ns: u128::from(succeeded) * 2_000_000,
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    /// Every size, before the first numbers and after: none is a panic, and all say something.
    #[test]
    fn every_size_of_terminal_is_drawn_on() {
        let mut view = View {
            url: "http://127.0.0.1:1/mcp".to_owned(),
            asked: "100.0/s asked".to_owned(),
            is_colored: true,
            rates: Vec::new(),
            means: Vec::new(),
            last: None,
        };
        assert!(drawn(&view, 80, 24).contains("greeting the target"));
        view.take(glance(1, 1_000, 0));
        view.take(glance(2, 1_500, 7));
        assert_eq!((view.rates.clone(), view.means.clone()), (vec![1_000, 507], vec![2_000_000, 2_000_000]));
        let screen = drawn(&view, 80, 24);
        for words in [
            "measuring",
            "50 %",
            "1507 sent",
            "507/s answered",
            "p50 1.50 ms",
            "p99 n/a",
            "7 failed",
            "timeout 7",
            "Ctrl-C",
        ] {
            assert!(screen.contains(words), "{words}:\n{screen}");
        }
        for (width, height) in
            (1..120).step_by(7).flat_map(|width| (1..40).step_by(3).map(move |height| (width, height)))
        {
            drawn(&view, width, height);
        }
        assert!(drawn(&view, 40, 3).contains("1507 sent, 7 failed"));
        (0..400).for_each(|second| view.take(glance(3 + second, 2_000 + second, 7)));
        assert_eq!(view.rates.len(), SECONDS_MAX);
    }

    /// Lines, a bar, curves and colours: each says what its numbers say.
    #[test]
    fn every_figure_is_in_its_place() {
        let view = |is_colored, failed| {
            let (url, asked) = ("http://127.0.0.1:1/mcp".to_owned(), "100.0/s asked".to_owned());
            let mut view = View { url, asked, is_colored, rates: Vec::new(), means: Vec::new(), last: None };
            view.take(glance(1, 1_000, 0));
            view.take(glance(2, 1_500, failed));
            view
        };
        let screen = drawn(&view(false, 7), 80, 24);
        let bar = format!("measuring     2 s  [{}{}]  50 %", "#".repeat(24), ".".repeat(24));
        for words in [
            &*bar,
            "3 due and unsent",
            "max 9.00 ms",
            "answers each second, at most 1000",
            "mean latency of each second, at most 2.00 ms",
        ] {
            assert!(screen.contains(words), "{words}:\n{screen}");
        }
        let warming = View { last: Some(Glance { warming_up: true, ..glance(1, 10, 0) }), ..view(false, 0) };
        assert!(drawn(&warming, 80, 24).contains("warming up"));
        // Half as many answers in the second second, as slow as in the first.
        let lines: Vec<&str> = screen.lines().collect();
        let top = |words: &str| {
            let at = lines.iter().position(|line| line.contains(words)).unwrap();
            lines[at + 1].trim_matches('"').trim_end().to_owned()
        };
        assert_eq!((top("answers each").as_str(), top("mean latency").as_str()), (" █", " ██"), "{screen}");

        let colors = |view: &View| {
            let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
            terminal.draw(|frame| view.draw(frame)).unwrap();
            let cells = terminal.backend().buffer().content().to_vec();
            [Color::Red, Color::Cyan].map(|color| cells.iter().any(|cell| cell.fg == color))
        };
        assert_eq!(colors(&view(true, 7)), [true, true]);
        assert_eq!(colors(&view(true, 0)), [false, true], "nothing failed");
        assert_eq!(colors(&view(false, 7)), [false, false], "nobody wants colours");
    }
}
