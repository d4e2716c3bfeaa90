//! `strait schema`: the configuration language for editors, and the forms of results for whoever reads them by program.

use strait_control::Failure;
use strait_loadgen::load::report::RESULT_SCHEMA;

#[derive(clap::Args)]
pub struct Schema {
    /// Of what.
    #[arg(value_enum, value_name = "WHAT", default_value = "config")]
    of: Of,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Of {
    /// The configuration language.
    Config,
    /// What `strait load --json` prints.
    LoadResult,
}

impl Schema {
    pub fn run(self) -> Result<(), Failure> {
        match self.of {
            Of::Config => crate::output::print(&format!("{:#}\n", strait_config_compiler::schema())),
            Of::LoadResult => crate::output::print(RESULT_SCHEMA),
        }
        Ok(())
    }
}
