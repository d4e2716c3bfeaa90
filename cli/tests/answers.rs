//! Answers about policy as a shell sees them: what somebody can reach, and what a change opens and closes.

mod common;

use common::{Folder, strait};
use serde_json::Value;

const RULED: &str = r#"
strait: 1
upstreams:
  crm: { sample: http }
servers:
  default: { path: /mcp, auth: [local], tools: [crm.*] }
  open: { path: /open, tools: [crm.get_*] }
identity:
  local: { api_keys: { generate: [{ id: ann, groups: [staff] }, { id: bob }, { id: cy }] } }
roles:
  staff: '"staff" in principal.groups'
  ops: 'principal.agent == "ops" && principal.claims.level >= 3 && !("intern" in principal.groups)'
policy:
  default: deny
  rules:
    - { id: refunds, allow: [crm.refund], to: [staff], when: 'args.amount <= 500', during: "Mon-Fri 06:00-18:00 UTC" }
    - { id: reads, allow: [crm.get_*] }
    - { id: no-drop, deny: ["*.delete_*"], unless: 'principal.claims.level == 3' }
    - { id: drop, allow: ["crm.delete_*"], to: [ops] }
    - { id: log, allow: ["crm.delete_log"], to: [staff] }
"#;

fn json(folder: &Folder, arguments: &[&str]) -> Value {
    let told = strait(folder.path(), &[arguments, &["--json"]].concat());
    assert_eq!((told.code, told.stderr.as_str()), (0, ""), "{arguments:?}");
    serde_json::from_str(&told.stdout).unwrap()
}

/// `name may: rules` of every thing that somebody reaches.
fn reach(entry: &Value) -> Vec<String> {
    let entries = entry["reach"].as_array().unwrap().iter().map(|thing| {
        let rules: Vec<&str> =
            thing["rules"].as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        let word = |key: &str| thing[key].as_str().unwrap();
        format!("{} {} {}: {}", word("server"), word("name"), word("may"), rules.join(" "))
    });
    entries.collect()
}

#[test]
fn reach_tells_what_one_principal_can_call() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    assert_eq!(strait(folder.path(), &["compile", "a.yaml", "-o", "a.table"]).code, 0);
    let check = |who: &str, expected: &[&str]| {
        // A configuration and its table say the same.
        for file in ["a.yaml", "a.table"] {
            let facts = json(&folder, &["reach", file, who]);
            assert_eq!(reach(&facts["principals"][0]), expected, "{who} {file}");
        }
    };
    check(
        "ann",
        &[
            "default crm.* never: ",
            "default crm.delete_* never: no-drop",
            "default crm.delete_log never: no-drop",
            "default crm.get_* always: reads",
            "default crm.refund sometimes: refunds",
            "open crm.get_* never: ",
        ],
    );
    check(
        r#"{"id":"eve","agent":"ops","claims":{"level":3}}"#,
        &[
            "default crm.* never: ",
            "default crm.delete_* always: drop",
            "default crm.delete_log always: drop",
            "default crm.get_* always: reads",
            "default crm.refund never: ",
            "open crm.get_* never: ",
        ],
    );
    check(
        "anonymous",
        &[
            "default crm.* never: ",
            "default crm.delete_* never: ",
            "default crm.delete_log never: ",
            "default crm.get_* never: ",
            "default crm.refund never: ",
            "open crm.get_* always: reads",
        ],
    );
    let text = strait(folder.path(), &["reach", "a.yaml", "ann"]).stdout;
    assert_eq!(
        text,
        r#"ann: groups staff; roles staff
server open asks for no credential: there, everybody is `anonymous`
No lock file pins what upstreams offer: these are the names that the policy
writes, and a pattern is whatever else it speaks of.

default: tools of crm
  always
    crm.get_*
  sometimes
    crm.refund
      allow refunds when (during "Mon-Fri 06:00-18:00 UTC" && args.amount <=
      500) (a.yaml:16:13)
  never
    crm.* crm.delete_* crm.delete_log
"#
    );
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[test]
fn reach_sets_everybody_side_by_side() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let text = strait(folder.path(), &["reach", "a.yaml"]).stdout;
    assert_eq!(
        text,
        r#"A always, s sometimes, . never, blank: not let in

   1  anonymous
   2  ann, role staff alone
   3  bob, cy
   4  role ops alone

No lock file pins what upstreams offer: these are the names that the policy
writes, and a pattern is whatever else it speaks of.

default: tools of crm                             1  2  3  4
  crm.*                                              .  .  .
  crm.delete_*                                       .  .  A
  crm.delete_log                                     .  .  A
  crm.get_*                                          A  A  A
  crm.refund                                         s  .  .

open: tools of crm                                1  2  3  4
  crm.get_*                                       A         
"#
    );
    assert_eq!(strait(folder.path(), &["reach", "a.yaml", "--all"]).stdout, text);
    let facts = json(&folder, &["reach", "a.yaml"]);
    let ids: Vec<&str> =
        facts["principals"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["anonymous", "ann", "bob", "cy"]);
    // Whoever is an example of a role has that role.
    let example =
        &facts["roles"].as_array().unwrap().iter().find(|role| role["role"] == "ops").unwrap()["example"];
    assert_eq!(example, &serde_json::json!({ "id": "somebody", "agent": "ops", "claims": { "level": 3 } }));

    let csv = strait(folder.path(), &["reach", "a.yaml", "--csv", "--tool", "crm.delete_*"]).stdout;
    assert_eq!(csv.lines().count(), 1 + 6 * 2, "{csv}");
    assert!(
        csv.starts_with(
            "principal,role,server,kind,name,may,rules\r\nanonymous,,default,tool,crm.delete_*,never,\r\n"
        ),
        "{csv}"
    );
    assert!(csv.contains(",ops,default,tool,crm.delete_log,always,drop\r\n"), "{csv}");
}

