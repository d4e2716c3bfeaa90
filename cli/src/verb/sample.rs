//! `strait sample stdio`: the built-in MCP server that `sample: stdio` runs as a child.

use strait_control::sample::{Kind, stdio};
use strait_control::{Code, Failure};

#[derive(clap::Args)]
pub struct Sample {
    transport: Transport,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Transport {
    Stdio,
}

impl Sample {
    pub fn run(self) -> Result<(), Failure> {
        let Transport::Stdio = self.transport;
        match stdio::run(Kind::Hello, std::io::stdin().lock(), std::io::stdout().lock()) {
            Ok(()) => Ok(()),
            // Its client is gone: nothing is left to do.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(Code::Failed, format!("the sample server stopped: {error}"))),
        }
    }
}
