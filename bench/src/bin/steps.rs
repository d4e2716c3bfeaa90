//! `steps NAME COUNT`: one step of an exchange, that many times, and nothing else. `steps` alone lists the names,
//! `steps --implementation` says which code simd-json picks on this machine.
//!
//! Made to be counted by callgrind: `bench/budgets` runs each step with two counts and takes the difference, so that
//! neither the start of the process nor the making of the fixtures is in it. Inputs are fixed; nothing is random.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;

use strait_bench::decisions::{ARGUMENTS, Decisions};
use strait_bench::fixtures;
use strait_bench::large::{self, Small};
use strait_bench::tables::{self, Size};
use strait_engine::fold::Fold;
use strait_policy::Traits;
use strait_protocol::http1::{parse_reply, parse_request, write};
use strait_protocol::jsonrpc::{Decoder, Scanner, Splices};
use strait_table::{Kind, View};

/// Large enough for an index, small enough that valgrind makes it in a second; a decision does not grow with it.
const SIZE: Size = Size { tools: 300, rules: 30, roles: 10 };

/// One call of it is one step.
type Step = Box<dyn FnMut()>;

/// Makes a step with its fixtures.
type Make = fn() -> Step;

/// By name, in the order of an exchange.
const STEPS: [(&str, Make); 12] = [
    ("head_parse", head_parse),
    ("decode_400b", || decode(400)),
    ("decode_16kib", || decode(16 << 10)),
    ("name_lookup_1000", name_lookup),
    ("decode_and_decide_400b", decode_and_decide),
    ("decide_three_arguments_1000", decide_three_arguments),
    ("splice_400b", || splice(400)),
    ("splice_16kib", || splice(16 << 10)),
    ("head_write", head_write),
    ("reply_head_parse", reply_head_parse),
    ("scan_400b", || scan(400)),
    ("scan_16kib", || scan(16 << 10)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [flag] if flag == "--implementation" => {
            println!("{}", simd_json::Deserializer::algorithm());
            ExitCode::SUCCESS
        }
        [] => {
            STEPS.iter().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        [name, count] => match (STEPS.iter().find(|(known, _)| known == name), count.parse::<u32>()) {
            (Some((_, make)), Ok(count)) => {
                let mut step = make();
                (0..count).for_each(|_| step());
                ExitCode::SUCCESS
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: steps [NAME COUNT | --implementation]");
    ExitCode::from(64)
}

fn head_parse() -> Step {
    let head = fixtures::head(400);
    Box::new(move || assert!(matches!(parse_request(black_box(&head)), Ok(Some(_)))))
}

fn decode(bytes: usize) -> Step {
    let call = fixtures::call(bytes);
    let mut decoder = Decoder::new();
    Box::new(move || assert!(decoder.decode(black_box(&call)).is_ok()))
}

/// A thousand at once: one alone is less than what making the table varies by.
fn name_lookup() -> Step {
    let snapshot = tables::snapshot(SIZE);
    let name = tables::exposed_name(211);
    Box::new(move || {
        let shelf = snapshot.bound().servers[0].shelf(Kind::Tool);
        assert!((0..1_000).all(|_| shelf.find(black_box(name.as_bytes())).is_some()));
    })
}

/// From the bytes of a body to a verdict, as a worker does it: the caller's view is one it has interned.
fn decode_and_decide() -> Step {
    let snapshot = tables::snapshot(SIZE);
    let roles = tables::roles(SIZE);
    let view = View::of(&snapshot, 0, &roles, &Traits::default()).expect("the fixture has a server");
    let views: HashMap<(u16, u32), Rc<View>, Fold> = HashMap::from_iter([((0, 0), Rc::new(view))]);
    let call = fixtures::call_of(&tables::exposed_name(211), 400);
    let mut decoder = Decoder::new();
    let mut text = Vec::new();
    Box::new(move || {
        let message = decoder.decode(black_box(&call)).unwrap_or_else(|fault| panic!("{}", fault.message()));
        let name = message.name.expect("a call has a name").read(&call, &mut text);
        let view = &views[black_box(&(0, 0))];
        let item = snapshot.bound().servers[0].shelf(Kind::Tool).find(name).expect("the tool exists");
        black_box(view.kind(Kind::Tool).ruled(item));
    })
}

/// A call that a rule with three questions about its arguments permits, from its name and bytes to the verdict. A thousand at once,
/// as of names.
fn decide_three_arguments() -> Step {
    let mut decisions = Decisions::new(large::small(Small::OneEach), 0..1);
    let name = large::exposed_name(0, false);
    Box::new(move || {
        let mut decide = || decisions.decide(black_box(&name), black_box(ARGUMENTS));
        assert!((0..1_000).all(|_| decide().is_some_and(|verdict| verdict.is_permit())));
    })
}

/// The two edits of every forwarded call: another id, the upstream's own name for the tool.
fn splice(bytes: usize) -> Step {
    let call = fixtures::call(bytes);
    let mut decoder = Decoder::new();
    let message = decoder.decode(&call).unwrap_or_else(|fault| panic!("{}", fault.message()));
    let (id, name) = (message.id.expect("an id"), message.name.expect("a name").raw);
    let mut splices = Splices::new();
    let mut out = Vec::with_capacity(2 * bytes);
    Box::new(move || {
        splices.clear();
        out.clear();
        let planned = splices.replace(id, b"884100").and(splices.replace(name, b"\"get_customer_0042\""));
        assert!(planned.and(splices.write(black_box(&call), &mut out)).is_ok());
    })
}

/// As for a call of 2026-07-28.
fn head_write() -> Step {
    let mut out = Vec::with_capacity(1 << 10);
    Box::new(move || {
        out.clear();
        let head = write::request(&mut out, b"POST", black_box(b"/mcp"))
            .header("Host", b"crm.internal:8080")
            .lines("Content-Type: application/json\r\n")
            .header("Accept", b"application/json, text/event-stream")
            .header("MCP-Protocol-Version", b"2026-07-28")
            .header("Mcp-Method", b"tools/call")
            .header("Mcp-Name", b"get_customer_0042")
            .content_length(400);
        assert!(head.finish().is_ok());
    })
}

fn reply_head_parse() -> Step {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\nContent-Length: 400\r\n\r\n";
    Box::new(move || assert!(matches!(parse_reply(black_box(head)), Ok(Some(_)))))
}

fn scan(bytes: usize) -> Step {
    let reply = fixtures::reply(bytes);
    let mut scanner = Scanner::new();
    Box::new(move || {
        scanner.reset();
        assert!(scanner.feed(black_box(&reply)).is_ok() && scanner.is_complete());
    })
}
