//! `strait echo`: an MCP server made to be measured against.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::AtomicBool;

use serde_json::json;
use strait_control::{Code, Failure};
use strait_loadgen::echo::{self, Echo, Latency, Options};
use strait_loadgen::words;

use crate::output::Output;

#[derive(clap::Args)]
pub struct EchoArguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    bind: String,
    /// How long a call takes: fixed:5ms, lognormal:MEDIAN,SIGMA, uniform:FROM,TO, stall:EVERY,FOR, drift:FROM,TO,OVER.
    #[arg(long, value_name = "LATENCY", value_parser = Latency::parse)]
    latency: Option<Latency>,
    /// Bytes of text in each result, instead of the text that was sent.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: Option<usize>,
    /// Progress events before each answer, and the time between them.
    #[arg(long, value_name = "N[:INTERVAL]", value_parser = events)]
    events: Option<(u32, u64)>,
    /// Share of calls that fail with isError, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    errors: f64,
    /// How many tools it has; up to 100,000, in pages.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = tools)]
    tools: usize,
    /// At most so many calls in service at once; the others wait in line.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    workers: Option<u32>,
    /// Where random latencies and errors begin.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

impl EchoArguments {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        let bind = address(&self.bind)?;
        let (events, interval_ns) = self.events.unwrap_or((0, 0));
        let options = Options {
            latency: self.latency.unwrap_or_default(),
            size: self.size,
            events,
            interval_ns,
            errors: self.errors,
            tools: self.tools,
            workers: self.workers.map(|workers| workers as usize),
            seed: self.seed,
            ..Options::new(bind)
        };
        let echo = Echo::bind(&options).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::AddrInUse => Code::Conflict,
                _ => Code::Unfit,
            };
            Failure::new(code, format!("cannot listen on {bind}: {error}"))
                .help("`--bind 127.0.0.1:0` takes a free port")
        })?;
        let url = format!("http://{}/mcp", echo.address());
        output.facts(&json!({ "url": url, "tools": options.tools }), || format!("{url}\n"));
        let stop = AtomicBool::new(false);
        echo.run(&stop)
            .map_err(|error| Failure::new(Code::Unfit, format!("the echo server stopped: {error}")))
    }
}

pub fn address(text: &str) -> Result<SocketAddr, Failure> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| {
        Failure::new(
            Code::Usage,
            format!("`{text}` is no address: expected HOST:PORT, such as 127.0.0.1:9000"),
        )
    })
}

fn size(text: &str) -> Result<usize, String> {
    match words::bytes(text)? {
        size if size <= echo::SIZE_MAX => Ok(size),
        _ => Err(format!("`{text}` is more than 16 MiB")),
    }
}

fn events(text: &str) -> Result<(u32, u64), String> {
    let (count, interval) = text.split_once(':').unwrap_or((text, "0"));
    match count.parse::<u32>() {
        Ok(count) if (1..=echo::EVENTS_MAX).contains(&count) => Ok((count, words::duration_ns(interval)?)),
        _ => Err(format!("`{count}` is no number of events: expected 1 to {}", echo::EVENTS_MAX)),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is no share: expected a number from 0 to 1")),
    }
}

fn tools(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(tools) if (1..=echo::TOOLS_MAX).contains(&tools) => Ok(tools),
        _ => Err(format!("`{text}` is no number of tools: expected 1 to {}", echo::TOOLS_MAX)),
    }
}
