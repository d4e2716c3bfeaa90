//! What is not a sound table is refused, with these words. A forged file is one whose checksums are right.

use std::path::PathBuf;

use strait_table::bound::{Bound, BoundServer, Capabilities, Item, Section, Shelf};
use strait_table::condition::*;
use strait_table::file::{ALIGN, Extent, FORMAT_VERSION, HEADER_BYTES, Header, MAGIC, write};
use strait_table::limit::{Limit, Measure, Price, Unit};
use strait_table::names::Names;
use strait_table::rules::*;
use strait_table::shape::{Argument, Said, Shape, Step};
use strait_table::window::{Hours, Offset, Window};
use strait_table::{Snapshot, bind};

use crate::support::*;

/// A table of rules and a bound catalog.
fn table() -> Vec<u8> {
    write(&rules(), Some(&bound()))
}

fn bound() -> Bound {
    bind(strait_table::snapshot::of_rules(&rules()).unwrap().rules(), &catalog()).0
}

#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    match Snapshot::from_bytes(bytes) {
        Ok(_) => panic!("opened; expected `{expected}`"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

/// Changes the header and makes its checksum right again.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::parse(bytes).unwrap();
    change(&mut header);
    [&header.encode()[..], &bytes[HEADER_BYTES..]].concat()
}

/// The same bytes with every checksum made right.
fn forged(bytes: &[u8]) -> Vec<u8> {
    with_header(bytes, |header| {
        for extent in [&mut header.rules, &mut header.bound] {
            extent.blake3 = *blake3::hash(&bytes[range(extent)]).as_bytes();
        }
    })
}

fn range(extent: &Extent) -> std::ops::Range<usize> {
    extent.offset as usize..(extent.offset + extent.length) as usize
}

#[test]
fn a_table_opens_with_and_without_a_catalog() {
    for bytes in [table(), write(&rules(), None)] {
        let snapshot = Snapshot::from_bytes(&bytes).unwrap();
        assert_eq!(snapshot.rules().servers[0].path, "/mcp");
        assert_eq!(snapshot.bound().servers.len(), 1);
        assert_eq!(forged(&bytes), bytes);
    }
}

#[test]
fn a_truncated_table_is_told() {
    let table = table();
    let header =
        |found: usize| format!("table truncated: expected a header of 256 bytes, found {found} bytes");
    let rest =
        |found: usize| format!("table truncated: its header says {} bytes, found {found}", table.len());
    for length in 0..table.len() {
        check(&table[..length], &if length < HEADER_BYTES { header(length) } else { rest(length) });
    }
}