#[test]
fn reach_is_asked_wrongly() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    folder.write("empty.yaml", "");
    folder.write("bare.yaml", "strait: 1\npolicy: { default: deny }\n");
    let check = |arguments: &[&str], code: i32, says: &str| {
        let told = strait(folder.path(), &[&["reach"], arguments].concat());
        assert_eq!(told.code, code, "{arguments:?}: {}{}", told.stdout, told.stderr);
        assert!(told.stderr.contains(says), "{arguments:?}: {}", told.stderr);
    };
    check(&["a.yaml", "eve"], 64, "no key has the id `eve`");
    check(&["a.yaml", "{\"id\":1}"], 64, "this is not a principal, as JSON");
    check(&["a.yaml", "ann", "--all"], 64, "cannot be used with");
    check(&["a.yaml", "ann", "--csv", "--json"], 64, "cannot be used with");
    check(&["a.yaml", "ann", "--tool", "erp.*"], 64, "no server shows a tool like `erp.*`");
    check(&["empty.yaml"], 1, "");
    check(&["none.yaml"], 64, "none.yaml");
    // A tool that nobody wrote down is asked about by its name.
    let told = strait(folder.path(), &["reach", "a.yaml", "ann", "--tool", "crm.get_x"]);
    assert!(told.stdout.contains("  always\n    crm.get_x\n"), "{}{}", told.stdout, told.stderr);
}

/// Long lists are cut in text, and whole in JSON.
#[test]
fn reach_of_many_tools_stays_readable() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let tools: String =
        (0..250).map(|n| format!("    - {{ id: t{n}, allow: [crm.a_tool_with_a_number_{n}] }}\n")).collect();
    folder.write("many.yaml", format!("{RULED}{tools}"));
    let text = strait(folder.path(), &["reach", "many.yaml", "bob"]).stdout;
    assert!(
        text.contains("    and 151 more: `--tool GLOB` narrows, `--json` and `--csv` have all\n"),
        "{text}"
    );
    assert!(text.lines().count() < 80 && text.lines().all(|line| line.len() <= 80), "{text}");
    let facts = json(&folder, &["reach", "many.yaml", "bob"]);
    assert_eq!(reach(&facts["principals"][0]).len(), 250 + 6);
}

