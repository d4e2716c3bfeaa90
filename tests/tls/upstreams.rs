//! Upstreams over https: nginx before a server of the test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use strait_tests::gateway::wait_for;

use crate::authority::Authority;
use crate::process::Folder;
use crate::{call, config, curl, echo, serve};

const ONE: &str = "{ cert: one.pem, key: one.key }";

/// nginx that speaks TLS and passes on; ends when dropped.
struct Nginx {
    child: Child,
    port: u16,
}

impl Nginx {
    fn start(folder: &Folder, cert: &str, upstream: std::net::SocketAddr, more: &str) -> Nginx {
        let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address").port();
        let at = folder.0.display();
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_max_body_size 16m; client_body_temp_path {at}/nb; proxy_temp_path {at}/np; \
             fastcgi_temp_path {at}/nf; uwsgi_temp_path {at}/nu; scgi_temp_path {at}/ns;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/{cert}.pem; ssl_certificate_key {at}/{cert}.key; {more}\n\
             location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header X-Connection $connection; \
             proxy_set_header Connection \"\"; }} }} }}\n"
        );
        folder.write("nginx.conf", text);
        let child = Command::new("nginx")
            .args([
                "-p",
                &at.to_string(),
                "-c",
                &format!("{at}/nginx.conf"),
                "-e",
                &format!("{at}/nginx.log"),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start nginx");
        wait_for("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Nginx { child, port }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn calls_go_over_tls_and_connections_are_kept() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    ca.server(&folder, "up", &["localhost"]);
    let upstream = echo();
    let nginx = Nginx::start(&folder, "up", upstream.address, "");
    let gateway = serve(
        &folder,
        &config(ONE, &format!("https://localhost:{}/mcp", nginx.port), ", tls: { ca: ca.pem }"),
    );
    for bytes in [1, 70_000, 3_900_000, 2] {
        let (status, body) =
            curl(&folder, gateway.address, "localhost", &[], &call(&"x".repeat(bytes))).expect("an answer");
        assert_eq!((status, body.len() > bytes), (200, true), "{bytes}: {body:.300}");
    }
    let arrived = upstream.arrived("tools/call");
    let lines: Vec<_> =
        arrived.iter().filter_map(|call| call.header("X-Connection").map(str::to_owned)).collect();
    let different: std::collections::BTreeSet<_> = lines.iter().collect();
    assert!(different.len() < lines.len(), "a connection per call: {lines:?}");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn who_is_not_who_it_should_be_gets_nothing_and_the_error_names_the_layer() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    ca.server(&folder, "named", &["other.example"]);
    ca.expired_server(&folder, "expired", "localhost");
    Authority::new(&folder, "strangers").server(&folder, "foreign", &["localhost"]);
    for (cert, expected) in [
        ("named", "it is for DnsName"),
        ("expired", "it expired on 20"),
        ("foreign", "it was issued by nobody that is trusted here"),
    ] {
        let upstream = echo();
        let nginx = Nginx::start(&folder, cert, upstream.address, "");
        let gateway = serve(
            &folder,
            &config(ONE, &format!("https://localhost:{}/mcp", nginx.port), ", tls: { ca: ca.pem }"),
        );
        gateway.wait_for_log("TLS handshake: the peer's certificate is not accepted");
        let log = gateway.log();
        assert!(log.contains(expected), "{cert}: {log}");
        assert_eq!(upstream.requests(), 0, "{cert}");
        assert_eq!(gateway.stop(), Some(0));
    }
}

#[test]
fn an_upstream_that_wants_a_certificate_gets_the_configured_one() {
    let folder = Folder::new();
    let ca = Authority::new(&folder, "ca");
    ca.server(&folder, "one", &["localhost"]);
    ca.server(&folder, "up", &["localhost"]);
    ca.client(&folder, "strait", "spiffe://corp/gateway", false);
    let upstream = echo();
    let more = format!("ssl_client_certificate {}/ca.pem; ssl_verify_client on;", folder.0.display());
    let nginx = Nginx::start(&folder, "up", upstream.address, &more);
    let url = format!("https://localhost:{}/mcp", nginx.port);
    let gateway =
        serve(&folder, &config(ONE, &url, ", tls: { ca: ca.pem, cert: strait.pem, key: strait.key }"));
    assert_eq!(curl(&folder, gateway.address, "localhost", &[], &call("x")).expect("an answer").0, 200);
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    assert_eq!(gateway.stop(), Some(0));
    let gateway = serve(&folder, &config(ONE, &url, ", tls: { ca: ca.pem }"));
    let (_, body) = curl(&folder, gateway.address, "localhost", &[], &call("x")).expect("an answer");
    assert!(body.contains("error"), "{body}");
    assert_eq!(upstream.arrived("tools/call").len(), 1);
    assert_eq!(gateway.stop(), Some(0));
}
