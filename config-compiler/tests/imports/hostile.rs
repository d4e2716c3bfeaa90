//! Files that nobody means well with: a finding or a refusal, never a panic, and never a wider way in.

use strait_config_compiler::import;
use strait_config_compiler::load_text;

/// What came out, when anything did, passes the check once its variables are set.
fn import(text: impl AsRef<[u8]>) -> Option<import::Imported> {
    let imported = import::bytes("hostile.json", text.as_ref(), None).ok()?;
    if let Some(config) = &imported.config {
        let outcome = load_text("strait.yaml", config, &|_| Some("localhost".to_owned()));
        let only_urls = outcome.findings.iter().all(|finding| {
            !imported.variables.is_empty() || finding.severity() != strait_config_compiler::Severity::Error
        });
        assert!(only_urls, "{config}\n{}", strait_config_compiler::render(&outcome, false));
    }
    Some(imported)
}

#[test]
fn hostile_files_are_refused_or_asked_about() {
    let deep = format!("{{\"mcpServers\":{}1{}}}", "{\"a\":".repeat(400), "}".repeat(400));
    let deeper = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = format!(
        "{{\"mcpServers\":{{{}}}}}",
        (0..5_000).map(|n| format!("\"s{n}\":{{\"command\":\"x\"}}")).collect::<Vec<_>>().join(",")
    );
    let refused: [&[u8]; 12] = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"{\"mcpServers\": {\"a\": {}, \"a\": {}}}",
        b"{\"mcpServers\": {\"a\": {\"command\": \"x\"",
        b"\xff\xfe{\x00",
        b"{\"a\": \"\xff\"}",
        b"{\"a\": \"\x00\"}",
        b"{\"mcpServers\": []}",
        deep.as_bytes(),
        deeper.as_bytes(),
    ];
    for text in refused {
        assert!(import(text).is_none(), "{}", String::from_utf8_lossy(&text[..text.len().min(80)]));
    }
    let many = import(huge).unwrap();
    assert_eq!(many.report.count("asked"), 5_000 - 4_096);
    for text in [
        r#"{"mcpServers": {"a": 1, "b": [], "c": null, "d": "x", "e": {}}}"#,
        r#"{"mcpServers": {"a": {"command": ["x"], "args": {}, "env": [], "url": {}, "headers": "x", "type": []}}}"#,
        r#"{"mcpServers": {"a": {"command": "", "url": ""}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "env": {"": "1", "A=B": "2"}}}}"#,
        r#"{"mcpServers": {"a": {"url": "http://h/mcp", "headers": {"Host": "x"}}}}"#,
        r#"{"mcpServers": {"a": {"url": "http://h/mcp", "headers": {"X-A": "a\r\nX-B: b"}}}}"#,
        r#"{"mcpServers": {"a": {"url": "file:///etc/passwd"}, "b": {"url": "http://u:p@h/"}, "c": {"url": "http://h/#x"}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "env": {"A": "${file:/etc/shadow}"}}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "args": ["\u0000"]}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "tools": ["*.*"], "disabledTools": [1, {}]}}}"#,
        r#"{"mcpServers": {"a": {"command": "x", "url": "http://h/mcp"}}}"#,
        r#"{"mcpServers": {"a": {"url": "http://h/mcp", "type": "stdio"}}}"#,
    ] {
        let imported = import(text).unwrap();
        assert!(imported.config.is_none(), "{text}: {}", imported.config.unwrap());
        assert!(imported.report.count("asked") > 0, "{text}");
    }
}

#[test]
fn names_that_fold_to_one_stay_two() {
    let text =
        r#"{"mcpServers": {"a b": {"command": "x"}, "a_b": {"command": "y"}, "a__b": {"command": "z"}}}"#;
    let config = import(text).unwrap().config.unwrap();
    for name in ["  a_b:\n", "  a_b-2:\n", "  a_b-3:\n"] {
        assert!(config.contains(name), "{config}");
    }
}

