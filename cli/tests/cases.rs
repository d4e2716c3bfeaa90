//! `strait test` as a shell sees it: cases that pass and fail, what is told of them, and what they have tried.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Folder, Ran, strait};
use serde_json::Value;

const RULED: &str = r#"strait: 1
upstreams:
  crm: { sample: http }
servers:
  default: { path: /mcp, auth: [local], tools: [crm.*] }
identity:
  local: { api_keys: { generate: [{ id: ann, groups: [staff] }] } }
roles:
  staff: '"staff" in principal.groups'
policy:
  default: deny
  rules:
    - { id: refunds, allow: [crm.refund], to: [staff], when: 'args.amount <= 500', during: "Mon-Fri 06:00-18:00 UTC" }
    - { id: dry, allow: [crm.refund], when: 'request.headers["x-dry"] == "yes" && cidr("10.0.0.0/8").containsIP(request.ip)' }
    - { id: reads, allow: [crm.get_*], to: [staff] }
    - { id: no-drop, deny: ["*.delete_*"] }
"#;

const PASSING: &str = r#"tests:
  - { name: small refunds, as: ann, call: crm.refund, args: { amount: 5 }, at: 2026-11-23T07:00:00Z, expect: allow, by: refunds }
  - { as: ann, call: crm.refund, args: { amount: 500.00000000000000001 }, at: 2026-11-23T07:00:00Z, expect: deny }
  - { as: ann, call: crm.refund, args: { amount: 5 }, at: 2026-11-22T07:00:00Z, expect: deny }
  - { as: { id: eve }, call: crm.refund, headers: { x-dry: yes }, ip: 10.0.0.9, at: 2026-11-22T07:00:00Z, expect: allow, by: dry }
  - { as: { id: eve }, call: crm.get_x, expect: hidden }
  - { as: ann, call: crm.get_x, expect: allow }
  - { as: ann, call: crm.delete_x, expect: hidden, by: no-drop }
"#;

fn run(folder: &Folder, arguments: &[&str]) -> Ran {
    strait(folder.path(), &[&["test"], arguments].concat())
}

#[test]
fn cases_in_a_configuration_and_beside_it_pass() {
    let folder = Folder::new();
    folder.write("a.yaml", format!("{RULED}{PASSING}"));
    let told = run(&folder, &["a.yaml", "--coverage"]);
    assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{}", told.stdout);
    assert_eq!(
        told.stdout,
        r#"pass  small refunds  (a.yaml:18:5)
pass  ann crm.refund {"amount":500.00000000000000001}  (a.yaml:19:5)
pass  ann crm.refund {"amount":5}  (a.yaml:20:5)
pass  eve crm.refund {}  (a.yaml:21:5)
pass  eve crm.get_x {}  (a.yaml:22:5)
pass  ann crm.get_x {}  (a.yaml:23:5)
pass  ann crm.delete_x {}  (a.yaml:24:5)

what the cases have tried
  refunds: tried  (a.yaml:13:13)
  dry: tried  (a.yaml:14:13)
  reads: tried  (a.yaml:15:13)
  no-drop: tried  (a.yaml:16:13)

7 cases: 7 passed, 0 failed; coverage 100% (6 of 6)
"#
    );
    // Cases are no part of what is served.
    assert_eq!(strait(folder.path(), &["check", "a.yaml"]).code, 0);
    let inspected = strait(folder.path(), &["inspect", "a.yaml"]).stdout;
    assert!(!inspected.contains("small refunds"), "{inspected}");

    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    folder.write("b.test.yaml", PASSING);
    folder.write("a.test.yaml", "tests: [{ as: ann, call: crm.list, expect: hidden }]\n");
    let told = run(&folder, &["a.yaml"]);
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    assert!(
        told.stdout.starts_with(
            "pass  ann crm.list {}  (a.test.yaml:1:9)\npass  small refunds  (b.test.yaml:2:5)\n"
        ),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout.ends_with("8 cases: 8 passed, 0 failed; coverage 100% (6 of 6)\n"),
        "{}",
        told.stdout
    );
}