/// The change that most openings are: a little more of what was allowed.
#[test]
fn diff_tells_what_a_change_opens_first() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    let changed = RULED
        .replace("<= 500", "<= 600")
        .replace("id: reads, allow: [crm.get_*]", "id: reads, allow: [crm.get_*], to: [staff]")
        .replace("{ id: cy }", "{ id: dee, groups: [staff] }")
        .replace("policy:", "limits: [{ per: [principal], calls: 10/day }]\npolicy:");
    folder.write("b.yaml", &changed);
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    let diff = &["diff", "a.yaml", "b.yaml", "--at", "2026-11-21T12:00:00Z"];
    let told = run(diff);
    assert_eq!(
        told.stdout,
        r#"OPENED: permitted now, refused before
  tool crm.refund through server default
    for     role staff alone, ann
    call    crm.refund {"amount":501}
    as      {"id":"somebody","groups":["staff"]}
    with    at 2026-11-23T06:00:00Z
    before  deny: no rule allows it, and the default is deny
    after   permit: rule `refunds` allows it (b.yaml:17:13)
  tool crm.get_* through server default
    for     dee
    call    crm.get_any {}
    as      {"id":"dee","groups":["staff"]}
    before  deny: there is no key of that id
    after   permit: rule `reads` allows it (b.yaml:18:13)
  tool crm.refund through server default
    for     dee
    call    crm.refund {"amount":600}
    as      {"id":"dee","groups":["staff"]}
    with    at 2026-11-23T06:00:00Z
    before  deny: there is no key of that id
    after   permit: rule `refunds` allows it (b.yaml:17:13)

CLOSED: refused now, permitted before
  tool crm.get_* through server open
    for     anonymous
    call    crm.get_any {}
    as      {"id":"anonymous"}
    before  permit: rule `reads` allows it (a.yaml:17:13)
    after   deny: no rule allows it, and the default is deny
  tool crm.get_* through server default
    for     anybody with a key, bob, role ops alone
    call    crm.get_any {}
    as      {"id":"somebody"}
    before  permit: rule `reads` allows it (a.yaml:17:13)
    after   deny: no rule allows it, and the default is deny
  tool crm.get_* through server default
    for     cy
    call    crm.get_any {}
    as      {"id":"cy"}
    before  permit: rule `reads` allows it (a.yaml:17:13)
    after   deny: there is no key of that id

Parts that differ:
    added   limits limit-1
    changed identity local, rules reads, rules refunds
"#
    );
    // What is told is so: both configurations are asked again, by the verb that explains.
    let facts = json(&folder, diff);
    assert_eq!(facts["differs"], true);
    for (way, verdicts) in [("opened", ["deny", "permit"]), ("closed", ["permit", "deny"])] {
        let all = facts[way].as_array().unwrap();
        assert!(!all.is_empty(), "{way}");
        for one in all {
            let witness = &one["witness"];
            let who = witness["as"].to_string();
            for (file, expected, side) in
                [("a.yaml", verdicts[0], "before"), ("b.yaml", verdicts[1], "after")]
            {
                // Whoever has no key there cannot be described as one who has one.
                if witness[side]["reason"] == "there is no key of that id" {
                    continue;
                }
                let name = format!("crm.{}", witness["name"].as_str().unwrap());
                let args = witness["args_text"].as_str().unwrap();
                let at = witness["at"].as_str().unwrap();
                let server = one["server"].as_str().unwrap();
                let explained = json(
                    &folder,
                    &[
                        "explain", file, "--as", &who, "--tool", &name, "--args", args, "--at", at,
                        "--server", server,
                    ],
                );
                assert_eq!(explained["verdict"], expected, "{one:#}");
                assert_eq!(explained["rule"], witness[side]["rule"], "{one:#}");
            }
        }
    }
    let parts: Vec<String> = facts["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            format!(
                "{} {} {}",
                part["change"].as_str().unwrap(),
                part["block"].as_str().unwrap(),
                part["name"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        parts,
        ["changed identity local", "added limits limit-1", "changed rules reads", "changed rules refunds"]
    );
}

