//! One process takes another's place (docs/UPGRADE.md): the loop's part of it, in the process that goes and in the one
//! that comes.
//!
//! The one that goes serves as if nothing were, until the other says that it accepts: only then does it name the other
//! to the service manager, stop accepting and drain. While both serve, each tells the other which sessions have ended.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::control::Control;
use super::trial::End;
use crate::board::Phase;
use crate::handover::inherited::{ADMIN, Predecessor};
use crate::handover::line::Ear;
use crate::handover::successor::{self, Estate, Successor};
use crate::limits::{DRAIN_GRACE, DRAIN_WITHIN, HANDOVER_ENDED_MAX};
use crate::log;

/// What the loop keeps of it.
pub struct Upgrade {
    told: mpsc::UnboundedSender<Heard>,
    program: PathBuf,
    /// Admin's listening socket, for a successor.
    admin: Option<TcpListener>,
    /// Said to once this process is open.
    predecessor: Option<Predecessor>,
    beside: Beside,
}

/// Which other process of this gateway there is.
enum Beside {
    Nobody,
    /// One that was started and does not serve yet. It is ended when nobody wants it any more (`_wanted` is dropped).
    Rising {
        _wanted: oneshot::Sender<()>,
        /// Sessions that have ended since, as it will be told.
        ended: Vec<String>,
    },
    /// One that serves: a successor, or the predecessor.
    Other(Arc<Ear>),
}

/// What comes to the loop.
pub enum Heard {
    Risen(Result<Successor, String>),
    Said(String),
    Gone,
}

impl Upgrade {
    pub fn new(
        program: PathBuf,
        admin: Option<TcpListener>,
        predecessor: Option<Predecessor>,
    ) -> (Upgrade, mpsc::UnboundedReceiver<Heard>) {
        let (told, heard) = mpsc::unbounded_channel();
        (Upgrade { told, program, admin, predecessor, beside: Beside::Nobody }, heard)
    }

    /// This process ends: one that does not serve yet is not to take its place.
    pub fn give_up(&mut self) {
        if matches!(self.beside, Beside::Rising { .. }) {
            self.beside = Beside::Nobody;
        }
    }

    /// A successor was started that does not serve yet. It has read what it will serve: what is ordered now it would not know.
    pub fn is_rising(&self) -> bool {
        matches!(self.beside, Beside::Rising { .. })
    }

    /// Hears the other process from now on.
    fn join(&mut self, ear: Ear) {
        let ear = Arc::new(ear);
        self.beside = Beside::Other(ear.clone());
        let told = self.told.clone();
        tokio::spawn(async move {
            while let Some(said) = ear.hear().await {
                // Nobody listens any more: the process is ending.
                let _ = told.send(Heard::Said(said));
            }
            let _ = told.send(Heard::Gone);
        });
    }

    /// A session has ended here: it must not go on there.
    pub fn session_ended(&mut self, serial: u128, principal: u64) {
        let text = format!("ended {serial:032x} {principal:016x}");
        match &mut self.beside {
            Beside::Nobody => {}
            Beside::Rising { ended, .. } if ended.len() < HANDOVER_ENDED_MAX => ended.push(text),
            Beside::Rising { .. } => {}
            Beside::Other(ear) => tell(ear, &text),
        }
    }
}

fn tell(ear: &Ear, text: &str) {
    if let Err(error) = ear.say(text) {
        log::warn(format!("the other process of this gateway does not hear `{text}`: {error}"));
    }
}

impl Control {
    /// Starts a process that is to take this one's place.
    pub fn upgrade(&mut self) {
        let why_not = match (self.phase, &self.upgrade.beside) {
            (Phase::Starting, _) => Some("this process does not serve yet"),
            (Phase::Draining, _) => Some("this process is stopping already"),
            (Phase::Open, Beside::Rising { .. }) => Some("one is being started already"),
            (Phase::Open, Beside::Other(_)) => Some("the process before this one has not ended yet"),
            (Phase::Open, Beside::Nobody) => None,
        };
        if let Some(why_not) = why_not {
            return log::warn(format!("SIGUSR2: no successor is started: {why_not}"));
        }
        if self.edition.snapshot.rules().audit.is_some() {
            let why_not =
                "it could not write the audit log, which this process writes to its end; restart instead";
            return log::warn(format!("SIGUSR2: no successor is started: {why_not}"));
        }
        if self.trials.is_on() {
            // The successor would know nothing of it, and nobody of its end.
            self.end_trial(End::RolledBack("ended by an upgrade (SIGUSR2)".to_owned()));
        }
        let program = self.upgrade.program.clone();
        log::info(format!("SIGUSR2: starting `{}` to take this process's place", program.display()));
        let estate = match self.estate() {
            Ok(estate) => estate,
            Err(error) => return self.risen_not(&format!("cannot share the listening sockets: {error}")),
        };
        let (wanted, unwanted) = oneshot::channel();
        self.upgrade.beside = Beside::Rising { _wanted: wanted, ended: Vec::new() };
        let told = self.upgrade.told.clone();
        tokio::spawn(async move {
            // Nobody listens any more: the process is ending, and its successor finds nobody there.
            let _ = told.send(Heard::Risen(successor::start(program, estate, unwanted).await));
        });
    }

