//! `--require-signed`: nothing is served that nobody trusted has signed, whichever door it comes through.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};
use strait_table::catalog::{Catalog, Definition, Known, Lists};
use strait_table::file::{HEADER_BYTES, Header, write};
use strait_table::{Snapshot, bind};
use strait_tests::gateway::wait_for;

use crate::gateway::{Ran, Site};
use crate::process::*;

const REQUIRED: [&str; 4] = ["serve", "table", "--require-signed", "ours.pub"];

/// A site with two keys, `ours` and `theirs`, and its tables signed by the first: `table` and `all` with sequence 10, `fewer` with 20.
fn site() -> Site {
    let site = Site::new();
    for name in ["ours", "theirs"] {
        assert_eq!(run(&site, &["keys", "signing", name]).code, 0);
    }
    for (table, sequence) in [("all", "10"), ("fewer", "20")] {
        sign(&site, table, "ours", sequence);
    }
    site.folder.write("table", site.folder.read("all"));
    site
}

/// A verb that knows no state folder.
fn run(site: &Site, arguments: &[&str]) -> Ran {
    let ran = strait(&site.folder.0, arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: ran.status.code().unwrap_or(-1), out: text(ran.stdout), err: text(ran.stderr) }
}

fn sign(site: &Site, table: &str, key: &str, sequence: &str) {
    let ran = run(site, &["sign", table, "--key", key, "--sequence", sequence]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

fn serve(site: &Site) -> Process {
    Process::start(&site.folder, &REQUIRED)
}

/// A start with this table, which must be refused.
fn refuses_to_start(site: &Site, code: i32, says: &str) {
    let ran = site.run(&REQUIRED);
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(says), "`{says}`: {}", ran.err);
}

/// The same table with other contents and every checksum made right, under the signature that was there.
fn forged(table: &[u8], change: impl FnOnce(&mut Header, &mut Vec<u8>)) -> Vec<u8> {
    let mut header = Header::parse(table).expect("a header");
    let mut rest = table[HEADER_BYTES..].to_vec();
    change(&mut header, &mut rest);
    for extent in [&mut header.rules, &mut header.bound] {
        let start = extent.offset as usize - HEADER_BYTES;
        extent.blake3 = *blake3::hash(&rest[start..start + extent.length as usize]).as_bytes();
    }
    [&header.encode()[..], &rest].concat()
}

/// Puts another letter into a word of the table.
fn respell(bytes: &mut [u8], word: &[u8]) {
    let at = bytes.windows(word.len()).position(|window| window == word).expect("the word");
    bytes[at] ^= 0x01;
}

#[test]
fn a_start_takes_nothing_that_nobody_trusted_has_signed() {
    let site = site();
    let good = site.folder.read("table");
    // With what upstreams offer in it, so that there is a second section.
    let rules = Snapshot::from_bytes(&good).unwrap().unpacked().unwrap();
    let echo = Definition { name: "echo".into(), json: r#"{"name":"echo","description":"harmless"}"#.into() };
    let lists = Lists { known: Known::Fresh, tools: vec![echo], ..Lists::default() };
    let (bound, _) = bind(Snapshot::from_bytes(&good).unwrap().rules(), &Catalog { upstreams: vec![lists] });
    site.folder.write("pinned", write(&rules, Some(&bound)));
    sign(&site, "pinned", "ours", "10");
    let pinned = site.folder.read("pinned");
    let header = Header::parse(&pinned).unwrap();
    let catalog = header.bound.offset as usize - HEADER_BYTES..;

    let refused = |table: Vec<u8>, says: &str| {
        site.folder.write("table", table);
        refuses_to_start(&site, 1, says);
    };
    let unsigned = |table: &[u8]| forged(table, |header, _| header.signature = None);
    refused(unsigned(&good), "not signed");
    let mut bytes = good.clone();
    fs::write(site.folder.at("table"), &bytes).unwrap();
    sign(&site, "table", "theirs", "10");
    refuses_to_start(&site, 1, "expected a table signed by");
    // Every part: each field of the signature, the rules, the catalog.
    let field = |change: fn(&mut strait_table::signature::Signature)| {
        forged(&good, |header, _| change(header.signature.as_mut().expect("signed")))
    };
    refused(field(|signature| signature.key.0[0] ^= 1), "expected a table signed by");
    refused(field(|signature| signature.sequence += 1), "not valid");
    refused(field(|signature| signature.bytes[0] ^= 1), "not valid");
    refused(field(|signature| signature.bytes[63] ^= 0x20), "not valid");
    refused(forged(&good, |_, rest| respell(rest, b"all")), "not valid");
    refused(forged(&pinned, |_, rest| respell(&mut rest[catalog.clone()], b"harmless")), "not valid");
    // The signed rules without the signed catalog.
    refused(
        forged(&pinned, |header, rest| {
            rest.truncate(header.bound.offset as usize - HEADER_BYTES);
            header.length -= header.bound.length;
            header.bound.length = 0;
        }),
        "not valid",
    );
    // A byte that no checksum was made right for is damage, as ever.
    bytes[HEADER_BYTES + 20] ^= 1;
    refused(bytes, "damaged");
    site.folder.write("table", site.folder.read("all.yaml"));
    refuses_to_start(&site, 64, "only signed tables are served");
    site.folder.write("table", &pinned);
    assert_eq!(serve(&site).generation(), site.all);
}

#[test]
fn what_verbs_tell_of_a_signature_is_true() {
    let site = site();
    let signed = |sequence: &str| {
        let ran = run(
            &site,
            &["compile", "all.yaml", "-o", "signed", "--sign", "ours", "--sequence", sequence, "--json"],
        );
        assert_eq!(ran.code, 0, "{}", ran.err);
        (serde_json::from_str::<Value>(&ran.out).unwrap(), site.folder.read("signed"))
    };
    let ((facts, first), (_, again), (other, later)) = (signed("10"), signed("10"), signed("11"));
    // Deterministic; and a signature changes no name.
    assert!(first == again && first == site.folder.read("all") && first != later);
    assert_eq!((&facts["generation"], &other["generation"]), (&json!(site.all), &json!(site.all)));
    assert_eq!(facts["signature"]["sequence"], 10);
    let inspected = run(&site, &["inspect", "signed"]).out;
    let key = facts["signature"]["key"].as_str().unwrap().to_owned();
    assert!(inspected.contains(&format!("signed by {key}, sequence 11")), "{inspected}");
    let check = |arguments: &[&str]| run(&site, &[&["check"], arguments].concat()).code;
    assert_eq!(check(&["signed", "--require-signed", "ours.pub"]), 0);
    assert_eq!(check(&["signed", "--require-signed", "theirs.pub"]), 1);
    assert_eq!(check(&["signed", "--require-signed", "theirs.pub", "--require-signed", "ours.pub"]), 0);
    assert_eq!(check(&["all.yaml", "--require-signed", "ours.pub"]), 64);
    // Without a number it is the second of now.
    assert_eq!(run(&site, &["sign", "signed", "--key", "theirs"]).code, 0);
    let now = Snapshot::from_bytes(&site.folder.read("signed")).unwrap().signature().unwrap().sequence;
    assert!(now > 1_795_000_000, "{now}");
    // A key that is there stays; what is none is told.
    assert_eq!(run(&site, &["keys", "signing", "ours"]).code, 6);
    assert_eq!(run(&site, &["sign", "signed", "--key", "ours.pub"]).code, 1);
    assert_eq!(run(&site, &["sign", "all.yaml", "--key", "ours"]).code, 64);
    assert_eq!(run(&site, &["sign", "signed", "--key", "nowhere"]).code, 64);
    let process = serve(&site);
    let status = site.json(&["status"])["rollout"]["signed"].clone();
    let expected = json!({ "required": true, "signature": { "key": key, "sequence": 10, "verified": true, "by": "ours.pub" } });
    assert_eq!(status, expected);
    let text = site.run(&["status"]).out;
    assert!(text.contains(&format!("signed by {key}, sequence 10, verified with `ours.pub`")), "{text}");
    drop(process);
    // One that asks for nobody's signature says so.
    let _process = site.serve();
    let text = site.run(&["status"]).out;
    assert!(text.contains("which nobody asked for"), "{text}");
}

#[test]
fn a_running_gateway_takes_nothing_else_either() {
    let site = site();
    let process = serve(&site);
    let unsigned = |name: &str| site.folder.compile(&open_but_for(&site.upstream.url(), name)).0;
    site.folder.write("unsigned", unsigned("slow"));
    site.folder.write("wrong", unsigned("slow"));
    sign(&site, "wrong", "theirs", "99");
    site.folder.write("older", unsigned("slow"));
    sign(&site, "older", "ours", "9");
    let doors: [&[&str]; 3] = [&[], &["--canary", "5%"], &["--shadow"]];
    for (table, says) in [
        ("unsigned", "not signed"),
        ("fewer.yaml", "not signed"),
        ("wrong", "expected a table signed by"),
        ("older", "its sequence is 9, expected 10 or more"),
    ] {
        for door in doors {
            let ran = site.run(&[&["apply", table], door].concat());
            assert_eq!(ran.code, 1, "{table} {door:?}: {}", ran.err);
            assert!(ran.err.contains(says), "{table} {door:?}: {}", ran.err);
        }
        let rollout = site.json(&["status"])["rollout"].clone();
        assert!(rollout["rejected"]["why"].as_str().unwrap().contains(says), "{rollout}");
        let planned = site.run(&["plan", table]);
        assert!(planned.code == 1 && planned.err.contains(says), "{}{}", planned.out, planned.err);
        assert_eq!(process.generation(), site.all);
    }
    // The same by the file that is watched, and by a hangup.
    for (contents, says) in [
        (site.folder.read("unsigned"), "not signed"),
        (site.folder.read("wrong"), "expected a table signed by"),
        (site.folder.read("older"), "its sequence is 9"),
        (site.folder.read("all.yaml"), "only signed tables are served"),
    ] {
        site.folder.replace("table", contents);
        process.hang_up();
        wait_for("it to be refused", || {
            process.reload()["why"].as_str().is_some_and(|why| why.contains(says))
        });
        assert_eq!((process.generation(), process.reload()["state"] == "rejected"), (site.all.clone(), true));
    }
    // What is newer and ours is taken; a rollback to what was served is no downgrade, and no door for anything else.
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    let older = site.run(&["apply", "all"]);
    assert!(older.code == 1 && older.err.contains("its sequence is 10, expected 20"), "{}", older.err);
    assert_eq!(site.json(&["rollback"])["to"], site.all);
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    let stored = site.rollout().join("tables");
    let path = fs::read_dir(&stored).unwrap().map(|entry| entry.unwrap().path());
    let path: Vec<_> = path.filter(|path| path.to_string_lossy().contains(&site.all)).collect();
    assert_eq!(path.len(), 1);
    let path = &path[0];
    fs::write(path, forged(&fs::read(path).unwrap(), |header, _| header.signature = None)).unwrap();
    let ran = site.run(&["rollback"]);
    assert!(ran.code == 1 && ran.err.contains("not signed"), "{}{}", ran.out, ran.err);
    assert_eq!(process.generation(), site.fewer);
}

#[test]
fn nobody_is_asked_on_the_word_of_a_table_that_nobody_signed() {
    let site = site();
    let _process = serve(&site);
    // A store and a token endpoint that would be shown what the gateway has.
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("bind");
    elsewhere.set_nonblocking(true).expect("non-blocking");
    let at = elsewhere.local_addr().expect("an address");
    let hostile = open_to_all(&site.upstream.url()).replace(
        "servers:",
        &format!(
            "  a: {{ http: \"http://127.0.0.1:1/mcp\", credential: {{ bearer: \"${{secret:crm}}\" }} }}\n\
             \x20 b: {{ http: \"http://127.0.0.1:1/mcp\", credential: {{ oauth: {{ token_url: \"http://{at}/token\", client: c, secret: \"${{env:HOME}}\" }} }} }}\n\
             secrets: {{ crm: {{ vault: {{ address: \"http://{at}\", path: kv/data/crm, field: token, token: \"${{env:HOME}}\" }} }} }}\n\
             servers:"
        ),
    );
    site.folder.write("hostile", site.folder.compile(&hostile).0);
    for arguments in [&["apply", "hostile"][..], &["apply", "hostile", "--shadow"], &["plan", "hostile"]] {
        let ran = site.run(arguments);
        assert!(ran.code == 1 && ran.err.contains("not signed"), "{arguments:?}: {}{}", ran.out, ran.err);
    }
    // Whoever was asked was asked before the answer.
    let came = elsewhere.accept();
    assert!(came.is_err(), "{came:?}");
    // The same where somebody vouches for it.
    sign(&site, "hostile", "ours", "30");
    site.run(&["plan", "hostile"]);
    assert!(elsewhere.accept().is_ok());
}

#[test]
fn a_downgrade_is_allowed_where_somebody_says_so() {
    let site = site();
    let process = Process::start(&site.folder, &[&REQUIRED[..], &["--allow-downgrade"]].concat());
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    assert_eq!(site.json(&["apply", "all"])["to"], site.all);
    let unsigned = site.folder.compile(&open_to_all(&site.upstream.url())).0;
    site.folder.write("unsigned", unsigned);
    assert_eq!(site.run(&["apply", "unsigned"]).code, 1);
    drop(process);
    // To allow what nobody is asked for is a mistake.
    assert_eq!(run(&site, &["serve", "table", "--allow-downgrade"]).code, 64);
}

#[test]
fn a_restart_believes_neither_an_older_file_nor_a_changed_state_folder() {
    let site = site();
    let mut process = serve(&site);
    site.folder.replace("table", site.folder.read("fewer"));
    process.wait_for_generation(&site.fewer);
    process.kill();
    // While nobody served, the table of before was put back.
    site.folder.replace("table", site.folder.read("all"));
    let mut process = serve(&site);
    assert_eq!(process.generation(), site.fewer);
    assert!(process.log().contains("older than the table in use"), "{}", process.log());
    assert_eq!(site.json(&["status"])["rollout"]["file"]["state"], "rejected");
    process.kill();
    let strict = site.run(&[&REQUIRED[..], &["--strict"]].concat());
    assert!(strict.code == 1 && strict.err.contains("older"), "{}", strict.err);
    let mut process = Process::start(&site.folder, &[&REQUIRED[..], &["--allow-downgrade"]].concat());
    assert_eq!(process.generation(), site.all);
    // What an operator put in the place of the file is checked as well.
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    process.kill();
    let stored = site.rollout().join("tables");
    let strip = |path: &std::path::Path| {
        fs::write(path, forged(&fs::read(path).unwrap(), |header, _| header.signature = None)).unwrap();
    };
    let of_fewer = fs::read_dir(&stored).unwrap().map(|entry| entry.unwrap().path());
    let of_fewer: Vec<_> = of_fewer.filter(|path| path.to_string_lossy().contains(&site.fewer)).collect();
    assert_eq!(of_fewer.len(), 1);
    strip(&of_fewer[0]);
    strip(&site.folder.kept().expect("a kept table"));
    let mut process = serve(&site);
    assert_eq!(process.generation(), site.all);
    assert!(process.log().contains("not signed"), "{}", process.log());
    process.kill();
    site.folder.replace("table", "no table");
    fs::remove_dir_all(site.folder.at("state/rollout")).unwrap();
    strip(&site.folder.kept().expect("a kept table"));
    refuses_to_start(&site, 64, "the table kept of it cannot be used either");
}

#[test]
fn keys_are_rotated_without_another_generation() {
    let site = site();
    let both = [&REQUIRED[..], &["--require-signed", "theirs.pub"]].concat();
    let mut process = Process::start(&site.folder, &both);
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    sign(&site, "fewer", "theirs", "21");
    assert_eq!(site.json(&["apply", "fewer"])["to"], site.fewer);
    let by = || site.json(&["status"])["rollout"]["signed"]["signature"]["by"].clone();
    assert_eq!(by(), "theirs.pub");
    process.kill();
    // The old key is not trusted any more: what was kept is what the new one has signed.
    sign(&site, "table", "theirs", "10");
    let new: Vec<&str> = vec!["serve", "table", "--require-signed", "theirs.pub"];
    let process = Process::start(&site.folder, &new);
    assert_eq!((process.generation(), by()), (site.fewer.clone(), json!("theirs.pub")));
    // By the file too.
    sign(&site, "fewer", "theirs", "30");
    site.folder.replace("table", site.folder.read("fewer"));
    let sequence = || site.json(&["status"])["rollout"]["signed"]["signature"]["sequence"].clone();
    wait_for("the new signature", || sequence() == 30);
    assert_eq!(process.generation(), site.fewer);
    assert!(process.log().contains("signed anew"), "{}", process.log());
    drop(process);
    site.folder.replace("table", "no table");
    let _process = Process::start(&site.folder, &new);
    assert_eq!(sequence(), 30);
}

#[test]
fn a_successor_asks_for_signatures_as_its_predecessor_did() {
    let site = site();
    let process = serve(&site);
    let unsigned = site.folder.compile(&open_but_for(&site.upstream.url(), "slow")).0;
    site.folder.replace("table", unsigned);
    process.wait_for_state("rejected");
    process.signal("USR2");
    let successor = || -> Option<u32> {
        let log = process.log();
        let line =
            log.lines().find_map(|line| Some(line.split_once(" serves from here on")?.0.to_owned()))?;
        line.rsplit_once(' ')?.1.parse().ok()
    };
    wait_for("a successor", || successor().is_some());
    let pid = successor().expect("a successor");
    let generation = process.generation();
    signal(pid, "KILL");
    assert_eq!(generation, site.all);
    assert!(process.log().contains("serving the last good generation"), "{}", process.log());
}