#[test]
fn diff_says_by_its_exit_code_whether_anything_differs() {
    let folder = Folder::new();
    folder.write("a.yaml", RULED);
    // Another place, another order and a comment change nothing.
    let mut lines: Vec<&str> = RULED.trim_end().lines().collect();
    let last = lines.len() - 1;
    lines.swap(last, last - 1);
    folder.write("moved.yaml", format!("# the same\n{}\n", lines.join("\n")));
    folder.write("limited.yaml", format!("limits: [{{ per: [principal], calls: 10/day }}]\n{RULED}"));
    folder.write("b.yaml", RULED.replace("<= 500", "<= 600"));
    // No call tells these two apart: the second part of the condition is always true beside the first.
    folder.write("c.yaml", RULED.replace("<= 500", "<= 500 && args.amount < 1000"));
    folder.write("bad.yaml", "strait: 1\npolicy: {}\n");
    folder.write("empty.yaml", "");
    let run = |arguments: &[&str]| strait(folder.path(), arguments);
    assert_eq!(run(&["compile", "a.yaml", "-o", "a.table"]).code, 0);
    let check = |after: &str, code: i32, says: &str| {
        for before in ["a.yaml", "a.table"] {
            let told = run(&["diff", before, after, "--detailed-exitcode"]);
            assert_eq!((told.code, told.stderr.as_str()), (code, ""), "{after}: {}", told.stdout);
            assert!(told.stdout.contains(says), "{after}: {}", told.stdout);
            assert_eq!(run(&["diff", before, after]).code, 0);
        }
    };
    check("a.yaml", 0, "nothing differs\n");
    check("a.table", 0, "nothing differs\n");
    check("moved.yaml", 0, "nothing differs\n");
    check(
        "limited.yaml",
        2,
        "No call is decided differently.\n\nParts that differ:\n    added   limits limit-1\n",
    );
    check("b.yaml", 2, "OPENED: permitted now, refused before\n");
    check("c.yaml", 2, "UNSETTLED: rules differ, and no call was found that is decided differently\n");

    let mut table = folder.read("a.table");
    table[8] = 200;
    folder.write("newer.table", &table);
    table.truncate(100);
    folder.write("short.table", &table);
    let wrong = |before: &str, after: &str, code: i32, says: &str| {
        let told = run(&["diff", before, after, "--detailed-exitcode"]);
        assert_eq!((told.code, told.stdout.as_str()), (code, ""), "{before} {after}: {}", told.stderr);
        assert!(told.stderr.contains(says), "{before} {after}: {}", told.stderr);
    };
    wrong("none.yaml", "a.yaml", 64, "none.yaml");
    wrong("a.yaml", ".", 64, "directory");
    wrong("a.yaml", "bad.yaml", 1, "bad.yaml");
    wrong("empty.yaml", "a.yaml", 1, "empty.yaml");
    wrong("newer.table", "a.yaml", 1, "newer");
    wrong("a.yaml", "short.table", 1, "short.table");
}

/// Forty rules over the same tool, each about twenty arguments of its own, and regular expressions: it ends, and says what it found.
#[test]
fn diff_of_very_many_questions_ends() {
    let folder = Folder::new();
    let config = |limit: u32| {
        let rules: String = (0..40)
            .map(|n| {
                let asked: Vec<String> = (0..20).map(|k| format!("args.a{n}x{k} != \"v{k}\"")).collect();
                let asked = format!("{} && args.b{n}.matches(\"^(a|b{n})*c+$\")", asked.join(" && "));
                format!(
                    "    - {{ id: m{n}, allow: [crm.refund], when: '{asked} && args.amount <= {}' }}\n",
                    limit + n
                )
            })
            .collect();
        RULED.to_owned() + &rules
    };
    folder.write("a.yaml", config(500));
    folder.write("b.yaml", config(600));
    let facts = json(&folder, &["diff", "a.yaml", "b.yaml", "--at", "2026-11-21T12:00:00Z"]);
    let told = facts["opened"].as_array().unwrap().len() + facts["unsettled"].as_array().unwrap().len();
    assert!(told > 0, "{facts:#}");
}
