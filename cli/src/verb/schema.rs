//! `strait schema`: the configuration language for editors.

use strait_control::Failure;

pub fn run() -> Result<(), Failure> {
    crate::output::print(&format!("{:#}\n", strait_config_compiler::schema()));
    Ok(())
}
