//! `strait man [DIR]`: manual pages. Names, options and verbs come from the declarations of the command line; what holds
//! for the whole program (exit codes, files, signals, environment) is written here and stands in `strait.1` alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;
use strait_control::{Code, Failure};

use crate::output::{Output, count, print};

/// When the words below last changed.
const DATE: &str = "2026-11-22";

const ENVIRONMENT: [(&str, &str); 8] = [
    ("STRAIT_DRIVER", "How workers talk to the kernel, when --driver does not say: auto, io_uring or epoll."),
    ("STRAIT_KEY", "The key of the client that `strait stdio` speaks for, when --key-file does not say."),
    (
        "STRAIT_SECRET_NAME",
        "What ${secret:name} in a configuration stands for, when the state folder has no file of that name.",
    ),
    ("NO_COLOR", "When it is set and not empty, nothing is coloured, unless --color always asks for it."),
    ("TERM", "When it is `dumb`, nothing is coloured and nothing is written over."),
    ("PATH", "Where commands of stdio upstreams are looked for."),
    ("HOME, LANG, TMPDIR, USER", "Handed on to the children of stdio upstreams, with PATH; nothing else is."),
    (
        "any other",
        "What ${env:NAME} in a configuration names, when the configuration is compiled or its secrets are read.",
    ),
];

const FILES: [(&str, &str); 8] = [
    ("strait.yaml", "A configuration, by custom. Every verb is told which one is meant."),
    ("strait.lock", "What upstreams offer, pinned; beside the configuration."),
    ("*.test.yaml", "Cases that `strait test` puts to the policy; beside the configuration."),
    (".strait/", "The state folder, or --state DIR: for one user alone (0700)."),
    (".strait/admin.token", "The token of the admin endpoints."),
    (".strait/keys/", "API keys that were made at first start."),
    (".strait/secrets/NAME", "What ${secret:NAME} stands for."),
    (".strait/kept/", "The last good table of every file that was served."),
];

const SIGNALS: [(&str, &str); 4] = [
    ("SIGHUP", "A gateway reads its configuration or table again, key files and secrets too."),
    (
        "SIGTERM, SIGINT",
        "A gateway takes no more connections, ends what is under way within 30 s, and is gone.",
    ),
    ("once more", "It is gone at once; exit code 130."),
    ("SIGINT", "A verb that measures reports what it has so far; exit code 130."),
];

#[derive(clap::Args)]
pub struct Pages {
    /// Write `strait.1` and a page for every verb there; without it, the text of `strait.1` goes to stdout.
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Pages {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let all = all().map_err(|error| Failure::bug(format!("a page cannot be made: {error}")))?;
        let Some(folder) = self.folder else {
            let first = all.first().map(|page| page.text.as_str());
            print(first.unwrap_or_default());
            return Ok(());
        };
        let cannot = |error: io::Error| {
            let message = format!("cannot write manual pages to `{}`: {error}", folder.display());
            Failure::new(Code::Unfit, message).help("name a folder that this user may write")
        };
        fs::create_dir_all(&folder).map_err(cannot)?;
        for page in &all {
            fs::write(folder.join(&page.file), &page.text).map_err(cannot)?;
        }
        let files: Vec<&str> = all.iter().map(|page| page.file.as_str()).collect();
        output.facts(&json!({ "folder": folder, "pages": files }), || {
            let folder = folder.display();
            format!("{} in {folder}; `man -l {folder}/strait.1` shows the first\n", count(all.len(), "page"))
        });
        Ok(())
    }
}

struct Page {
    file: String,
    text: String,
}

/// The page of the program first, then those of its verbs as `--help` lists them.
fn all() -> io::Result<Vec<Page>> {
    let mut program = crate::Arguments::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    gather(&program, None, &mut pages)?;
    Ok(pages)
}

fn gather(command: &Command, above: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    pages.push(Page { file: format!("{name}.1"), text: page(command, above)? });
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        gather(verb, Some(&name), pages)?;
    }
    Ok(())
}

fn page(command: &Command, above: Option<&str>) -> io::Result<String> {
    let source = format!("Strait {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).date(DATE).source(source).manual("Strait");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    let mut more = Roff::default();
    match above {
        None => {
            let codes = crate::EXIT_CODES.iter().map(|(code, about)| (code.to_string(), format!("{about}.")));
            list(&mut more, "EXIT STATUS", codes);
            list(&mut more, "ENVIRONMENT", ENVIRONMENT);
            list(&mut more, "FILES", FILES);
            list(&mut more, "SIGNALS", SIGNALS);
        }
        Some(above) => {
            if let Some(words) = command.get_after_help() {
                more.control("SH", ["NOTES"]).control("nf", []);
                for line in words.to_string().lines() {
                    more.text([roman(line)]);
                }
                more.control("fi", []);
            }
            more.control("SH", ["EXIT STATUS"]).text([
                roman("As "),
                bold("strait"),
                roman("(1) lists them."),
            ]);
            more.control("SH", ["SEE ALSO"]).text([bold(above), roman("(1)")]);
        }
    }
    more.to_writer(&mut out)?;
    // A blank line between breaks is what mandoc complains of.
    Ok(String::from_utf8_lossy(&out).replace(".br\n\n.br\n", ".sp\n"))
}

fn list<W: Into<String>, A: Into<String>>(
    roff: &mut Roff,
    title: &str,
    rows: impl IntoIterator<Item = (W, A)>,
) {
    roff.control("SH", [title]);
    for (word, about) in rows {
        roff.control("TP", []).text([bold(word)]).text([roman(about)]);
    }
}
