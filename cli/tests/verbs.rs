//! The verbs as a shell sees them: exit codes, what is on which stream, and JSON failures.

mod common;

use common::{Folder, strait};
use serde_json::Value;

const GOOD: &str = r#"
strait: 1
upstreams:
  hello: { sample: stdio }
servers:
  default: { path: /mcp, auth: [you], tools: ["*"] }
identity:
  you: { api_keys: { generate: [{ id: you, groups: [everyone] }] } }
roles:
  everyone: '"everyone" in principal.groups'
policy:
  default: deny
  rules:
    - { id: all, allow: ["*"], to: [everyone] }
"#;

/// Mistakes in three places.
const BAD: &str = r#"
strait: 1
upstreams:
  hello: { sample: stdin }
servers:
  default: { path: /mcp, auth: [you], tools: ["*"], tols: [] }
policy:
  default: deny
"#;

#[test]
fn check_tells_all_findings_and_its_exit_code() {
    let folder = Folder::new();
    folder.write("good.yaml", GOOD);
    folder.write("bad.yaml", BAD);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    assert_eq!(run(&["check", "good.yaml"]).code, 0);
    let bad = run(&["check", "bad.yaml"]);
    assert_eq!(bad.code, 1);
    assert!(
        bad.stdout.contains("stdin") && bad.stdout.contains("tols") && bad.stdout.contains("bad.yaml"),
        "{}",
        bad.stdout
    );
    assert!(!bad.stdout.contains('\u{1b}'), "coloured in a pipe");
    assert!(run(&["check", "bad.yaml", "--color", "always"]).stdout.contains('\u{1b}'));
    let bad = run(&["check", "bad.yaml", "--json"]);
    let facts: Value = serde_json::from_str(&bad.stdout).unwrap();
    assert_eq!((bad.code, &facts["ok"]), (1, &false.into()));
    assert!(facts["findings"].as_array().unwrap().len() >= 3, "{}", bad.stdout);
    assert_eq!(bad.stderr, "");
}