const FAILING: &str = r#"tests:
  - { name: 'a <large> "refund"', as: ann, call: crm.refund, args: { amount: 501 }, at: 2026-11-23T07:00:00Z, expect: allow, by: refunds }
  - { as: ann, call: crm.get_x, expect: deny }
  - { as: ann, call: crm.refund, at: 2026-11-23T07:00:00Z, expect: hidden }
  - { as: ann, call: crm.delete_x, expect: deny, by: reads }
  - { as: ann, call: crm.refund, expect: deny }
  - { as: bob, call: crm.get_x, expect: deny }
  - { as: ann, call: erp.get_x, expect: deny }
  - { as: ann, call: crm.get_x, expect: allow, by: raeds }
  - { as: ann, call: crm.get_x, expect: allow, by: reads }
"#;

#[test]
fn a_case_that_fails_says_what_was_decided_and_why_not_as_expected() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    folder.write("a.test.yaml", FAILING);
    let told = run(&folder, &["a.yaml"]);
    assert_eq!((told.code, told.stderr.as_str()), (1, ""));
    assert_eq!(
        told.stdout,
        r#"FAIL  a <large> "refund"  (a.test.yaml:2:5)
      wanted  allow by rule `refunds`
      decided deny: no rule allows it, and the default is deny
              rule `refunds`: its condition is false: (during "Mon-Fri
              06:00-18:00 UTC" && args.amount <= 500) (a.yaml:13:13)
FAIL  ann crm.get_x {}  (a.test.yaml:3:5)
      wanted  deny
      decided allow: rule `reads` allows it (a.yaml:15:13)
FAIL  ann crm.refund {}  (a.test.yaml:4:5)
      wanted  hidden
      decided deny: no rule allows it, and the default is deny; it is listed
FAIL  ann crm.delete_x {}  (a.test.yaml:5:5)
      wanted  deny by rule `reads`
      decided deny: rule `no-drop` denies it (a.yaml:16:13)
              rule `reads`: it speaks of other things (a.yaml:15:13)
FAIL  ann crm.refund {}  (a.test.yaml:6:5)
      wanted  deny
      not put rule `refunds` asks for the time: write `at`
FAIL  bob crm.get_x {}  (a.test.yaml:7:5)
      wanted  deny
      not put no key has the id `bob`: describe the principal, as `{ id: bob,
              groups: [] }`
FAIL  ann erp.get_x {}  (a.test.yaml:8:5)
      wanted  deny
      not put there is no upstream `erp`; declared: crm
FAIL  ann crm.get_x {}  (a.test.yaml:9:5)
      wanted  allow by rule `raeds`
      not put there is no rule `raeds`
pass  ann crm.get_x {}  (a.test.yaml:10:5)

9 cases: 1 passed, 8 failed; coverage 66% (4 of 6)
"#
    );
    let told = run(&folder, &["a.yaml", "--json", "--junit", "out.xml"]);
    assert_eq!((told.code, told.stderr.as_str()), (1, ""));
    let facts: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        (&facts["passed"], &facts["failed"], &facts["coverage"]["percent"]),
        (&1.into(), &8.into(), &66.into())
    );
    let first = &facts["cases"][0];
    assert_eq!(
        (&first["passed"], &first["decided"]["verdict"], &first["at"]),
        (&false.into(), &"deny".into(), &"a.test.yaml:2:5".into())
    );
    assert!(first["why"][1].as_str().unwrap().contains("args.amount <= 500"), "{first}");
    assert_eq!(facts["cases"][4]["decided"], Value::Null);

    // As a parser of XML reads it.
    let program = "import sys, xml.etree.ElementTree as tree\n\
                   root = tree.parse(sys.stdin).getroot()\n\
                   cases = root.findall('testsuite/testcase')\n\
                   failed = [case for case in cases if case.find('failure') is not None]\n\
                   print(root.get('tests'), root.get('failures'), len(cases), len(failed), cases[0].get('name'), cases[0].get('line'))";
    let mut python = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&folder.read("out.xml")).unwrap();
    let read = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap(), "9 8 9 8 a <large> \"refund\" 2\n");
}

