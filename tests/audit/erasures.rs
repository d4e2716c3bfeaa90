//! What was erased leaves a record of its own: of a gateway that writes the log, and of the next one where none did.

use serde_json::{Value, json};
use strait_audit::verify::{Against, Report, verify};
use strait_tests::gateway::wait_for;

use crate::folder::*;
use crate::process::{Folder, strait};

fn erase(folder: &Folder, index: usize, more: &[&str]) {
    let ran = strait(&folder.0, &[&["audit", "erase", "audit", &index.to_string()], more].concat());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

fn report(folder: &Folder) -> Report {
    verify(&folder.at("audit"), &Against::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn acts(folder: &Folder) -> Vec<Value> {
    let mut acts = of_kind(&records(folder), "admin");
    acts.retain(|act| act["act"] == "erased");
    acts
}

fn of_calls(folder: &Folder) -> Vec<usize> {
    let is_call = |(index, record): (usize, &Value)| (record["tool"] == "up.echo").then_some(index);
    records(folder).iter().enumerate().filter_map(is_call).collect()
}

#[test]
fn an_erasure_is_recorded_by_the_gateway_that_writes_or_by_the_next() {
    let (folder, upstream) = (Folder::new(), echo());
    let process = serve(&folder, &audited(&upstream.url(), ", payload: full, checkpoint: 100ms"));
    let mut client = process.client();
    for text in ["one", "two", "three"] {
        client.roundtrip(call(text));
    }
    let signed = || report(&folder).signed > *of_calls(&folder).last().unwrap_or(&usize::MAX) as u64;
    wait_for("three calls to be signed", || of_calls(&folder).len() == 3 && signed());
    let calls = of_calls(&folder);
    // While it runs.
    erase(&folder, calls[0], &["--field", "arguments", "--why", "request 17\n\u{1b}[2J"]);
    assert_eq!(report(&folder).unexplained, [0u64; 0]);
    wait_for("the erasure to be recorded", || acts(&folder).len() == 1);
    wait_for("it to wait no longer", || report(&folder).erasures_waiting == 0);
    let act = acts(&folder).remove(0);
    assert_eq!((&act["record"], &act["erased"]), (&json!(calls[0]), &json!(["arguments"])));
    assert_eq!(act["why"], "request 17\n\u{1b}[2J");
    assert!(act["by"].as_str().unwrap().starts_with("uid "), "{act}");
    assert_eq!(process.stop(), Some(0));
    // While nothing does.
    erase(&folder, calls[1], &[]);
    let told = report(&folder);
    assert_eq!((told.erased, told.erasures_waiting, told.unexplained.len()), (3, 1, 0));
    assert_eq!(acts(&folder).len(), 1);
    let process = again(&folder);
    wait_for("the other erasure to be recorded", || acts(&folder).len() == 2);
    wait_for("it to wait no longer", || report(&folder).erasures_waiting == 0);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(acts(&folder)[1]["erased"], json!(["arguments", "result"]));
    // Whoever does it without saying so.
    erase(&folder, calls[2], &[]);
    std::fs::write(folder.at("audit/erasures"), "").unwrap();
    assert_eq!(report(&folder).unexplained, [calls[2] as u64]);
    let text = strait(&folder.0, &["audit", "verify", "audit"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains(&format!(
            "UNSAID   nobody said that something of these records was erased: {}\n",
            calls[2]
        )),
        "{text}"
    );
    std::fs::write(folder.at("audit/erasures"), "{\"record\":1}\n").unwrap();
    let error = verify(&folder.at("audit"), &Against::default()).unwrap_err().to_string();
    assert!(error.contains("erasures") && error.contains("no erasure"), "{error}");
}
