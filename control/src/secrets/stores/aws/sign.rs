//! Signature Version 4: who asks, over what exactly is asked.
//!
//! Written here because it is one page, with vectors that AWS publishes; the crates that have it bring a runtime of their own.

use aws_lc_rs::{digest, hmac};

use super::identity::Credentials;

/// What is signed. A header's name is in small letters, and they are in their order.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// Where, and when: `20150830T123600Z`.
pub struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
    pub moment: &'a str,
}

/// The line of `Authorization`. It has the name of the key and nothing secret.
pub fn authorization(request: &Request<'_>, scope: &Scope<'_>, credentials: &Credentials) -> String {
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let Request { method, path, body, .. } = request;
    let canonical = format!("{method}\n{path}\n\n{headers}\n{names}\n{}", hash(body));
    let day = scope.moment.split('T').next().unwrap_or_default();
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let signed = format!("AWS4-HMAC-SHA256\n{}\n{within}\n{}", scope.moment, hash(canonical.as_bytes()));
    let first = zeroize::Zeroizing::new(format!("AWS4{}", &*credentials.secret));
    let mut key = mac(first.as_bytes(), day);
    for part in [scope.region, scope.service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex(mac(key.as_ref(), &signed).as_ref());
    let id = &*credentials.id;
    format!("AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, Signature={signature}")
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use strait_engine::Secret;

    use super::*;

    /// Of AWS's own suite of vectors (`aws-sig-v4-test-suite`).
    fn signed(headers: &[(&str, &str)], method: &str, body: &str) -> String {
        let credentials = Credentials {
            id: Secret::new("AKIDEXAMPLE"),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            token: None,
        };
        let scope = Scope { region: "us-east-1", service: "service", moment: "20150830T123600Z" };
        let request = Request { method, path: "/", headers, body: body.as_bytes() };
        authorization(&request, &scope, &credentials)
    }

    #[test]
    fn vectors_of_aws() {
        let host = ("host", "example.amazonaws.com");
        let date = ("x-amz-date", "20150830T123600Z");
        let get = signed(&[host, date], "GET", "");
        assert_eq!(
            get,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let check = |line: String, signature: &str| assert!(line.ends_with(signature), "{line}");
        check(
            signed(&[host, date], "POST", ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        let form = ("content-type", "application/x-www-form-urlencoded");
        check(
            signed(&[form, host, date], "POST", "Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        );
    }
}