/// What is spelled alike is another server's all the same.
#[test]
fn two_secrets_never_get_one_name() {
    let config = |text: &str| import(text).unwrap().config.unwrap();
    let env = config(
        r#"{"mcpServers": {"github": {"command": "x", "env": {"ENTERPRISE_TOKEN": "ghp_SECRETfirst00000000000000"}},
            "github-enterprise": {"command": "y", "env": {"TOKEN": "ghp_SECRETsecond0000000000000"}}}}"#,
    );
    let headers = config(
        r#"{"mcpServers": {"acme_prod": {"url": "http://10.0.0.1/mcp", "headers": {"Authorization": "Bearer SECRET1"}},
            "acme-prod": {"url": "http://evil.example/mcp", "headers": {"Authorization": "Bearer SECRET2"}}}}"#,
    );
    for (config, name) in [(env, "github-enterprise-token"), (headers, "acme-prod-authorization")] {
        let both = [format!("{{secret:{name}}}"), format!("{{secret:{name}-2}}")];
        assert!(both.iter().all(|name| config.matches(name.as_str()).count() == 1), "{config}");
        assert!(!config.contains("SECRET"), "{config}");
    }
}

/// A table holds the arguments of a child, and everybody who may read it reads them.
#[test]
fn secrets_in_arguments_and_in_texts_of_the_environment_are_never_written() {
    for server in [
        r#"{"command": "npx", "args": ["mcp-remote", "https://h/mcp", "--header", "X-API-Key: SECRETa1"]}"#,
        r#"{"command": "npx", "args": ["mcp-remote", "https://h/mcp", "--header", "X-Whatever: SECRETa1"]}"#,
        r#"{"command": "npx", "args": ["mcp-remote", "https://h/mcp", "--header", "Authorization: Bearer SECRETHDR123"]}"#,
        r#"{"command": "docker", "args": ["run", "--env=PASSWORD=SECRETpw6", "img"]}"#,
        r#"{"command": "x", "env": {"OPENAPI_MCP_HEADERS": "{\"Authorization\": \"Bearer SECRET1\"}"}}"#,
        r#"{"command": "x", "env": {"CONFIG": "{\"db\": {\"password\": \"SECRET\"}}"}}"#,
    ] {
        let imported = import(format!(r#"{{"mcpServers": {{"a": {server}}}}}"#)).unwrap();
        let said = format!(
            "{:?}{}{}",
            imported.config,
            imported.report.text(&imported.sources),
            imported.report.to_json(&imported.sources)
        );
        assert!(!said.contains("SECRET"), "{said}");
    }
}

/// Names and texts cannot leave their place: neither a line of the configuration nor one of the report.
#[test]
fn texts_stay_texts() {
    let text = "{\"mcpServers\": {\"a\\nstrait: 1\": {\"command\": \"x: [\\n- &a !!y\", \"args\": [\"\\\"\", \"\\\\\", \"# no\", \"true\", \"1\", \"~\", \"\\u2028\\u0085\\u007f\"], \"\\u001b[2J\": 1}}}";
    let imported = import(text).unwrap();
    let report = imported.report.text(&imported.sources);
    assert!(!report.contains('\u{1b}') && !report.contains("\nstrait: 1"), "{report}");
    let config = imported.config.unwrap();
    let outcome = load_text("strait.yaml", &config, &|_| None);
    let rules = outcome.rules.unwrap();
    let strait_table::rules::Transport::Stdio(stdio) = &rules.upstreams[0].transport else {
        panic!("{config}")
    };
    assert_eq!(stdio.args, ["\"", "\\", "# no", "true", "1", "~", "\u{2028}\u{85}\u{7f}"]);
    assert_eq!(stdio.command, "x: [\n- &a !!y");
}

/// A key in disguise as a name is not repeated either.
#[test]
fn a_secret_as_a_name_is_not_shown() {
    let text = r#"{"mcpServers": {"x": {"command": "y", "ghp_SECRET0123456789abc": {"ghp_SECRET0123456789abd": 1}}}}"#;
    let imported = import(text).unwrap();
    let said =
        format!("{}{}", imported.report.text(&imported.sources), imported.report.to_json(&imported.sources));
    assert!(!said.contains("SECRET"), "{said}");
}