    fn estate(&self) -> std::io::Result<Estate> {
        let listeners = self.edition.snapshot.rules().listeners.iter();
        let mut sockets = Vec::new();
        for (listener, of_it) in listeners.zip(self.handle.share_sockets()?) {
            sockets.extend(of_it.into_iter().map(|socket| (listener.name.as_str().to_owned(), socket)));
        }
        if let Some(admin) = &self.upgrade.admin {
            sockets.push((ADMIN.to_owned(), admin.try_clone()?));
        }
        Ok(Estate { sockets, driver: self.handle.driver() })
    }

    /// Gives the moment after which waiting for exchanges is over, if this process ends.
    pub fn heard_of(&mut self, heard: Heard) -> Option<Instant> {
        match heard {
            Heard::Risen(Ok(successor)) => return self.succeeded_by(successor),
            Heard::Risen(Err(why)) => self.risen_not(&why),
            Heard::Said(text) => self.heard_said(&text),
            Heard::Gone => {
                self.upgrade.beside = Beside::Nobody;
                self.handle.look_again();
                match self.phase {
                    Phase::Draining => log::error("the process that took this one's place has ended"),
                    _ => log::info("the process before this one has ended"),
                }
                // It may have ended before it said `go`.
                self.tell_ready();
            }
        }
        None
    }

    fn heard_said(&mut self, text: &str) {
        let mut words = text.split(' ');
        match (words.next(), words.next(), words.next()) {
            // The service manager knows this process now.
            (Some("go"), ..) => self.tell_ready(),
            (Some("ended"), Some(serial), Some(principal)) => {
                if let (Ok(serial), Ok(principal)) =
                    (u128::from_str_radix(serial, 16), u64::from_str_radix(principal, 16))
                {
                    self.handle.session_ended(serial, principal);
                }
            }
            // A later version may say more.
            _ => {}
        }
    }

    fn risen_not(&mut self, why: &str) {
        self.upgrade.beside = Beside::Nobody;
        if self.phase == Phase::Draining {
            return log::info("the successor that was being started is not needed any more, and was ended");
        }
        log::error(format!("no successor took over, this process serves on: {why}"));
        self.board.upgrade(json!({ "state": "failed", "at": crate::time::now(), "why": why }));
    }

    /// A successor serves: this process ends.
    fn succeeded_by(&mut self, successor: Successor) -> Option<Instant> {
        let Successor { pid, ear } = successor;
        if self.phase == Phase::Draining {
            // It was ready in the moment in which this process was told to stop.
            let ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            ended.unwrap_or_else(|error| log::error(format!("cannot end the successor: {error}")));
            return None;
        }
        let number = pid.as_raw_nonzero();
        self.manager.main_process(number.get());
        tell(&ear, "go");
        let rising = std::mem::replace(&mut self.upgrade.beside, Beside::Nobody);
        if let Beside::Rising { ended, .. } = &rising {
            ended.iter().for_each(|text| tell(&ear, text));
        }
        self.upgrade.join(ear);
        self.stop_admin();
        log::info(format!(
            "process {number} serves from here on: exchanges in flight here have {} s to end; a signal ends now",
            DRAIN_WITHIN.as_secs()
        ));
        self.enter_drain();
        self.handle.hand_over(DRAIN_WITHIN);
        Some(Instant::now() + DRAIN_WITHIN + DRAIN_GRACE)
    }

    /// While the process before this one ends, it may be woken for a connection that it does not take any more.
    pub fn look_after_predecessor(&self) {
        if let (Phase::Open, Beside::Other(_)) = (self.phase, &self.upgrade.beside) {
            self.handle.look_again();
        }
    }

    /// This process is open: whoever it is to succeed may go.
    pub fn tell_predecessor(&mut self) {
        let Some(predecessor) = self.upgrade.predecessor.take() else { return self.tell_ready() };
        match predecessor.line.listen() {
            Ok(ear) => {
                tell(&ear, "ready");
                self.upgrade.join(ear);
            }
            // It has seen the line close, and calls this process ended; there is nothing more to agree on.
            Err(error) => log::error(format!("lost the process before this one: {error}")),
        }
    }
}