#[test]
fn a_foreign_file_is_told() {
    let magic =
        |found: &str| format!("not a strait table: expected the magic `STRAIT\\0\\1`, found `{found}`");
    check(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", &magic("\\x7fELF\\x02\\x01\\x01\\x00"));
    check(b"strait: 1\nlisteners: {}\n", &magic("strait: "));
    check(b"{}", &magic("{}"));
    check(&[0; 4096], &magic(&"\\x00".repeat(8)));
    let noise: Vec<u8> = blake3::Hasher::new().finalize_xof().bytes(4096);
    check(&noise, &magic(&noise[..8].escape_ascii().to_string()));
    let mut other = table();
    other[7] = 2;
    check(&other, &magic("STRAIT\\x00\\x02"));
}

/// Reads that many bytes.
trait Bytes {
    fn bytes(self, count: usize) -> Vec<u8>;
}

impl Bytes for blake3::OutputReader {
    fn bytes(mut self, count: usize) -> Vec<u8> {
        let mut out = vec![0; count];
        self.fill(&mut out);
        out
    }
}

#[test]
fn another_version_or_machine_is_told_before_anything_is_read() {
    let put = |at: usize, value: u32| {
        let mut bytes = table();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let newer = FORMAT_VERSION + 1;
    check(
        &put(8, newer),
        &format!(
            "table format {newer} is newer than this strait reads ({FORMAT_VERSION}): upgrade strait, or compile \
             the table with this version"
        ),
    );
    check(
        &put(8, 0),
        &format!("table format 0 is older than this strait reads ({FORMAT_VERSION}): compile it again"),
    );
    check(
        &put(12, 0x4245_2041),
        "table written for another byte order or pointer width: expected 0x4c452041, found 0x42452041",
    );
}

#[test]
fn every_flipped_bit_is_an_error() {
    for table in [table(), write(&rules(), None)] {
        let mut bytes = table.clone();
        for at in 0..bytes.len() {
            // Every bit where reading begins, one of eight behind it.
            for bit in (0..8).filter(|bit| at < HEADER_BYTES || at % 8 == *bit) {
                bytes[at] ^= 1 << bit;
                assert!(Snapshot::from_bytes(&bytes).is_err(), "bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
            }
        }
        assert_eq!(bytes, table);
    }
}

#[test]
fn a_damaged_part_is_named() {
    let flipped = |at: usize| {
        let mut bytes = table();
        bytes[at] ^= 1;
        bytes
    };
    let header = Header::parse(&table()).unwrap();
    for at in [16, 24, 40, 72, 88, 120, HEADER_BYTES - 1] {
        check(&flipped(at), "table header damaged: its checksum does not match");
    }
    check(
        &flipped(header.rules.offset as usize),
        "table damaged: the rules section does not match its checksum",
    );
    check(
        &flipped(header.bound.offset as usize),
        "table damaged: the catalog section does not match its checksum",
    );
    // The file's last byte belongs to the catalog, which is the root of its archive.
    check(&flipped(table().len() - 1), "table damaged: the catalog section does not match its checksum");
    // Of rules that end at a multiple of 64 by themselves there is no padding.
    let tables = [9, 25].map(|long| write(&Rules { admin_bind: "a".repeat(long), ..rules() }, None));
    let is_padded = |bytes: &Vec<u8>| range(&Header::parse(bytes).unwrap().rules).end < bytes.len();
    let mut bytes = tables.into_iter().find(is_padded).expect("one of two lengths is no multiple");
    *bytes.last_mut().unwrap() = 1;
    check(&bytes, "table damaged: the padding between its sections is not zero");
}

#[test]
fn bytes_behind_the_end_are_told() {
    let bytes = [table(), vec![0]].concat();
    let length = bytes.len();
    check(
        &bytes,
        &format!("table has bytes after its end: its header says {} bytes, found {length}", length - 1),
    );
}

#[test]
fn sections_have_one_place_each() {
    let table = table();
    let header = Header::parse(&table).unwrap();
    let (rules, bound, length) = (header.rules, header.bound, table.len() as u64);
    let check = |section: &str, change: fn(&mut Extent, u64)| {
        let mut told = (0, 0);
        let bytes = with_header(&table, |header| {
            let extent = if section == "rules" { &mut header.rules } else { &mut header.bound };
            change(extent, length);
            told = (extent.length, extent.offset);
        });
        check(
            &bytes,
            &format!(
                "table damaged: the {section} section ({} bytes at {}) is empty, lies outside the file, or does not \
                 follow what stands before it",
                told.0, told.1
            ),
        );
    };
    // Outside of the file, also by an addition that overflows.
    check("rules", |extent, length| extent.offset = length.next_multiple_of(ALIGN as u64));
    check("rules", |extent, length| extent.length = length);
    check("rules", |extent, _| extent.length = u64::MAX);
    check("rules", |extent, _| extent.offset = u64::MAX - 63);
    check("catalog", |extent, length| extent.length = length);
    check("catalog", |extent, _| extent.length = u64::MAX);
    // Inside the header, unaligned, overlapping, apart, empty.
    check("rules", |extent, _| extent.offset = 0);
    check("rules", |extent, _| extent.offset += 1);
    check("rules", |extent, _| extent.length = 0);
    check("catalog", |extent, _| extent.offset = HEADER_BYTES as u64);
    check("catalog", |extent, _| extent.offset -= ALIGN as u64);
    check("catalog", |extent, _| extent.offset += 1);
    check("catalog", |extent, _| extent.length -= 1);
    check("catalog", |extent, _| extent.length = 0);
    assert!(range(&rules).end <= range(&bound).start);
    let long = with_header(&table, |header| header.length = 1 << 40);
    self::check(&long, "table too large: at most 2147483648 bytes, found 1099511627776");
}

/// Bytecheck's own words follow, which hold addresses.
#[track_caller]
fn check_layout(bytes: &[u8], expected: &str) {
    let error = Snapshot::from_bytes(bytes).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
    assert!(error.len() < 300 && !error.contains('\n'), "{error}");
}

#[test]
fn forged_sections_never_pass_as_something_they_are_not() {
    let table = table();
    let header = Header::parse(&table).unwrap();
    let mut layouts = 0;
    for extent in [header.rules, header.bound] {
        let mut bytes = table.clone();
        for at in range(&extent) {
            let kept = bytes[at];
            for value in [0, 1, 0x7f, 0x80, 0xff, kept ^ 1, kept ^ 0x40] {
                bytes[at] = value;
                match Snapshot::from_bytes(&forged(&bytes)) {
                    // A changed name is as good as the old one; whoever can write a file can write a table.
                    Ok(snapshot) => walk(&snapshot),
                    Err(strait_table::OpenError::Layout { .. }) => layouts += 1,
                    Err(strait_table::OpenError::Meaning { .. }) => {}
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
            bytes[at] = kept;
        }
    }
    assert!(layouts > 100, "{layouts}");
    let zeroed = |extent: Extent| {
        let mut bytes = table.clone();
        bytes[range(&extent)].fill(0xff);
        forged(&bytes)
    };
    check_layout(&zeroed(header.rules), "table damaged: the rules section is not valid: ");
    check_layout(&zeroed(header.bound), "table damaged: the catalog section is not valid: ");
    // The catalog in the place of the rules.
    let bytes = [&table[..HEADER_BYTES], &table[range(&header.bound)]].concat();
    let moved = Extent { offset: HEADER_BYTES as u64, ..header.bound };
    let end = (moved.offset + moved.length).next_multiple_of(ALIGN as u64);
    let mut bytes = bytes;
    bytes.resize(end as usize, 0);
    let header = Header {
        length: end,
        rules: moved,
        bound: Extent { offset: end, length: 0, blake3: *blake3::hash(b"").as_bytes() },
        signature: None,
    };
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    check_layout(&bytes, "table damaged: the rules section is not valid: ");
}

/// Reads everything that a worker reads.
fn walk(snapshot: &Snapshot) {
    use strait_table::{Kind, View};
    for (index, server) in snapshot.bound().servers.iter().enumerate() {
        let view = View::of(snapshot, index, &Default::default(), &Default::default()).unwrap();
        for kind in [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Template] {
            for item in view.kind(kind).visible_from(0) {
                let item = &server.shelf(kind).items[item];
                assert!(snapshot.bound().fragments.get(item.fragment.to_native() as usize).is_some());
            }
        }
    }
}

type Change<'a> = &'a dyn Fn(&mut Rules);

fn forged_shapes_are_caught(check: &dyn Fn(&str, Change<'_>)) {
    let shape = || Shape {
        upstream: 0,
        tool: "log".into(),
        name: None,
        title: None,
        description: None,
        arguments: Vec::new(),
        drops: Vec::new(),
    };
    let argument =
        |path: &[&str]| Argument { path: path.iter().map(|key| (*key).into()).collect(), said: Said::Hidden };
    check("a shape is of an upstream that is not there", &|rules| {
        rules.servers[0].shapes = vec![Shape { upstream: 2, ..shape() }];
    });
    check("a shape says more than a worker looks at", &|rules| {
        let arguments = (0..33).map(|at| argument(&[&format!("{at:02}")])).collect();
        rules.servers[0].shapes = vec![Shape { arguments, ..shape() }];
    });
    check("a shape says more than a worker looks at", &|rules| {
        let drops = vec![vec![Step::Key("a".into())]; 33];
        rules.servers[0].shapes = vec![Shape { drops, ..shape() }];
    });
    let path = "a path of a shape is empty, longer than a worker walks, or ends in nothing";
    for argument in [argument(&[]), argument(&["a"; 9])] {
        check(path, &|rules| {
            rules.servers[0].shapes = vec![Shape { arguments: vec![argument.clone()], ..shape() }];
        });
    }
    for drop in [vec![], vec![Step::Key("a".into()); 9], vec![Step::Key("a".into()), Step::Each]] {
        check(path, &|rules| {
            rules.servers[0].shapes = vec![Shape { drops: vec![drop.clone()], ..shape() }];
        });
    }
    for paths in [[&["b"][..], &["a"]], [&["a"], &["a"]], [&["a"], &["a", "b"]]] {
        check("the arguments of a shape are not in their order, or one is inside of another", &|rules| {
            let arguments = paths.iter().map(|path| argument(path)).collect();
            rules.servers[0].shapes = vec![Shape { arguments, ..shape() }];
        });
    }
}

#[test]
fn forged_rules_are_caught_by_their_meaning() {
    let check = |expected: &str, change: &dyn Fn(&mut Rules)| {
        let mut rules = rules();
        rules.traits = vec![a_trait(0)];
        rules.roles = vec![role(0)];
        rules.policy.rules = vec![rule(Effect::Allow, PatternKind::Any, &["*"], To::Everyone)];
        change(&mut rules);
        check(&write(&rules, None), &format!("table damaged: {expected}"));
    };
    check("there is no listener", &|rules| rules.listeners.clear());
    for (kib_micro_usd, told, up_to_micro_usd) in
        [(1, None, None), (0, Some("cost"), None), (0, None, Some(9)), (1, None, Some(6))]
    {
        let bound =
            "a price that is known only after the call has no bound, or one below what each call costs";
        check(bound, &|rules| {
            let on = Pattern { kind: PatternKind::Any, glob: "*".into() };
            let told = told.map(str::to_owned);
            rules.prices = vec![Price { on, micro_usd: 7, kib_micro_usd, told, up_to_micro_usd }];
        });
    }
    check("a server is not found by its path", &|rules| rules.paths = Names::default());
    check("a server is not found by its path", &|rules| rules.paths = Names::build(["/other"].into_iter()));
    check("a server is not found by its path", &|rules| {
        rules.servers.push(server("again", "/mcp", &["*"]));
        rules.paths = Names::build(["/mcp", "/mcp"].into_iter());
    });
    check("the path index points at a server that is not there", &|rules| {
        rules.paths = Names::build(["/mcp", "/more"].into_iter());
    });
    check("a server's path does not begin with `/`", &|rules| rules.servers[0].path = "mcp".into());
    check("a server names an identity that is not there", &|rules| rules.servers[0].auth = vec![0]);
    check("a rule speaks to a role that is not there", &|rules| {
        rules.policy.rules = vec![rule(Effect::Deny, PatternKind::Any, &["*"], To::Roles(vec![0, 1]))];
    });
    check("a role stands for a trait that is not there", &|rules| rules.roles[0].yes = 1);
    check("a role stands for a trait that is not there", &|rules| rules.roles[0].error = 7);
    check("more traits than a set holds", &|rules| rules.traits = (0..8_193).map(a_trait).collect());
    check("a rule was written in a source that is not there", &|rules| {
        rules.policy.rules[0].place.source = 1
    });
    let number = || Operand::Number(Number("1".into()));
    let compare = |left| Op::Compare { left, by: Comparison::Equal, right: number() };
    let each = |ops| Op::Each { list: 0, quantifier: Quantifier::All, ops };
    let truth = || Op::Const(true);
    let all_of = |count| (0..count).map(|_| truth()).chain((1..count).map(|_| Op::Or)).collect::<Vec<_>>();
    const ONE_ANSWER: &str = "a condition does not come to one answer";
    for (expected, reads, ops) in [
        (ONE_ANSWER, 0, vec![]),
        (ONE_ANSWER, 0, vec![Op::Not]),
        (ONE_ANSWER, 0, vec![truth(), Op::And]),
        (ONE_ANSWER, 0, vec![truth(), truth()]),
        (ONE_ANSWER, 0, all_of(65)),
        // Skips that land outside, or where another number of truths is.
        (ONE_ANSWER, 0, vec![truth(), Op::UnlessFalse(3), truth(), Op::And]),
        (ONE_ANSWER, 0, vec![truth(), Op::UnlessFalse(1), truth(), Op::And]),
        (ONE_ANSWER, 0, vec![Op::UnlessTrue(0), truth()]),
        (ONE_ANSWER, 1, vec![each(2), truth()]),
        (ONE_ANSWER, 1, vec![each(1), Op::Not]),
        (ONE_ANSWER, 1, vec![each(2), each(1), truth()]),
        ("a condition reads what is not listed", 1, vec![compare(Operand::Read(1))]),
        ("a condition reads what is not listed", 1, vec![compare(Operand::Size(1))]),
        ("a condition reads what is not listed", 1, vec![Op::Has(1)]),
        ("a condition reads what is not listed", 0, vec![each(1), truth()]),
        ("a condition reads what is not listed", 0, vec![Op::Holds { list: 0, item: number() }]),
        ("a condition asks for a trait that is not there", 0, vec![Op::Trait { yes: 1, error: NONE }]),
        ("a condition asks for a trait that is not there", 0, vec![Op::Trait { yes: 0, error: 1 }]),
        ("a condition asks for a window that is not there", 0, vec![Op::Window(0)]),
        (
            "a condition uses a regular expression that is not there",
            0,
            vec![Op::Matches { of: number(), automaton: 0 }],
        ),
        ("a condition is longer than its bounds", 33, vec![truth()]),
        ("a condition is longer than its bounds", 0, all_of(513)),
    ] {
        let reads = (0..reads).map(|n| Read::of(Root::Arguments, vec![n.to_string()])).collect();
        let condition = Condition { reads, ops };
        check(expected, &|rules| rules.policy.rules[0].condition = Some(condition.clone()));
    }
    let mut read = Read::of(Root::Arguments, vec!["amount".into()]);
    read.first = Read::of(Root::Arguments, vec!["limit".into()]).first;
    let condition = Condition { reads: vec![read], ops: vec![Op::Has(0)] };
    check("a condition looks for a key by what does not find it", &|rules| {
        rules.policy.rules[0].condition = Some(condition.clone());
    });
    // A trait is worked out before there are any.
    check("a condition asks for a trait that is not there", &|rules| {
        rules.traits[0].condition.ops = vec![Op::Trait { yes: 0, error: NONE }];
    });
    let automaton = |start, next: Vec<u16>| Automaton {
        pattern: "a".into(),
        classes: vec![0; 256],
        columns: 2,
        start,
        next,
    };
    for automaton in [
        automaton(0, vec![0, 0]),
        automaton(2, vec![0, 0, 1, 1]),
        automaton(0, vec![0, 0, 1, 2]),
        automaton(0, vec![0, 1, 1, 1]),
        automaton(0, vec![0, 0, 1]),
        Automaton { classes: vec![1; 256], ..automaton(0, vec![0, 0, 1, 1]) },
        Automaton { classes: vec![0; 255], ..automaton(0, vec![0, 0, 1, 1]) },
    ] {
        check("a regular expression is not sound", &|rules| rules.automata = vec![automaton.clone()]);
    }
    let window = |hours: &[(u32, u32)], offsets: &[(i64, i32)]| Window {
        text: String::new(),
        week: hours.iter().map(|(from, until)| Hours { from: *from, until: *until }).collect(),
        offsets: offsets.iter().map(|(from, seconds)| Offset { from: *from, seconds: *seconds }).collect(),
        from: 0,
        until: 1,
    };
    for window in [
        window(&[(5, 5)], &[]),
        window(&[(0, 10_081)], &[]),
        window(&[(5, 9), (8, 10)], &[]),
        window(&[], &[(5, 0), (5, 0)]),
        window(&[], &[(0, 90_000)]),
    ] {
        check("a window of time is not in order", &|rules| rules.windows = vec![window.clone()]);
    }
    forged_shapes_are_caught(&check);
    check("an upstream's name is empty or has a dot", &|rules| rules.upstreams[0].name = "a.b".into());
    check("an upstream's name is empty or has a dot", &|rules| rules.upstreams[0].name = "".into());
    check("an http upstream has no endpoint", &|rules| {
        rules.upstreams[0].transport = Transport::Http { endpoints: Vec::new() };
    });
    let limit = |measure| Limit {
        id: "l".into(),
        state: 0,
        per: Vec::new(),
        on: Vec::new(),
        to: To::Roles(vec![9]),
        measure,
    };
    check("a limit is for a role that is not there", &|rules| {
        rules.limits = vec![limit(Measure::Concurrency { max: 1 })];
    });
    for measure in [
        Measure::Rate { count: 0, per: Unit::Second, burst: 1 },
        Measure::Rate { count: 1, per: Unit::Day, burst: 1_000 },
        Measure::Calls { max: 1, per: Unit::Second },
    ] {
        check("a limit's numbers come to nothing", &|rules| rules.limits = vec![limit(measure)]);
    }
    check("an endpoint's path does not begin with `/`", &|rules| {
        let endpoint = Endpoint { host: "h".into(), port: 1, path: "mcp".into(), https: false };
        rules.upstreams[0].transport = Transport::Http { endpoints: vec![endpoint] };
    });
}

#[test]
fn forged_catalogs_are_caught_by_their_meaning() {
    let item = || Item {
        exposed: "git__log".into(),
        bare: "log".into(),
        upstream: 0,
        fragment: 0,
        modern_fragment: 0,
        rules: vec![0, 2],
        glob: String::new(),
        limits: Vec::new(),
        price: None,
        print: 0,
        mirrored: Vec::new(),
        shape: None,
    };
    let check = |expected: &str, change: &dyn Fn(&mut Bound)| {
        let mut rules = rules();
        rules.policy.rules =
            (0..3).map(|_| rule(Effect::Deny, PatternKind::Any, &["x"], To::Everyone)).collect();
        let tools =
            Shelf { index: Names::build(["git__log"].into_iter()), items: vec![item()], ..Shelf::default() };
        let mut bound = Bound {
            servers: vec![BoundServer { tools, ..BoundServer::default() }],
            upstreams: vec![Capabilities::default(); 2],
            fragments: vec!["{}".into()],
        };
        Snapshot::from_bytes(&write(&rules, Some(&bound))).unwrap();
        change(&mut bound);
        let expected = format!("table damaged: {expected}");
        check(&write(&rules, Some(&bound)), &expected);
        // The same where control brings a catalog, without a file.
        let error = strait_table::snapshot::of_rules(&rules).unwrap().with_bound(&bound).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check("the catalog is of other servers than the rules", &|bound| bound.servers.clear());
    check("the catalog is of other servers than the rules", &|bound| bound.servers.push(Default::default()));
    check("a name index points at an item that is not there", &|bound| bound.servers[0].tools.items.clear());
    check("an item is not found by its name", &|bound| bound.servers[0].tools.index = Names::default());
    check("an item is not found by its name", &|bound| {
        bound.servers[0].tools.items.push(item());
        bound.servers[0].tools.index = Names::build(["git__log", "git__log"].into_iter());
    });
    check("an item belongs to an upstream that is not there", &|bound| {
        bound.servers[0].tools.items[0].upstream = 2
    });
    check("an item shows a fragment that is not there", &|bound| bound.fragments.clear());
    check("an item shows a fragment that is not there", &|bound| {
        bound.servers[0].tools.items[0].modern_fragment = 1;
    });
    check("the catalog is of other upstreams than the rules", &|bound| bound.upstreams.truncate(1));
    let elsewhere = "a server speaks of an upstream that is not there";
    check(elsewhere, &|bound| bound.servers[0].renamed_uris = vec![1, 2]);
    check(elsewhere, &|bound| {
        bound.servers[0].sections = vec![Section { upstream: 2, text: String::new() }];
    });
    check("a list is made of an upstream that is not there", &|bound| {
        bound.servers[0].prompts.upstreams = vec![2];
    });
    check("an item is spoken of by a rule that is not there", &|bound| {
        bound.servers[0].tools.items[0].rules = vec![3];
    });
    check("an item has a price that is not there", &|bound| {
        bound.servers[0].tools.items[0].price = Some(1);
    });
    check("an item is spoken of by a limit that is not there", &|bound| {
        bound.servers[0].tools.items[0].limits = vec![0];
    });
    for rules in [vec![2, 0], vec![1, 1]] {
        check("the rules that speak of an item are not in their order", &|bound| {
            bound.servers[0].tools.items[0].rules = rules.clone();
        });
    }
    check("a tool has not the shape that its server gives it", &|bound| {
        bound.servers[0].tools.items[0].shape = Some(0);
    });
    check("something else than a tool has a shape", &|bound| {
        let prompt = Item { shape: Some(0), ..item() };
        bound.servers[0].prompts =
            Shelf { index: Names::build(["git__log"].into_iter()), items: vec![prompt], ..Shelf::default() };
    });
}

/// A file of its own, gone with the test.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str, bytes: &[u8]) -> Kept {
        let path = std::env::temp_dir().join(format!("strait-table-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Kept(path)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_that_changes_after_it_was_opened_changes_nothing() {
    let table = table();
    let kept = Kept::new("changed", &table);
    let snapshot = Snapshot::open(&kept.0).unwrap();
    let generation = snapshot.generation();
    // In place, so that a mapping of the file itself would see it, and die of the truncation.
    std::fs::write(&kept.0, vec![0xff; table.len()]).unwrap();
    walk(&snapshot);
    std::fs::write(&kept.0, b"").unwrap();
    walk(&snapshot);
    assert_eq!(snapshot.rules().servers[0].path, "/mcp");
    assert_eq!(snapshot.generation(), generation);
    let error = Snapshot::open(&kept.0).unwrap_err().to_string();
    assert_eq!(error, "table truncated: expected a header of 256 bytes, found 0 bytes");
}

#[test]
fn opening_reads_no_more_than_the_header_promises() {
    // These never end.
    let error = Snapshot::open("/dev/zero".as_ref()).unwrap_err().to_string();
    assert!(error.starts_with("not a strait table"), "{error}");
    let mut table = table();
    let length = table.len();
    let kept = Kept::new("long", &{
        table.resize(length + (8 << 20), 0);
        table
    });
    let error = Snapshot::open(&kept.0).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("table has bytes after its end: its header says {length} bytes, found {}", length + 1)
    );
    let error = Snapshot::open("/nowhere/x.table".as_ref()).unwrap_err().to_string();
    assert_eq!(error, "cannot read the table: No such file or directory (os error 2)");
}

#[test]
fn the_same_rules_give_the_same_bytes_and_each_part_its_own_name() {
    assert_eq!(table(), table());
    let with = Snapshot::from_bytes(&table()).unwrap();
    let without = strait_table::snapshot::of_rules(&rules()).unwrap();
    assert_eq!(with.generation(), without.generation(), "the generation names the rules alone");
    assert_ne!(with.catalog(), without.catalog());
    let bound = without.with_bound(&bound()).unwrap();
    assert_eq!(bound.catalog(), with.catalog(), "a learned catalog is named like a pinned one");
    let mut other = rules();
    other.body_bytes_max += 1;
    let other = strait_table::snapshot::of_rules(&other).unwrap();
    assert_ne!(other.generation(), without.generation());
    assert_eq!(other.generation().to_string().len(), 12);
    assert_eq!(other.generation().to_string().as_bytes(), other.generation().short());
    assert_eq!(MAGIC, table()[..8]);
}
