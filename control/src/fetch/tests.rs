use std::io::{Read, Write};
use std::net::TcpListener;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// Somebody who says this to whoever connects, `times` over; its address.
fn says(answer: &'static [u8], times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..times {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let _ = stream.write_all(answer);
        }
    });
    address
}

fn ask(url: &str, chosen: Chosen) -> Result<(u16, String), String> {
    ask_with(&Fetcher::trusting(RootCertStore::empty()), url, chosen, &[])
}

fn ask_with(
    fetcher: &Fetcher,
    url: &str,
    chosen: Chosen,
    headers: &[(&str, &str)],
) -> Result<(u16, String), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = Url::parse(url).unwrap();
    let ask = Ask {
        method: Method::GET,
        url: &url,
        chosen,
        headers,
        body: Bytes::new(),
        within: Duration::from_millis(1500),
        answer_bytes_max: 64,
    };
    let said = runtime.block_on(fetcher.ask(ask)).map_err(|fault| fault.to_string())?;
    Ok((said.status, String::from_utf8(said.body.to_vec()).unwrap()))
}

#[test]
fn urls_that_can_be_asked() {
    let url = Url::parse("https://IdP.example/a/b?c=d").unwrap();
    assert_eq!(
        (url.host(), url.port(), url.path(), url.path_and_query()),
        ("idp.example", 443, "/a/b", "/a/b?c=d")
    );
    assert_eq!((url.origin(), url.shown()), ("https://idp.example".into(), "https://idp.example/a/b".into()));
    let url = Url::parse("http://[::1]:8080").unwrap();
    assert_eq!((url.host(), url.port(), url.authority()), ("::1", 8080, "[::1]:8080".into()));
    for bad in [
        "",
        "idp.example",
        "/jwks",
        "ftp://a/",
        "file:///etc/passwd",
        "https://",
        "https://a:b@c/",
        "https://a@b/",
        "https://a/#f",
        "https://a:0/",
        "https://a:99999/",
        "https://a:/",
        "https://a /",
        "https://a/\r\nx: y",
    ] {
        assert!(Url::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_answer_is_given_as_it_is_and_a_redirect_is_one() {
    let address =
        says(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nhi", 1);
    assert_eq!(ask(&format!("http://{address}/"), Chosen::ByOperator), Ok((302, "hi".into())));
}

#[test]
fn what_is_too_long_too_slow_or_no_answer_is_a_fault_that_names_the_origin_alone() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let long = says(b"HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n01234567890123456789012345678901234567890123456789012345678901234", 1);
    let garbage = says(b"\x16\x03\x01garbage\r\n\r\n", 1);
    let broken = says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi", 1);
    for (address, expected) in [
        (silent.local_addr().unwrap(), "within 1500 ms"),
        (long, "over 64 bytes"),
        (garbage, "gave no answer"),
        (broken, "broke off"),
    ] {
        let fault = ask(&format!("http://{address}/path?token=s3cret"), Chosen::ByOperator).unwrap_err();
        assert!(fault.contains(expected) && fault.contains("/path") && !fault.contains("s3cret"), "{fault}");
    }
}

#[test]
fn a_header_that_cannot_be_sent_is_not_told() {
    let address = says(b"", 1);
    let fetcher = Fetcher::trusting(RootCertStore::empty());
    let url = format!("http://{address}/");
    let fault = ask_with(&fetcher, &url, Chosen::ByOperator, &[("authorization", "s3cret\n")]).unwrap_err();
    assert!(fault.contains("a header") && !fault.contains("s3cret"), "{fault}");
}

#[test]
fn a_peer_leads_nowhere_near() {
    let fault = ask("https://127.0.0.1:1/", Chosen::ByPeer).unwrap_err();
    assert!(fault.contains("no public address"), "{fault}");
    let fault = ask("http://localhost:1/", Chosen::ByPeer).unwrap_err();
    assert!(fault.contains("not https"), "{fault}");
}

#[test]
fn a_server_is_asked_over_tls_when_its_certificate_is_trusted_and_names_it() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            let mut stream =
                StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let mut asked = [0; 4096];
            if stream.read(&mut asked).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = Fetcher::trusting(roots);
    let named = format!("https://localhost:{port}/");
    assert_eq!(ask_with(&trusting, &named, Chosen::ByOperator, &[]), Ok((200, "ok".into())));
    let other_name = ask_with(&trusting, &format!("https://127.0.0.1:{port}/"), Chosen::ByOperator, &[]);
    assert!(other_name.unwrap_err().contains("TLS handshake"));
    let untrusted = ask(&named, Chosen::ByOperator);
    assert!(untrusted.unwrap_err().contains("TLS handshake"));
}
