//! What of a record becomes a trace: decided when the exchange is over. And of which trace a record is.

use std::sync::Arc;

use strait_protocol::mcp::Revision;
use strait_protocol::trace::Parent;

use super::Record;
use crate::core::{Adopted, Core};
use crate::io::moment;
use crate::trace::Traced;
use crate::upstream::Affinity;

impl Record {
    /// Tells control, if the exchange is one to be told of.
    pub(super) fn tell_trace(&self, core: &Core, adopted: &Adopted, bytes_in: usize) {
        let (Some(trace), Some(tracing)) = (&self.trace, &adopted.watching.traces) else { return };
        let total_ns = self.marked_ns.saturating_sub(self.began_ns);
        if !tracing.keeps(trace.own().sampled, self.outcome, total_ns) {
            return;
        }
        let now = moment::since_1970().as_nanos() as u64;
        let ago = core.clock.now_ns().saturating_sub(self.began_ns);
        let of_session = || self.session.as_ref().map(|session| session.id.revision);
        let traced = Traced {
            own: trace.own(),
            parent: trace.parent(),
            link: trace.link(),
            asks: trace.asks().span,
            began_unix_ns: now.saturating_sub(ago),
            total_ns,
            phases: self.phases,
            waited_ns: self.waited_ns,
            snapshot: Arc::clone(&adopted.snapshot),
            worker: core.id as u32,
            server: self.server,
            item: self.item.map(|(kind, index, _)| (kind, index)),
            upstream: self.upstream_of(adopted),
            verdict: self.verdict,
            limit: self.limit,
            method: self.method,
            http: self.http,
            class: self.class,
            outcome: self.outcome,
            refusal: self.refusal,
            layer: self.layer,
            revision: if self.modern { Some(Revision::V2026_07_28) } else { of_session() },
            session: self.session.as_ref().map(|session| Affinity::key_of(session.id.serial)),
            id: trace.id,
            status: self.status,
            bytes_in: bytes_in as u64,
            bytes_out: self.bytes_out,
        };
        if !core.tracer.tell(traced) {
            core.figures.traces_dropped.add(1);
        }
    }

    /// Who was asked, by upstream of the table.
    fn upstream_of(&self, adopted: &Adopted) -> Option<usize> {
        let asked = self.asked.as_ref()?;
        let of_item = self.item.map(|(_, _, upstream)| usize::from(upstream));
        let upstreams = &adopted.snapshot.rules().upstreams;
        of_item.or_else(|| upstreams.iter().position(|upstream| upstream.name.as_str() == asked.name))
    }
}

/// To which trace it belongs, as a member of a record.
pub(super) fn append(out: &mut Vec<u8>, trace: Option<Parent>) {
    if let Some(trace) = trace {
        out.extend_from_slice(b",\"trace\":\"");
        out.extend_from_slice(&trace.written_trace());
        out.push(b'"');
    }
}
