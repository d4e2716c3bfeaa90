//! The verbs, one file each: what it is asked with, and what it does.

mod apply;
mod audit;
mod check;
mod compile;
mod completions;
mod connect;
mod diff;
mod doctor;
mod echo;
mod explain;
mod explain_code;
mod fmt;
mod history;
mod import;
mod init;
mod inspect;
mod keys;
mod load;
mod lock;
mod man;
mod plan;
mod prove;
mod reach;
mod revoke;
mod rollback;
mod running;
mod sample;
mod schema;
mod serve;
mod sign;
mod status;
mod stdio;
mod test;
mod top;
mod typed;
mod vault;
mod who_can;

use strait_control::Failure;

use crate::output::Output;

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Write a first configuration.
    Init(init::Init),
    /// Serve a configuration: development and the first minute.
    Up(serve::Serve),
    /// Serve a table or a configuration: production.
    Serve(serve::Serve),
    /// Speak MCP over stdin and stdout, for a client that starts its servers itself.
    Stdio(stdio::Stdio),
    /// Tell everything that is wrong with a configuration, or whether a table is sound.
    Check(check::Check),
    /// Compile a configuration into a table.
    Compile(compile::Compile),
    /// Sign a table, so that a gateway that wants that serves it.
    Sign(sign::Sign),
    /// Write down what every upstream offers, so that nothing else is exposed; or tell what has changed since.
    Lock(lock::Lock),
    /// Make a configuration of another tool's file, and tell what became of each of its keys.
    Import(import::Import),
    /// Have a client reach a gateway: edits the client's own file, and puts it back with `--undo`.
    Connect(connect::Connect),
    /// Show a table or a configuration as it is served.
    Inspect(inspect::Inspect),
    /// Tell how one call is decided, by which rule, and why not by the others.
    Explain(Box<explain::Explain>),
    /// Tell whom the policy lets call something.
    WhoCan(who_can::WhoCan),
    /// Tell what somebody can reach: everything, under which conditions; or everybody, side by side.
    Reach(reach::Reach),
    /// Tell what a change opens and closes, for whom, each with a call that is really decided differently.
    Diff(diff::Diff),
    /// Tell what a finding means, with a bad and a good example.
    ExplainCode(explain_code::ExplainCode),
    /// Put the cases beside a configuration to its policy.
    Test(test::Test),
    /// Bring configurations into the one form, every comment kept.
    Fmt(fmt::Fmt),
    /// Print the JSON Schema of the configuration language, for editors, or of a result.
    Schema(schema::Schema),
    /// Make, list and revoke API keys.
    Keys(keys::Keys),
    /// Believe somebody, or a token, no more, whatever is brought; or again.
    Revoke(revoke::Revoke),
    /// Keep secrets in the embedded vault of a state folder.
    Vault(vault::Vault),
    /// Tell what another configuration would do to the running gateway: what opens, what closes, what it touches.
    Plan(plan::Plan),
    /// Put another configuration into use on the running gateway.
    Apply(apply::Apply),
    /// Put an earlier generation into use again.
    Rollback(rollback::Rollback),
    /// Tell what was put into use on a gateway, when, and on whose word.
    History(history::History),
    /// Show what a running gateway serves and has open: upstreams, sessions.
    Status(status::Status),
    /// Watch a running gateway: rates, latency, errors, denials, by tool, upstream, principal and core.
    Top(top::Top),
    /// Show, check and prove what an audit log has.
    Audit(Box<audit::Audit>),
    /// Tell what this machine offers a gateway, and what to do about what it does not.
    Doctor(doctor::Doctor),
    /// Send requests by a plan and tell how fast they were answered.
    Load(Box<load::Load>),
    /// Run an MCP server made to be measured against.
    Echo(echo::EchoArguments),
    /// Tell what a gateway adds to direct calls: PASS, FAIL or INCONCLUSIVE.
    Prove(Box<prove::Prove>),
    /// Print what a shell needs to complete this command line.
    Completions(completions::Completions),
    /// Print the manual page, or write all of them.
    Man(man::Pages),
    /// A built-in MCP server.
    #[command(hide = true)]
    Sample(sample::Sample),
}

impl Verb {
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        match self {
            Verb::Init(init) => init.run(output),
            Verb::Up(up) => up.run(output, true),
            Verb::Serve(serve) => serve.run(output, false),
            Verb::Stdio(stdio) => stdio.run(output),
            Verb::Check(check) => check.run(output),
            Verb::Compile(compile) => compile.run(output),
            Verb::Sign(sign) => sign.run(output),
            Verb::Lock(lock) => lock.run(output),
            Verb::Import(import) => import.run(output),
            Verb::Connect(connect) => connect.run(output),
            Verb::Inspect(inspect) => inspect.run(output),
            Verb::Explain(explain) => explain.run(output),
            Verb::WhoCan(who_can) => who_can.run(output),
            Verb::Reach(reach) => reach.run(output),
            Verb::Diff(diff) => diff.run(output),
            Verb::ExplainCode(explain_code) => explain_code.run(output),
            Verb::Test(test) => test.run(output),
            Verb::Fmt(fmt) => fmt.run(output),
            Verb::Schema(arguments) => arguments.run(),
            Verb::Keys(keys) => keys.run(output),
            Verb::Revoke(revoke) => revoke.run(output),
            Verb::Vault(vault) => vault.run(output),
            Verb::Plan(plan) => plan.run(output),
            Verb::Apply(apply) => apply.run(output),
            Verb::Rollback(rollback) => rollback.run(output),
            Verb::History(history) => history.run(output),
            Verb::Status(status) => status.run(output),
            Verb::Top(top) => top.run(output),
            Verb::Audit(audit) => audit.run(output),
            Verb::Doctor(doctor) => doctor.run(output),
            Verb::Load(load) => load.run(output),
            Verb::Echo(echo) => echo.run(output),
            Verb::Prove(prove) => prove.run(output),
            Verb::Completions(completions) => completions.run(),
            Verb::Man(pages) => pages.run(output),
            Verb::Sample(sample) => sample.run(),
        }
    }
}
