//! The gateway of a world: the real engine, and the few lines of control that bind lists.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use strait_engine::io::runtime::{sleep, spawn_guarded};
use strait_engine::io::simulated::say;
use strait_engine::{Deadlines, DriverChoice, Edition, Event, Handle, Options};
use strait_table::Snapshot;
use strait_tests::edition::{Key, Ledger, facts};

use crate::story::Story;

pub const WORKERS: usize = 2;
/// How long a client may take to answer a server's question, and to come back for a suspended call.
pub const QUESTION_MS: u64 = 2_000;
pub const SUSPENDED_MS: u64 = 6_000;
/// Exchanges under way may take so long when the gateway ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
const KEYS: [Key; 2] = [("key-ann", "ann", &["all"]), ("key-sam", "sam", &["all"])];

const CONFIG: &str = r#"
strait: 1
listeners: { main: { bind: "127.0.0.1:80" } }
access_log: off
upstreams:
  one: { http: "http://10.1.0.1:80/mcp", timeout: { connect: 500ms, first_byte: 4s, call: 10s } }
  two: { http: "http://10.1.0.2:80/mcp", timeout: { connect: 500ms, first_byte: 4s, call: 10s } }
  three: { http: "http://10.1.0.3:80/mcp", timeout: { connect: 500ms, first_byte: 4s, call: 10s } }
servers:
  all: { path: /mcp, auth: [keys], tools: ["*"] }
  single: { path: /one, auth: [keys], tools: ["one.*"] }
identity: { keys: { api_keys: ./keys.yaml } }
roles: { all: '"all" in principal.groups' }
policy:
  default: deny
  rules:
    - { id: all, allow: ["*"], to: [all] }
"#;

/// A running gateway.
pub struct Gateway {
    handle: Handle,
    pub address: SocketAddr,
    learned: RefCell<Vec<bool>>,
    stopped: Cell<usize>,
}

impl Gateway {
    /// Starts the engine; it accepts once every upstream has answered or failed.
    pub async fn start(story: &Rc<Story>, force_wrong_worker: bool) -> Rc<Gateway> {
        let snapshot = table();
        let edition = Arc::new(Edition::first(snapshot.clone(), facts(&snapshot, &KEYS), WORKERS));
        let options = Options {
            workers: WORKERS,
            driver: DriverChoice::Epoll,
            busy_poll: Duration::ZERO,
            base: std::env::temp_dir(),
            force_wrong_worker,
            deadlines: Deadlines {
                question_ms: QUESTION_MS,
                suspended_ms: SUSPENDED_MS,
                ..Deadlines::default()
            },
            sessions: None,
            audit: None,
            sockets: Arc::default(),
        };
        let (handle, mut events) = strait_engine::start(options, edition.clone()).expect("the engine starts");
        let upstreams = snapshot.rules().upstreams.len();
        let address = handle.addresses()[0];
        let learned = RefCell::new(vec![false; upstreams]);
        let gateway = Rc::new(Gateway { handle, address, learned, stopped: Cell::new(0) });
        let (control, story) = (gateway.clone(), story.clone());
        spawn_guarded("control", async move {
            let mut ledger = Ledger::of(edition);
            while let Some(event) = events.recv().await {
                control.hear(&story, &mut ledger, event);
            }
        });
        while gateway.learned.borrow().contains(&false) {
            sleep(Duration::from_millis(20)).await;
        }
        gateway.handle.open();
        gateway
    }

    fn hear(&self, story: &Story, ledger: &mut Ledger, event: Event) {
        match event {
            Event::Learned { upstream, outcome } => {
                let upstream = ledger.index_of(upstream).expect("the table is never replaced here");
                say(|| format!("upstream {upstream} is learned: {:?}", outcome.as_ref().map(|_| ())));
                self.learned.borrow_mut()[upstream] = true;
                self.handle.adopt(ledger.learned(upstream, outcome));
            }
            Event::Stopped { worker, outcome } => {
                if let Err(error) = outcome {
                    story.wrong(format!("worker {worker} ended: {error}"));
                }
                self.stopped.set(self.stopped.get() + 1);
            }
            Event::Notice { text, .. } => say(|| format!("notice: {text}")),
            Event::Adopted { .. }
            | Event::CredentialRefused { .. }
            | Event::ChildLog { .. }
            | Event::SessionEnded { .. } => {}
        }
    }

    /// Asks it to end, and waits until it has; `false` when it does not.
    pub async fn drain(&self) -> bool {
        self.handle.drain(DRAIN_DEADLINE);
        for _ in 0..(DRAIN_DEADLINE.as_secs() + 5) * 10 {
            if self.stopped.get() == WORKERS {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// What it holds at the moment, by name; each must be back where it was once everybody has left.
    pub async fn held(&self) -> BTreeMap<&'static str, u64> {
        let mut held = BTreeMap::new();
        let mut rolls = self.handle.rolls().call();
        for _ in 0..WORKERS {
            let Some(roll) = rolls.recv().await else { break };
            for (what, count) in roll.held {
                *held.entry(what).or_default() += count as u64;
            }
        }
        held.insert("bytes in buffers", strait_engine::io::buffer::held_bytes() as u64);
        held
    }
}

/// Compiled once for all worlds.
pub fn table() -> Arc<Snapshot> {
    static TABLE: OnceLock<Arc<Snapshot>> = OnceLock::new();
    TABLE
        .get_or_init(|| {
            let folder = std::env::temp_dir().join(format!("strait-simulation-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("make a scratch folder");
            let path = folder.join("strait.yaml");
            std::fs::write(&path, CONFIG).expect("write the config");
            let outcome = strait_config_compiler::load(&path, &|_| None);
            let rendered = strait_config_compiler::render(&outcome, false);
            let _ = std::fs::remove_dir_all(&folder);
            let rules = outcome.rules.unwrap_or_else(|| panic!("the config has findings:\n{rendered}"));
            Arc::new(strait_table::snapshot::of_rules(&rules).expect("open the table"))
        })
        .clone()
}
