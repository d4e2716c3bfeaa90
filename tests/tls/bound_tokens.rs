//! Tokens that are bound to a certificate (RFC 8705): believed where that certificate was shown, and nowhere else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::identities::Mesh;

/// SHA-256 of a certificate's DER, as `x5t#S256` has it.
pub fn thumbprint(mesh: &Mesh, file: &str) -> String {
    let pem = String::from_utf8(mesh.folder.read(&format!("{file}.pem"))).expect("UTF-8");
    let inside: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(inside).expect("base64");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    URL_SAFE_NO_PAD.encode(hash)
}

#[test]
fn a_bound_token_is_good_with_its_certificate_alone() {
    let mesh = Mesh::new();
    mesh.clients.client(&mesh.folder, "other", "spiffe://corp/robot/b", false);
    let bound = mesh.token("ada", json!({"cnf": {"x5t#S256": thumbprint(&mesh, "agent")}}));
    // Before and after this worker knows it.
    for _ in 0..2 {
        for (file, said) in
            [("other", "this connection has not shown"), ("", "this connection has not shown")]
        {
            let (status, body) =
                mesh.call("/tokens", file, &["-H", &bound, "-D", "head"]).expect("an answer");
            assert_eq!(status, 401, "{file}: {body}");
            assert!(body["error"]["message"].as_str().is_some_and(|text| text.contains(said)), "{body}");
            let head = String::from_utf8_lossy(&mesh.folder.read("head")).into_owned();
            assert!(head.contains("error=\"invalid_token\""), "{head}");
        }
        assert_eq!(mesh.principal("/tokens", "agent", &["-H", &bound]), "ada");
    }
    // Bound to somebody else's, it is as if there was none.
    let others = mesh.token("ada", json!({"cnf": {"x5t#S256": thumbprint(&mesh, "other")}}));
    assert_eq!(mesh.principal("/tokens", "agent", &["-H", &others]), "spiffe://corp/agent/a");
    // A renewed certificate is another one.
    mesh.clients.client(&mesh.folder, "agent", "spiffe://corp/robot/a", false);
    assert_eq!(mesh.call("/tokens", "agent", &["-H", &bound]).expect("an answer").0, 401);
    assert_eq!(mesh.gateway.stop(), Some(0));
}