#[test]
fn compile_is_deterministic_and_writes_whole_or_nothing() {
    let folder = Folder::new();
    folder.write("good.yaml", GOOD);
    folder.write("bad.yaml", BAD);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let first = run(&["compile", "good.yaml", "-o", "a.table", "--json"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let facts: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!(facts["generation"].as_str().unwrap().len(), 12);
    assert_eq!(run(&["compile", "good.yaml", "-o", "b.table"]).code, 0);
    assert_eq!(folder.read("a.table"), folder.read("b.table"));

    folder.write("kept.table", "before");
    let failed = run(&["compile", "bad.yaml", "-o", "kept.table"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("stdin") && failed.stdout.is_empty());
    assert_eq!(folder.read("kept.table"), b"before");
    assert_eq!(run(&["compile", "good.yaml", "-o", "none/x.table"]).code, 3);
    assert_eq!(run(&["compile", "a.table", "-o", "c.table"]).code, 64);
    assert_eq!(folder.names(), ["a.table", "b.table", "bad.yaml", "good.yaml", "kept.table"]);

    let checked = run(&["check", "a.table"]);
    assert_eq!(checked.code, 0);
    assert!(checked.stdout.contains(facts["generation"].as_str().unwrap()));
    let shown = run(&["inspect", "a.table"]);
    assert!(shown.stdout.contains("when \"everyone\" in principal.groups"), "{}", shown.stdout);
    let both = |file: &str| serde_json::from_str::<Value>(&run(&["inspect", file, "--json"]).stdout).unwrap();
    assert_eq!(both("a.table"), both("good.yaml"));
}

#[test]
fn a_damaged_table_is_refused_by_name() {
    let folder = Folder::new();
    folder.write("good.yaml", GOOD);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    run(&["compile", "good.yaml", "-o", "t"]);
    let whole = folder.read("t");
    let check = |change: &dyn Fn(&mut Vec<u8>), says: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        folder.write("t", bytes);
        for verb in ["check", "inspect", "serve"] {
            let refused = run(&[verb, "t"]);
            assert_eq!(refused.code, 1, "{verb}: {}", refused.stderr);
            assert!(
                refused.stderr.contains(says) && refused.stderr.contains("`t`"),
                "{verb}: {}",
                refused.stderr
            );
        }
    };
    check(&|bytes| bytes.truncate(bytes.len() - 1), "truncated");
    check(&|bytes| bytes.truncate(20), "truncated");
    check(&|bytes| bytes[strait_table::file::HEADER_BYTES + 20] ^= 1, "damaged");
    check(&|bytes| bytes[100] ^= 1, "damaged");
    check(&|bytes| bytes[8] = 200, "newer");
}

#[test]
fn usage_is_64_and_json_failures_are_one_line() {
    let folder = Folder::new();
    let check = |arguments: &[&str], code: i32, word: &str, says: &str| {
        let plain = strait(folder.path(), arguments);
        assert_eq!(plain.code, code, "{arguments:?}: {}", plain.stderr);
        assert!(plain.stderr.contains(says), "{arguments:?}: {}", plain.stderr);
        let json = strait(folder.path(), &[arguments, &["--json"]].concat());
        let line: Value = serde_json::from_str(json.stderr.trim_end()).unwrap();
        assert_eq!((json.code, json.stderr.lines().count()), (code, 1));
        assert_eq!(line["error"]["code"], word);
        assert!(line["error"]["message"].as_str().unwrap().contains(says), "{line}");
    };
    check(&["check", "none.yaml"], 64, "usage", "none.yaml");
    check(&["up", "none.yaml"], 64, "usage", "none.yaml");
    check(&["check", "."], 64, "usage", "directory");
    check(&["nonsense"], 64, "usage", "nonsense");
    check(&["check", "x", "--nonsense"], 64, "usage", "--nonsense");
    check(&["up", "x", "--workers", "0"], 64, "usage", "0");
    check(&["keys", "list", "none.yaml"], 64, "usage", "none.yaml");
    assert_eq!(strait(folder.path(), &["--version"]).code, 0);
    let help = strait(folder.path(), &["--help"]);
    assert!(
        help.code == 0 && help.stdout.contains("Exit codes") && !help.stdout.contains("sample"),
        "{}",
        help.stdout
    );
}

#[test]
fn keys_are_shown_once_listed_without_and_revoked() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let made = run(&["keys", "new", "keys.yaml", "--id", "ada", "--groups", "ops,dev", "--quiet"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let key = made.stdout.trim_end();
    assert!(key.starts_with("sk-strait-") && made.stdout.lines().count() == 1);
    let talkative = run(&["keys", "new", "keys.yaml", "--id", "bob"]);
    assert!(talkative.stdout.lines().last().unwrap().starts_with("sk-strait-"));
    let file = String::from_utf8(folder.read("keys.yaml")).unwrap();
    assert!(!file.contains(key));
    let listed = run(&["keys", "list", "keys.yaml", "--json"]);
    let facts: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(facts["keys"][0]["id"], "ada");
    assert_eq!(facts["keys"][0]["groups"], serde_json::json!(["ops", "dev"]));
    assert!(!listed.stdout.contains("sk-strait-"));
    assert_eq!(run(&["keys", "revoke", "keys.yaml", "ada"]).code, 0);
    assert_eq!(run(&["keys", "revoke", "keys.yaml", "ada"]).code, 1);
    assert!(run(&["keys", "list", "keys.yaml"]).stdout.contains("revoked 20"));
}

#[test]
fn the_schema_is_json() {
    let folder = Folder::new();
    let schema = strait(folder.path(), &["schema"]);
    let schema: Value = serde_json::from_str(&schema.stdout).unwrap();
    assert!(schema["$schema"].is_string());
    let of_results = strait(folder.path(), &["schema", "load-result"]);
    let of_results: Value = serde_json::from_str(&of_results.stdout).unwrap();
    assert_eq!(of_results["properties"]["schema"]["const"], "strait.load/1");
    assert_eq!(strait(folder.path(), &["schema", "nonsense"]).code, 64);
}

#[test]
fn the_sample_speaks_over_its_pipes() {
    let folder = Folder::new();
    let request = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    let answered = common::strait_with_input(folder.path(), &["sample", "stdio"], request);
    assert_eq!(
        (answered.code, answered.stdout.as_str()),
        (0, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n")
    );
}

const RULED: &str = r#"
strait: 1
upstreams:
  crm: { sample: http }
servers:
  default: { path: /mcp, auth: [local], tools: [crm.*], prompts: [crm.*] }
identity:
  local: { api_keys: { generate: [{ id: ann, groups: [staff] }] } }
roles:
  staff: '"staff" in principal.groups'
policy:
  default: deny
  rules:
    - { id: refunds, allow: [crm.refund], to: [staff], when: 'args.amount <= 500', during: "Mon-Fri 06:00-18:00 UTC" }
    - { id: big, hold: [crm.refund], when: 'args.amount > 500' }
    - { id: no-drop, deny: ["*.delete_*"], unless: 'principal.claims.level == 9' }
    - { id: drop, allow: ["crm.delete_*"] }
"#;

#[test]
fn explain_says_how_a_call_is_decided_and_by_which_rule() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    assert_eq!(run(&["compile", "a.yaml", "-o", "a.table"]).code, 0);
    let monday = "2026-11-23T07:00:00Z";
    let check = |principal: &str, tool: &str, args: &str, at: &str, expected: (&str, Option<&str>, bool)| {
        // A configuration and its table say the same.
        for file in ["a.yaml", "a.table"] {
            let told = run(&[
                "explain", file, "--as", principal, "--tool", tool, "--args", args, "--at", at, "--json",
            ]);
            assert_eq!(told.code, 0, "{}", told.stderr);
            let facts: Value = serde_json::from_str(&told.stdout).unwrap();
            let found = (facts["verdict"].as_str().unwrap(), facts["rule"].as_str(), facts["listed"] == true);
            assert_eq!(found, expected, "{principal} {tool} {args} {at}: {}", told.stdout);
            assert!(facts["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        }
    };
    check("ann", "crm.refund", r#"{"amount":500}"#, monday, ("permit", Some("refunds"), true));
    check("ann", "crm.refund", r#"{"amount":500.01}"#, monday, ("hold", Some("big"), true));
    // What cannot be decided is refused.
    check("ann", "crm.refund", r#"{"amount":"5"}"#, monday, ("hold", Some("big"), true));
    check("ann", "crm.refund", r#"{"amount":5,"amount":5}"#, monday, ("deny", None, true));
    check("ann", "crm.refund", r#"{"amount":5}"#, "2026-11-22T07:00:00Z", ("deny", None, false));
    check(r#"{"id":"eve"}"#, "crm.refund", r#"{"amount":5}"#, monday, ("deny", None, false));
    check(r#"{"id":"eve"}"#, "crm.delete_all", "{}", monday, ("deny", Some("no-drop"), false));
    check(
        r#"{"id":"eve","claims":{"level":9.0}}"#,
        "crm.delete_all",
        "{}",
        monday,
        ("permit", Some("drop"), true),
    );
    check("ann", "crm.get", "{}", monday, ("deny", None, false));

    let told = run(&[
        "explain",
        "a.yaml",
        "--as",
        "ann",
        "--tool",
        "crm.refund",
        "--args",
        r#"{"amount":5}"#,
        "--at",
        monday,
    ]);
    assert!(told.stdout.starts_with("permit: rule `refunds` allows it  (a.yaml:14:13)"), "{}", told.stdout);
    assert!(told.stdout.contains("its condition is false: args.amount > 500"), "{}", told.stdout);
    let nobody = run(&["explain", "a.yaml", "--as", "eve", "--tool", "crm.refund"]);
    assert_eq!(nobody.code, 64);
    assert!(nobody.stderr.contains("no key has the id `eve`"), "{}", nobody.stderr);
    for wrong in [["--tool", "refund"], ["--tool", "erp.x"], ["--server", "none"]] {
        let mut arguments = vec!["explain", "a.yaml", "--as", "ann"];
        arguments.extend(wrong);
        if wrong[0] == "--server" {
            arguments.extend(["--tool", "crm.refund"]);
        }
        assert_eq!(run(&arguments).code, 64, "{wrong:?}");
    }
}

/// A rule of a Cedar file is called by its id there and pointed to in that file, whichever verb speaks of it.
#[test]
fn rules_of_cedar_files_have_their_places_there() {
    let folder = Folder::new();
    let config = RULED.split("  rules:").next().unwrap();
    folder.write("a.yaml", format!("{config}  cedar: crm.cedar\n"));
    let policies = "// Refunds.\n@id(\"refunds\")\npermit (\n  principal in Role::\"staff\",\n  action == Action::\"call_tool\",\n  \
                    resource == Tool::\"crm.refund\"\n) when { context.args.amount <= 500 };\nforbid (principal, action, resource)\n\
                    when { resource.name like \"delete_*\" };\n";
    folder.write("crm.cedar", policies);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    assert_eq!(run(&["compile", "a.yaml", "-o", "a.table"]).code, 0);
    for file in ["a.yaml", "a.table"] {
        let told = |tool: &str, args: &str| {
            let told = run(&["explain", file, "--as", "ann", "--tool", tool, "--args", args]);
            assert_eq!(told.code, 0, "{}", told.stderr);
            told.stdout
        };
        let refund = told("crm.refund", r#"{"amount":500}"#);
        assert!(refund.starts_with("permit: rule `refunds` allows it  (crm.cedar:3:1)"), "{refund}");
        let large = told("crm.refund", r#"{"amount":500.5}"#);
        assert!(large.starts_with("deny") && large.contains("(crm.cedar:3:1)"), "{large}");
        let drop = told("crm.delete_all", "{}");
        assert!(drop.starts_with("deny: rule `crm.cedar:policy1` denies it  (crm.cedar:8:1)"), "{drop}");
    }
    let who = run(&["who-can", "a.yaml", "crm.refund"]).stdout;
    assert!(who.contains("sometimes ann") && who.contains("crm.cedar:3:1"), "{who}");
    // A change of the file is a change of the table; a mistake in it is told with its place.
    let table = std::fs::read(folder.path().join("a.table")).unwrap();
    folder.write("crm.cedar", format!("{policies}// One more line.\n"));
    assert_eq!(run(&["compile", "a.yaml", "-o", "a.table"]).code, 0);
    assert_ne!(std::fs::read(folder.path().join("a.table")).unwrap(), table, "its hash is among the sources");
    folder.write("crm.cedar", policies.replace("amount", "amount.x +"));
    let wrong = run(&["check", "a.yaml"]);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.stdout.contains("crm.cedar:7:") || wrong.stderr.contains("crm.cedar:7:"),
        "{}{}",
        wrong.stdout,
        wrong.stderr
    );
}

#[test]
fn who_can_tells_whom_the_policy_lets_call_something() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let reach = |tool: &str| {
        let told = strait(folder.path(), &["who-can", "a.yaml", tool, "--json"]);
        assert_eq!(told.code, 0, "{}", told.stderr);
        let facts: Value = serde_json::from_str(&told.stdout).unwrap();
        let of = |entry: &Value, name: &str| {
            let rules: Vec<&str> =
                entry["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect();
            format!(
                "{} {}: {}",
                entry[name].as_str().unwrap(),
                entry["may"].as_str().unwrap(),
                rules.join(" ")
            )
        };
        (of(&facts["principals"][0], "id"), of(&facts["roles"][0], "role"))
    };
    let both = |who: &str, role: &str| (who.to_owned(), role.to_owned());
    assert_eq!(reach("crm.refund"), both("ann sometimes: refunds big", "staff sometimes: refunds big"));
    assert_eq!(reach("crm.get"), both("ann never: ", "staff never: "));
    assert_eq!(reach("crm.delete_all").0, "ann never: no-drop");
    let text = strait(folder.path(), &["who-can", "a.yaml", "crm.refund"]).stdout;
    assert!(text.contains("sometimes ann") && text.contains("during \"Mon-Fri 06:00-18:00 UTC\""), "{text}");
    assert_eq!(strait(folder.path(), &["who-can", "a.yaml", "refund"]).code, 64);
}

#[test]
fn explain_code_prints_the_page_of_a_finding() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let page = run(&["explain-code", "st0505"]);
    assert_eq!(page.code, 0, "{}", page.stderr);
    assert!(page.stdout.starts_with("# ST0505: ") && page.stdout.contains("## Bad"), "{}", page.stdout);
    let facts: Value = serde_json::from_str(&run(&["explain-code", "ST0505", "--json"]).stdout).unwrap();
    assert_eq!((&facts["code"], &facts["severity"]), (&"ST0505".into(), &"error".into()));
    assert_eq!(facts["page"], page.stdout);
    let all = run(&["explain-code"]);
    assert!(all.stdout.lines().count() > 80 && all.stdout.contains("ST0813"), "{}", all.stdout);
    assert_eq!(run(&["explain-code", "ST9999"]).code, 64);
}
