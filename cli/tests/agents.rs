//! `strait load --agents` and `strait load agent` as processes: what two of them come to, and what becomes of a run when one of them, or the line to it, is
//! not what it should be.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Folder, Ran, command, strait};
use serde_json::Value;

const TOKEN: &str = "a token of more than sixteen characters";

/// A process that prints where it is: `strait echo` or `strait load agent`.
struct Running {
    child: Child,
    at: String,
    /// What it said on stderr, line by line.
    told: Receiver<String>,
    _folder: Folder,
}

impl Running {
    fn start(arguments: &[&str]) -> Running {
        let folder = Folder::new();
        folder.write("token", TOKEN);
        let mut child =
            command(folder.path(), arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut at = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut at).unwrap();
        let (tell, told) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        assert!(at.contains("127.0.0.1:"), "{at:?} {:?}", told.recv_timeout(Duration::from_secs(5)));
        Running { child, at: at.trim().to_owned(), told, _folder: folder }
    }

    fn echo(more: &[&str]) -> Running {
        Running::start(&[&["echo", "--bind", "127.0.0.1:0"], more].concat())
    }

    fn agent(more: &[&str]) -> Running {
        Running::start(&[&["load", "agent", "--bind", "127.0.0.1:0"], more].concat())
    }

    /// Waits until it says that.
    fn says(&self, words: &str) -> String {
        let mut all = Vec::new();
        while let Ok(line) = self.told.recv_timeout(Duration::from_secs(60)) {
            if line.contains(words) {
                return line;
            }
            all.push(line);
        }
        panic!("{words:?} was not said, but {all:?}");
    }

