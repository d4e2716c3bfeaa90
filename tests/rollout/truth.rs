//! What is shown is what is served.

use serde_json::json;

use crate::gateway::Site;
use crate::process::*;

/// The known failure of other gateways: a file that was refused is shown as the effective configuration.
#[test]
fn a_rejected_file_is_never_shown_as_effective() {
    let site = Site::new();
    site.folder.write("strait.yaml", open_to_all(&site.upstream.url()));
    let process = Process::start(&site.folder, &["up", "strait.yaml"]);
    let first = process.generation();
    let effective = || site.effective(&process);
    let (status, before) = effective();
    assert_eq!((status, &before["generation"]), (200, &json!(first)));
    // It grants everything to a tool that is not there, and says so with a misspelt key.
    let bad = open_but_for(&site.upstream.url(), "secret").replace("{ id: but, deny:", "{ id: but, forbid:");
    site.folder.write("strait.yaml", &bad);
    process.wait_for_state("rejected");
    let (_, shown) = effective();
    assert_eq!(shown, before);
    let rules = shown["policy"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1, "{shown}");
    // Everywhere: readiness, figures, status as JSON and as text, with the findings.
    let ready = process.ready();
    assert_eq!((&ready["generation"], &ready["reload"]["state"]), (&json!(first), &json!("rejected")));
    let metrics = process.ask("/metrics").1;
    assert!(metrics.contains(&format!("generation=\"{first}\"")), "{metrics}");
    assert!(metrics.contains("\nstrait_config_last_reload_successful 0\n"), "{metrics}");
    let facts = site.json(&["status"]);
    assert_eq!(
        (&facts["rollout"]["generation"], &facts["rollout"]["file"]["state"]),
        (&json!(first), &json!("rejected"))
    );
    let text = site.run(&["status"]).out;
    for part in ["REJECTED", "forbid", "strait.yaml:", &first] {
        assert!(text.contains(part), "`{part}`: {text}");
    }
    assert_eq!(site.history()[0]["outcome"], "refused");
    // Until it is replaced.
    site.folder.write("strait.yaml", open_but_for(&site.upstream.url(), "secret"));
    process.wait_for_state("ok");
    assert_eq!(effective().1["policy"]["rules"].as_array().unwrap().len(), 2);
    assert_eq!(site.json(&["status"])["rollout"]["file"]["state"], "served");
}

#[test]
fn a_refused_candidate_is_shown_until_another_one_is_adopted() {
    let site = Site::new();
    let process = site.serve();
    let text = open_to_all(&site.upstream.url())
        .replace("admin: { bind: \"127.0.0.1:0\" }", "admin: { bind: \"127.0.0.2:0\" }");
    let (table, candidate) = site.folder.compile(&text);
    site.folder.write("candidate", &table);
    assert_eq!(site.run(&["apply", "candidate"]).code, 1);
    let rollout = site.json(&["status"])["rollout"].clone();
    assert_eq!(
        (&rollout["rejected"]["candidate"], &rollout["generation"]),
        (&json!(candidate), &json!(site.all))
    );
    assert!(rollout["rejected"]["why"].as_str().unwrap().contains("127.0.0.2:0"), "{rollout}");
    assert!(site.run(&["status"]).out.contains("REJECTED"));
    assert_eq!(site.effective(&process).1["admin"], "127.0.0.1:0");
    assert_eq!(site.run(&["apply", "fewer"]).code, 0);
    assert!(site.json(&["status"])["rollout"]["rejected"].is_null());
}
