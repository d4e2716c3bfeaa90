//! A task id of ours: what a client of either era calls a task that some upstream works on.
//!
//! It is sealed and says everything: which upstream has the task under which id, for which tool, and whose it is. So no
//! two upstreams' ids collide, any worker can route a request about it, nothing is kept that could be lost, and the id
//! of one principal is no task at all for another.

use strait_protocol::mcp::Declared;

use crate::limits::TASK_ID_BYTES_MAX;
use crate::session::Seal;

/// What every task id of ours begins with.
pub const PREFIX: &[u8] = b"t1.";

/// Separates these from everything else that is sealed under the same key.
const PURPOSE: &[u8] = b"strait task id 1";

/// declared 2, principal 8, server 8, upstream 8, length of the tool's name 2, replica 2
const FIXED: usize = 30;

/// What an id says when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskId {
    /// What the client of the call that began it declared: it chose the upstream's session or child.
    pub declared: Declared,
    /// Which replica of a server of 2026-07-28 has the task; one of an older server is found by the session.
    pub replica: u16,
    pub principal: u64,
    pub server: u64,
    /// Digest of the upstream's name.
    pub upstream: u64,
    /// What agents call the tool whose call it is: who may not use that may not look at this either.
    pub tool: Vec<u8>,
    /// The upstream's own id.
    pub bare: Vec<u8>,
}

impl TaskId {
    /// As text; `None` when the upstream's id is too long, or there are no random numbers.
    pub fn seal(&self, seal: &Seal) -> Option<Vec<u8>> {
        if self.bare.len() > TASK_ID_BYTES_MAX {
            return None;
        }
        let mut plain = Vec::with_capacity(FIXED + self.tool.len() + self.bare.len());
        plain.extend_from_slice(&self.declared.bits().to_le_bytes());
        for number in [self.principal, self.server, self.upstream] {
            plain.extend_from_slice(&number.to_le_bytes());
        }
        plain.extend_from_slice(&u16::try_from(self.tool.len()).ok()?.to_le_bytes());
        plain.extend_from_slice(&self.replica.to_le_bytes());
        plain.extend_from_slice(&self.tool);
        plain.extend_from_slice(&self.bare);
        let mut text = PREFIX.to_vec();
        seal.seal_bytes(PURPOSE, &mut plain, &mut text).ok()?;
        Some(text)
    }

    /// What an id says; `None` for anything that was not sealed here.
    pub fn open(seal: &Seal, text: &[u8]) -> Option<TaskId> {
        let plain = seal.open_bytes(PURPOSE, text.strip_prefix(PREFIX)?)?;
        let (fixed, rest) = plain.split_at_checked(FIXED)?;
        let number = |at: usize| Some(u64::from_le_bytes(*fixed.get(at..)?.first_chunk()?));
        let short = |at: usize| Some(u16::from_le_bytes(*fixed.get(at..)?.first_chunk()?));
        let (tool, bare) = rest.split_at_checked(short(26)?.into())?;
        Some(TaskId {
            declared: Declared::from_bits(short(0)?),
            replica: short(28)?,
            principal: number(2)?,
            server: number(10)?,
            upstream: number(18)?,
            tool: tool.to_vec(),
            bare: bare.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TaskId {
        TaskId {
            declared: Declared::TASKS.and(Declared::ROOTS),
            replica: 3,
            principal: 5,
            server: u64::MAX - 1,
            upstream: 7,
            tool: b"up__echo".to_vec(),
            bare: b"786512e2-9e0d-44bd-8f29-789f320fe840".to_vec(),
        }
    }

    #[test]
    fn an_id_opens_to_what_was_sealed_and_nothing_else_opens() {
        let (seal, other) = (Seal::random().unwrap(), Seal::random().unwrap());
        let text = id().seal(&seal).unwrap();
        assert!(text.starts_with(PREFIX) && text.iter().all(|byte| (0x21..=0x7e).contains(byte)));
        assert_eq!(TaskId::open(&seal, &text), Some(id()));
        assert_eq!(TaskId::open(&other, &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(TaskId::open(&seal, &changed), None, "changed at {at}");
            assert_eq!(TaskId::open(&seal, &text[..at]), None, "cut at {at}");
        }
        let long = TaskId { bare: vec![b'x'; TASK_ID_BYTES_MAX + 1], ..id() };
        assert_eq!(long.seal(&seal), None);
    }
}
