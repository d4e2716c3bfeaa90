//! Reaches of each transport, with what can be missing.

use strait_table::rules::*;

use super::*;
use crate::fetch::Fetcher;
use crate::test_support::{Folder, run};

fn upstream(transport: Transport, credential: Option<Credential>) -> Upstream {
    Upstream {
        name: "u".into(),
        transport,
        era: Era::Auto,
        credential,
        identity_header: None,
        timeout: Timeouts::default(),
        list_ttl_ms: 0,
        tls: Default::default(),
    }
}

fn text(value: &str) -> Text {
    Text { parts: vec![TextPart::Literal(value.into())] }
}

fn http(host: &str) -> Transport {
    Transport::Http {
        endpoints: vec![Endpoint { host: host.into(), port: 8443, path: "/mcp".into(), https: false }],
    }
}

fn reaches(upstreams: Vec<Upstream>) -> Vec<Reach> {
    let folder = Folder::new();
    let rules = Rules { upstreams, ..crate::test_support::rules() };
    let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
    let references = References::local(folder.path(), folder.path(), &|_| None);
    let given = Given {
        base: Path::new("/etc/strait"),
        references: &references,
        certificates: &Default::default(),
        grants: &Grants::new(Fetcher::trusting(rustls::RootCertStore::empty())),
        this_program: Path::new("/bin/strait"),
    };
    let plans = plan(&snapshot, &given);
    let (sender, _receiver) = mpsc::unbounded_channel();
    run(async { Scout::new(sender).reach(plans).await })
}

fn headers(credential: Credential) -> Result<String, String> {
    match reaches(vec![upstream(http("127.0.0.1"), Some(credential))]).remove(0) {
        Reach::Http { endpoints } => {
            let line = |(name, value): &(String, Secret)| format!("{name}: {}", &**value);
            Ok(endpoints[0].headers.iter().map(line).collect())
        }
        Reach::Unreachable(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_and_hosts() {
    let check = |host: &str, address: &str, sent: &str| {
        let reach = reaches(vec![upstream(http(host), None)]).remove(0);
        let Reach::Http { endpoints } = reach else { panic!("{reach:?}") };
        assert_eq!((endpoints[0].address.to_string().as_str(), endpoints[0].host.as_str()), (address, sent));
    };
    check("127.0.0.1", "127.0.0.1:8443", "127.0.0.1:8443");
    check("localhost", "127.0.0.1:8443", "localhost:8443");
    check("::1", "[::1]:8443", "[::1]:8443");
    check("[::1]", "[::1]:8443", "[::1]:8443");
}

#[test]
fn a_credential_becomes_one_header() {
    assert_eq!(headers(Credential::Bearer(text("abc"))).unwrap(), "Authorization: Bearer abc");
    assert_eq!(headers(Credential::Basic(text("u:p"))).unwrap(), "Authorization: Basic dTpw");
    let named = |value| Credential::Header { name: "X-Key".into(), value: text(value) };
    assert_eq!(headers(named("k")).unwrap(), "X-Key: k");
    let why = headers(named("topsecret\r\nX-Admin: 1")).unwrap_err();
    assert!(why.contains("X-Key") && !why.contains("topsecret"), "{why}");
    let missing = Text { parts: vec![TextPart::Secret("crm".into())] };
    assert!(headers(Credential::Bearer(missing)).unwrap_err().starts_with("secret `crm` not found"));
}

#[test]
fn an_unknown_host_spoils_only_its_own_upstream() {
    let all = reaches(vec![upstream(http("no-such-host.invalid"), None), upstream(http("127.0.0.1"), None)]);
    let Reach::Unreachable(why) = &all[0] else { panic!("{:?}", all[0]) };
    assert!(why.contains("no-such-host.invalid"), "{why}");
    assert!(matches!(&all[1], Reach::Http { .. }));
}

#[test]
fn children_start_in_the_configs_folder() {
    let stdio = |cwd: Option<&str>| {
        Transport::Stdio(Stdio {
            command: "server".into(),
            args: vec!["-v".into()],
            env: vec![("TOKEN".into(), text("t0ken"))],
            cwd: cwd.map(Into::into),
            per: Per::Shared,
            max: 1,
            idle_ms: 1,
        })
    };
    let check = |given, expected: &str| {
        let reach = reaches(vec![upstream(stdio(given), None)]).remove(0);
        let Reach::Stdio { cwd, ref env, .. } = reach else { panic!("{reach:?}") };
        assert_eq!(cwd.unwrap(), Path::new(expected));
        assert_eq!(env[0], ("TOKEN".to_owned(), Secret::new("t0ken")));
    };
    check(None, "/etc/strait");
    check(Some("sub"), "/etc/strait/sub");
    check(Some("/srv"), "/srv");
}

#[test]
fn samples_are_this_program_and_a_loopback_port() {
    let sample = |sample| upstream(Transport::Sample(sample), None);
    let all = reaches(vec![sample(Sample::Stdio), sample(Sample::Http)]);
    assert_eq!(
        format!("{:?}", all[0]),
        "Stdio { command: \"/bin/strait\", args: [\"sample\", \"stdio\"], .. }"
    );
    let Reach::Http { endpoints } = &all[1] else { panic!("{:?}", all[1]) };
    assert!(endpoints[0].address.ip().is_loopback());
}

#[test]
fn what_was_found_and_lost_again_is_looked_for_again() {
    run(async {
        let (sender, _found) = mpsc::unbounded_channel();
        let scout = Scout::new(sender);
        let wanted = Wanted {
            host: "gone.invalid".into(),
            port: 80,
            path: "/".into(),
            headers: Vec::new(),
            lender: None,
            tls: None,
            previous: Vec::new(),
            stated: None,
        };
        let ended = tokio::spawn(async {});
        let entry = (wanted.clone(), ended.abort_handle());
        ended.await.unwrap();
        scout.missing.lock().unwrap().push(entry);
        scout.keep_looking(wanted);
        let still = scout.missing.lock().unwrap().iter().filter(|(_, task)| !task.is_finished()).count();
        assert_eq!(still, 1);
    });
}
