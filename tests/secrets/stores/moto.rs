//! AWS Secrets Manager as moto plays it.

use serde_json::{Value, json};
use strait_tests::gateway::wait_for;

use super::peer::*;
use crate::gateway::*;
use crate::process::*;

struct Aws(Peer);

const KEY: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAKANARIEKEYID0000"), ("AWS_SECRET_ACCESS_KEY", "kanarie-aws-secret-key")];

impl Aws {
    fn start(folder: &Folder) -> Aws {
        let port = free_port();
        let number = port.to_string();
        Aws(Peer::start(folder, "moto_server", port, &["-H", "127.0.0.1", "-p", &number], "/moto-api/"))
    }

    fn does(&self, action: &str, body: &Value) -> (u16, String) {
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, \
                     SignedHeaders=host, Signature=0";
        let target = format!("secretsmanager.{action}");
        let headers = [
            ("Content-Type", "application/x-amz-json-1.1"),
            ("X-Amz-Target", target.as_str()),
            ("Authorization", scope),
        ];
        ask(self.0.address, "POST", "/", &headers, &body.to_string()).expect("an answer")
    }

    fn done(&self, action: &str, body: &Value) {
        let said = self.does(action, body);
        assert_eq!(said.0, 200, "{said:?}");
    }

    fn source(&self, rest: &str) -> String {
        let address = self.0.address;
        format!(
            "aws: {{ region: eu-central-1, name: crm/token, endpoint: \"http://{address}\", refresh: 1s{rest} }}"
        )
    }
}

#[test]
#[ignore = "wants tests/peers/install"]
fn moto_a_secret_is_rotated_under_callers_and_no_request_fails() {
    let folder = Folder::new();
    let aws = Aws::start(&folder);
    aws.done("CreateSecret", &json!({"Name": "crm/token", "SecretString": "kanarie-aws-0"}));
    let accepted = Accepted::default();
    accepted.only("Bearer kanarie-aws-0");
    let upstream = guarded(&accepted);
    folder.write("config.yaml", with_secret(&upstream.url(), &aws.source("")));
    let process = serve(&folder, "config.yaml", &KEY);
    let callers = Callers::start(process.address);
    for rotation in 1..=3 {
        callers.go_on();
        let value = format!("kanarie-aws-{rotation}");
        aws.done("PutSecretValue", &json!({"SecretId": "crm/token", "SecretString": value}));
        let line = format!("Bearer {value}");
        wait_for("the new secret to be shown", || {
            upstream.arrived("tools/call").iter().any(|call| call.header("authorization") == Some(&line))
        });
        callers.go_on();
        accepted.only(&line);
    }
    callers.none_failed();
    let log = process.log();
    assert!(!log.contains("kanarie"), "{log}");
}

#[test]
#[ignore = "wants tests/peers/install"]
fn moto_a_field_a_binary_and_what_is_not_there() {
    let folder = Folder::new();
    let aws = Aws::start(&folder);
    let accepted = Accepted::default();
    let upstream = guarded(&accepted);
    folder.write("config.yaml", with_secret(&upstream.url(), &aws.source(", field: key")));
    let process = serve(&folder, "config.yaml", &KEY);
    let says = |text: &str| {
        wait_for(&format!("`{text}`"), || {
            failing(&process)["why"].as_str().unwrap_or_default().contains(text)
        });
    };
    says("is not there: look at `name` and `region`");
    aws.done("CreateSecret", &json!({"Name": "crm/token", "SecretString": "kanarie-plain"}));
    says("is no JSON object");
    aws.done("PutSecretValue", &json!({"SecretId": "crm/token", "SecretString": "{\"other\":\"kanarie\"}"}));
    says("has no field `key`");
    accepted.only("Bearer right");
    aws.done("PutSecretValue", &json!({"SecretId": "crm/token", "SecretString": "{\"key\":\"right\"}"}));
    let works = || call(&mut process.client(), "", "echo", json!({}))["result"].is_object();
    wait_for("the upstream", works);
    // Whole and in bytes.
    folder.replace("config.yaml", with_secret(&upstream.url(), &aws.source("")));
    aws.done("PutSecretValue", &json!({"SecretId": "crm/token", "SecretBinary": "Ynl0ZXM="}));
    accepted.only("Bearer bytes");
    wait_for("the bytes", works);
    assert!(!process.log().contains("kanarie"), "{}", process.log());
}