#[test]
fn coverage_counts_rules_that_speak_and_conditions_that_are_not_met() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let check = |case: &str, percent: &str, code: i32, says: &[&str]| {
        folder.write("a.test.yaml", format!("tests:\n  - {case}\n"));
        let told = run(&folder, &["a.yaml", "--coverage", "--min-coverage", percent]);
        assert_eq!(told.code, code, "{}{}", told.stdout, told.stderr);
        for says in says {
            assert!(told.stdout.contains(says), "{says}: {}", told.stdout);
        }
    };
    let refund =
        "{ as: ann, call: crm.refund, args: { amount: 5 }, at: 2026-11-23T07:00:00Z, expect: allow }";
    check(
        refund,
        "33",
        0,
        &[
            "refunds: its condition was always met",
            "dry: its condition was never met",
            "reads: not tried",
            "coverage 33% (2 of 6)\n",
        ],
    );
    check(refund, "34", 1, &["coverage 33% (2 of 6), less than 34%\n"]);
    check(
        "{ as: ann, call: crm.delete_x, expect: deny }",
        "0",
        0,
        &["no-drop: tried", "coverage 16% (1 of 6)\n"],
    );
    // Whom a rule does not speak to tells nothing of its condition.
    check(
        "{ as: { id: eve }, call: crm.get_x, expect: deny }",
        "0",
        0,
        &["reads: not tried", "coverage 0% (0 of 6)\n"],
    );
}

#[test]
fn mistakes_in_cases_are_findings_at_their_places() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let check = |name: &str, text: &str, says: &[&str]| {
        folder.write(name, text);
        let told = run(&folder, &["a.yaml"]);
        assert_eq!((told.code, told.stdout.as_str()), (1, ""), "{text}");
        for says in says {
            assert!(told.stderr.contains(says), "{says}: {}", told.stderr);
        }
    };
    check(
        "a.test.yaml",
        "tests:\n  - { as: ann, call: crm.x, expect: alow, hedders: {}, at: noon, ip: x }\n",
        &[
            "did you mean `allow`",
            "unknown key `hedders` in a case",
            "--> a.test.yaml:2:43",
            "found text",
            "4 errors",
        ],
    );
    check(
        "a.test.yaml",
        "tests: [{ as: ann, call: crm.x, prompt: crm.y, expect: allow }]\n",
        &["cannot have both `call` and `prompt`"],
    );
    check("a.test.yaml", "tests: [{ call: crm.x }]\n", &["a case needs `as`", "a case needs `expect`"]);
    check(
        "a.test.yaml",
        "tests: [{ as: { groups: [a] }, call: crm.x, expect: deny }]\n",
        &["a principal needs `id`"],
    );
    check("a.test.yaml", "rules: []\n", &["unknown key `rules` in a file of cases"]);
    check("a.test.yaml", "", &["a.test.yaml"]);
    check("a.test.yaml", "tests: []\n", &["`a.yaml` has no cases"]);
    check(
        "a.yaml",
        &format!("{RULED}tests: [{{ as: ann, call: crm.x, expect: 5 }}]\n"),
        &["`5` is not one of"],
    );
    assert_eq!(strait(folder.path(), &["check", "a.yaml"]).code, 1);

    folder.write("a.yaml", RULED);
    assert_eq!(strait(folder.path(), &["compile", "a.yaml", "-o", "a.table"]).code, 0);
    let table = run(&folder, &["a.table"]);
    assert_eq!(table.code, 64);
    assert!(table.stderr.contains("is a table, which has no cases"), "{}", table.stderr);
    assert_eq!(run(&folder, &["none.yaml"]).code, 64);
    folder.write("a.test.yaml", PASSING);
    assert_eq!(run(&folder, &["a.yaml", "--min-coverage", "101"]).code, 64);
    assert_eq!(run(&folder, &["a.yaml", "--junit", "none/out.xml"]).code, 3);
}
