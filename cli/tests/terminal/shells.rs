//! `strait completions SHELL`: each shell loads its script and completes a verb with it. A shell that is not installed is
//! named and passed over; `tests/run` installs those of Debian.

use std::process::Command;

use crate::common::{Folder, strait};

fn script(folder: &Folder, shell: &str) -> String {
    let made = strait(folder.path(), &["completions", shell]);
    assert_eq!((made.code, made.stderr.as_str()), (0, ""), "{shell}");
    folder.write(shell, &made.stdout);
    made.stdout
}

/// What a shell prints when it runs `text` in the folder; `None` when there is no such shell.
fn run(folder: &Folder, shell: &str, arguments: &[&str], text: &str) -> Option<String> {
    if Command::new(shell).arg("--version").output().is_err() {
        eprintln!("{shell} is not installed: not tried");
        return None;
    }
    // A shell that waits for its keyboard must not hold up everything.
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", "60", shell])
        .args(arguments)
        .arg("-c")
        .arg(text)
        .current_dir(folder.path());
    let output = command.env("HOME", folder.path()).env("TERM", "xterm").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{shell}: {out}\n{err}");
    assert_eq!(err, "", "{shell}");
    Some(out.into_owned())
}

#[test]
fn bash_completes_verbs_options_and_words() {
    let folder = Folder::new();
    script(&folder, "bash");
    let check = |line: &str, expected: &str| {
        let words = line.replace(' ', "' '");
        let text = format!(
            ". ./bash; COMP_WORDS=('{words}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); cur=${{COMP_WORDS[COMP_CWORD]}}; \
             _strait strait \"$cur\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        if let Some(told) = run(&folder, "bash", &["--norc"], &text) {
            assert_eq!(told.trim(), expected, "{line}");
        }
    };
    check("strait wh", "who-can");
    check("strait check --deny", "--deny-warnings");
    check("strait serve --driver ep", "epoll");
    check("strait completions el", "elvish");
}

#[test]
fn fish_completes_verbs_with_what_they_do() {
    let folder = Folder::new();
    script(&folder, "fish");
    let check = |line: &str, expected: &str| {
        let text = format!("source ./fish; complete -C'{line}'");
        if let Some(told) = run(&folder, "fish", &["--no-config"], &text) {
            assert_eq!(told.trim(), expected, "{line}");
        }
    };
    check("strait who", "who-can\tTell whom the policy lets call something");
    check("strait check --deny", "--deny-warnings\tFail on warnings too");
}

/// Completion of zsh only runs where somebody types: in a terminal of its own, that `zsh/zpty` makes.
const TYPED: &str = r#"
zmodload zsh/zpty
zpty typed zsh -f -i
zpty -w typed "PS1=; fpath=($PWD/zfunctions \$fpath); autoload -Uz compinit; compinit -u -D; print REA''DY=1"
zpty -r typed seen '*READY=1*'
zpty -w -n typed $'strait who\t'
zpty -r typed seen '*who-can*' && print -r -- "${${seen##*strait}//[[:cntrl:]]/}"
zpty -d typed
"#;

#[test]
fn zsh_completes_verbs() {
    let folder = Folder::new();
    let made = script(&folder, "zsh");
    std::fs::create_dir(folder.path().join("zfunctions")).unwrap();
    folder.write("zfunctions/_strait", made);
    if let Some(told) = run(&folder, "zsh", &["-f"], TYPED) {
        assert!(told.contains("who-can"), "{told:?}");
    }
}

#[test]
fn other_shells_get_a_script_of_theirs() {
    let folder = Folder::new();
    assert!(
        script(&folder, "powershell").contains("Register-ArgumentCompleter -Native -CommandName 'strait'")
    );
    assert!(script(&folder, "elvish").starts_with("\nuse builtin;"), "elvish");
    assert_eq!(strait(folder.path(), &["completions", "tcsh"]).code, 64);
}