    fn kill(&mut self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(arguments: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.write("token", TOKEN);
    folder.write("other", format!("{TOKEN}, but another"));
    folder.write("short", "short");
    strait(folder.path(), &[&["load"], arguments].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn two_agents_send_together_what_one_would() {
    let echo = Running::echo(&["--latency", "fixed:2ms"]);
    let (one, other) = (Running::agent(&[]), Running::agent(&[]));
    let agents = format!("{},{}", one.at, other.at);
    for (how, parts) in [
        (&["--rate", "500", "--requests", "1001", "--warmup", "12"][..], [(501, 8), (500, 8)]),
        (&["--closed", "-c", "5", "--requests", "1001"], [(501, 3), (500, 2)]),
    ] {
        let ran = load(&[&[echo.at.as_str(), "--agents", &agents, "--json"], how].concat());
        // A busy machine may make it late; nothing else may be wrong.
        assert!(ran.code == 0 || ran.code == 3, "{}{}", ran.stdout, ran.stderr);
        let report = json(&ran);
        assert_eq!((&report["measured"], &report["failed"]), (&1001.into(), &0.into()), "{how:?}");
        assert_eq!(report["latency_ns"]["n"], 1001);
        assert_eq!(
            report["mix"].as_array().unwrap().iter().map(|share| number(&share["sent"])).sum::<u64>(),
            1001
        );
        let told = report["agents"].as_array().unwrap();
        for ((agent, (measured, connections)), address) in told.iter().zip(parts).zip([&one.at, &other.at]) {
            assert_eq!(
                (&agent["address"], &agent["measured"], &agent["connections"]),
                (&address.as_str().into(), &measured.into(), &connections.into()),
                "{agent}"
            );
            // One machine, one clock: what was measured lies within its own bound.
            let clock = &agent["clock"];
            let off = clock["offset_ns"].as_i64().unwrap().unsigned_abs();
            assert!(off <= number(&clock["bound_ns"]) + 1_000_000, "{clock}");
            let drift = clock["drift_ns"].as_i64().unwrap().unsigned_abs();
            assert!(drift <= number(&clock["drift_bound_ns"]), "{clock}");
        }
        let most = told.iter().map(|agent| number(&agent["latency_ns"]["max"])).max().unwrap();
        assert_eq!(number(&report["latency_ns"]["max"]), most);
    }
    let text = load(&[&echo.at, "--agents", &agents, "--rate", "200", "--requests", "50"]);
    assert!(text.stdout.contains(&format!("agent {}: 25 measured, 0 failed", one.at)), "{}", text.stdout);
    assert!(text.stdout.contains("its clock is"), "{}", text.stdout);
}

/// A sum with a hole in it is not shown. Whoever is left serves the next run.
#[test]
fn an_agent_that_dies_spoils_the_run_and_says_so() {
    let echo = Running::echo(&[]);
    let (one, mut other) = (Running::agent(&[]), Running::agent(&[]));
    let agents = format!("{},{}", one.at, other.at);
    let folder = Folder::new();
    let arguments = ["load", &echo.at, "--agents", &agents, "--rate", "200", "--duration", "60m", "--json"];
    let mut leader = command(folder.path(), &arguments);
    let leader = leader.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    other.says("the start is in");
    other.kill("-KILL");
    let ended = leader.wait_with_output().unwrap();
    let (out, told) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!((ended.status.code(), out.as_str()), (Some(7), ""), "{told}");
    for words in ["agent_lost", &other.at, "was lost", "no figure"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    one.says("over");
    let again = load(&[&echo.at, "--agents", &one.at, "--requests", "20"]);
    assert!(again.code == 0 || again.code == 3, "{}{}", again.stdout, again.stderr);
}

/// An agent that stands still says nothing, and is lost as well.
#[test]
fn an_agent_that_is_silent_is_lost() {
    let echo = Running::echo(&[]);
    let mut agent = Running::agent(&[]);
    let folder = Folder::new();
    let arguments = ["load", &echo.at, "--agents", &agent.at, "--rate", "200", "--duration", "60m"];
    let mut leader = command(folder.path(), &arguments);
    let leader = leader.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    agent.says("the start is in");
    agent.kill("-STOP");
    let ended = leader.wait_with_output().unwrap();
    agent.kill("-CONT");
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(7), 0), "{told}");
    assert!(told.contains("not a word for"), "{told}");
    // Nobody asks for that load any more.
    agent.says("over");
}

#[test]
fn one_plan_at_a_time_and_an_interrupted_one_is_told() {
    let echo = Running::echo(&[]);
    let agent = Running::agent(&[]);
    let folder = Folder::new();
    let arguments = ["load", &echo.at, "--agents", &agent.at, "--rate", "200", "--duration", "60m", "--json"];
    let leader = command(folder.path(), &arguments).stdout(Stdio::piped()).spawn().unwrap();
    agent.says("the start is in");
    let second = load(&[&echo.at, "--agents", &agent.at, "--requests", "20"]);
    assert_eq!(second.code, 6, "{}", second.stderr);
    assert!(second.stderr.contains("somebody else"), "{}", second.stderr);
    assert!(Command::new("kill").args(["-INT", &leader.id().to_string()]).status().unwrap().success());
    let ended = leader.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["interrupted"], &report["verdict"]), (&true.into(), &"interrupted".into()));
}

#[test]
fn what_an_agent_cannot_keep_up_with_is_self_saturated() {
    let echo = Running::echo(&["--latency", "fixed:5ms", "--workers", "2"]);
    let (one, other) = (Running::agent(&[]), Running::agent(&[]));
    let agents = format!("{},{}", one.at, other.at);
    let ran = load(&[&echo.at, "--agents", &agents, "--rate", "3000", "--duration", "1s", "--json"]);
    let report = json(&ran);
    assert_eq!((ran.code, &report["self_saturated"]), (3, &true.into()), "{}", ran.stdout);
    for (agent, at) in report["agents"].as_array().unwrap().iter().zip([&one.at, &other.at]) {
        assert_eq!(agent["self_saturated"], true, "{agent}");
        assert!(
            report["saturation"].to_string().contains(&format!("agent {at}: ")),
            "{}",
            report["saturation"]
        );
    }
}

#[test]
fn who_has_another_token_is_told_so_and_shows_none() {
    let echo = Running::echo(&[]);
    let agent = Running::agent(&["--agent-token-file", "token"]);
    let with = |more: &[&str]| {
        load(&[&[echo.at.as_str(), "--agents", &agent.at, "--requests", "20"], more].concat())
    };
    for more in [&["--agent-token-file", "other"][..], &[]] {
        let refused = with(more);
        assert_eq!(refused.code, 5, "{more:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("another token, or none"), "{}", refused.stderr);
        assert!(!refused.stderr.contains(TOKEN) && refused.stdout.is_empty());
        assert!(agent.says("another token").contains("127.0.0.1"));
    }
    let same = with(&["--agent-token-file", "token"]);
    assert!(same.code == 0 || same.code == 3, "{}{}", same.stdout, same.stderr);
    let open = Running::agent(&[]);
    let refused = load(&[&echo.at, "--agents", &open.at, "--agent-token-file", "token"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
}

#[test]
fn what_is_asked_wrongly_is_said_before_anything_is_sent() {
    let agent = Running::agent(&[]);
    let url = "http://127.0.0.1:1/mcp";
    let elsewhere = "http://192.0.2.1:1/mcp";
    let at = agent.at.as_str();
    let cases: &[(&[&str], &str)] = &[
        (&["agent", "--bind", "0.0.0.0:0"], "share a token"),
        (&["agent", "--bind", "0.0.0.0:0", "--agent-token-file", "short"], "16 characters"),
        (&["agent", "--agent-token-file", "nowhere"], "nowhere"),
        (&["agent", "--agent-token-env", "STRAIT_NO_SUCH"], "STRAIT_NO_SUCH"),
        (&[url, "--agents", "192.0.2.1:9"], "share a token"),
        (&[url, "--agents", at, "--hlog", "x"], "of one machine"),
        (&[url, "--agents", at, "--csv", "x"], "of one machine"),
        (&[url, "--agents", at, "--abort-on-fail"], "of one machine"),
        (&[url, "--agents", at, "--warmup", "steady"], "of one machine"),
        (&[url, "--agents", at, "--cores", "0"], "machine that sends"),
        (&[url, "--agents", &format!("{at},{at}"), "-c", "1"], "one at least"),
        (&["search", url, "--agents", at, "--assert", "p99<1s"], "--agents"),
        (&[elsewhere, "--agents", at, "--closed"], "is not this machine"),
        // The leader says that it is theirs; whoever started the agent did not.
        (
            &[elsewhere, "--agents", at, "--closed", "--i-own-this"],
            "refuses: `http://192.0.2.1:1/mcp` is not",
        ),
        (&[elsewhere, "--agents", at, "--rate", "1500", "--i-own-this"], "refuses"),
    ];
    for (arguments, words) in cases {
        let ran = load(arguments);
        assert_eq!(ran.code, 64, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    let nobody = load(&[url, "--agents", at]);
    assert_eq!(nobody.code, 4, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("from there, at layer tcp"), "{}", nobody.stderr);
}

/// The greeting of either side: magic, version, nonce, key.
const GREETING_BYTES: usize = 24 + 32 + 32 + 32;

#[test]
fn peers_that_are_no_agents_are_told_by_what_they_said() {
    let peer = |answer: fn(&mut TcpStream)| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            answer(&mut stream);
        });
        let ran = load(&["http://127.0.0.1:1/mcp", "--agents", &at]);
        served.join().unwrap();
        // 5: what it says is sealed with something else than a token that we share.
        assert!(ran.code == 4 || ran.code == 5, "{}", ran.stderr);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(&at), "{}", ran.stderr);
        ran.stderr
    };
    let web = peer(|stream| {
        let page = format!("HTTP/1.1 400 Bad Request\r\n\r\n{}", "x".repeat(GREETING_BYTES));
        stream.write_all(page.as_bytes()).unwrap();
    });
    assert!(web.contains("found `HTTP/1.1 400 Bad Request"), "{web}");
    let short = peer(|stream| stream.write_all(b"SSH-2.0\r\n").unwrap());
    assert!(short.contains("the connection ended"), "{short}");
    let older = peer(|stream| {
        let mut greeting = [0; GREETING_BYTES];
        stream.read_exact(&mut greeting).unwrap();
        greeting[24] = b'9';
        stream.write_all(&greeting).unwrap();
    });
    assert!(older.contains("it is version 9") && older.contains("the same version"), "{older}");
    // It greets in order, and then makes no sense.
    let mad = peer(|stream| {
        let mut greeting = [0; GREETING_BYTES];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&greeting).unwrap();
        stream.write_all(&[0, 0, 0, 20]).unwrap();
        stream.write_all(&[7; 20]).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(mad.contains("another token"), "{mad}");
}

/// Strangers at an agent's door hold nobody up, and what they say is bounded.
#[test]
fn an_agent_outlives_whoever_knocks() {
    let echo = Running::echo(&[]);
    let agent = Running::agent(&[]);
    let mut waiting = TcpStream::connect(&agent.at).unwrap();
    waiting.write_all(b"strait load").unwrap();
    let mut web = TcpStream::connect(&agent.at).unwrap();
    web.write_all(&[b'G'; GREETING_BYTES]).unwrap();
    assert!(agent.says("expected the greeting").contains("GGGG"));
    let mut older = TcpStream::connect(&agent.at).unwrap();
    let mut greeting = [0; GREETING_BYTES];
    older.read_exact(&mut greeting).unwrap();
    greeting[24] = b'8';
    older.write_all(&greeting).unwrap();
    agent.says("it is version 8");
    let mut long = TcpStream::connect(&agent.at).unwrap();
    long.read_exact(&mut greeting).unwrap();
    long.write_all(&greeting).unwrap();
    long.write_all(&u32::MAX.to_be_bytes()).unwrap();
    let ran = load(&[&echo.at, "--agents", &agent.at, "--requests", "20"]);
    assert!(ran.code == 0 || ran.code == 3, "{}{}", ran.stdout, ran.stderr);
}
