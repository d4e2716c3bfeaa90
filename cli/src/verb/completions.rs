//! `strait completions SHELL`: what a shell needs to complete verbs, options, their words and names of files; made from
//! the same declarations as the command line itself.

use clap::CommandFactory;
use clap_complete::Shell;
use strait_control::Failure;

use crate::output::print;

const ABOUT: &str = "Where it belongs:
  bash        strait completions bash > ~/.local/share/bash-completion/completions/strait
  zsh         strait completions zsh > DIR/_strait, with DIR in $fpath before `compinit`
  fish        strait completions fish > ~/.config/fish/completions/strait.fish
  powershell  strait completions powershell >> $PROFILE
  elvish      strait completions elvish >> ~/.config/elvish/rc.elv";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Completions {
    /// Whose language the script is in.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Arguments::command(), "strait", &mut script);
        print(&String::from_utf8_lossy(&script));
        Ok(())
    }
}
