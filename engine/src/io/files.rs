//! How many files this process may have open.
//!
//! Shells and service managers start programs with a low soft limit (often 1,024) because `select` cannot count
//! further; whoever does not use it is expected to raise its own soft limit to the hard one, and to give the old one
//! back to its children, who may be old. Both is done here.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{FILES_OF_PROCESS, FILES_PER_CORE_MAX};

/// The limit this process was started with.
static AT_START: OnceLock<Rlimit> = OnceLock::new();

/// What [`raise`] found. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    pub soft_before: Option<u64>,
    /// In force now.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

impl Files {
    /// Whether `workers` workers can reach the caps of [`crate::limits`].
    pub fn suffice_for(&self, workers: usize) -> bool {
        self.soft.is_none_or(|soft| soft >= wanted(workers))
    }
}

/// Files that `workers` workers have open at their caps.
pub fn wanted(workers: usize) -> u64 {
    (workers * FILES_PER_CORE_MAX + FILES_OF_PROCESS) as u64
}

/// Raises the soft limit to the hard one. Once is enough; a second call changes nothing.
pub fn raise() -> Files {
    let before = *AT_START.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    // Lowering nothing and exceeding nothing, this is refused only by a security policy: what is in force is read back.
    let _ = setrlimit(Resource::Nofile, raised);
    let now = getrlimit(Resource::Nofile);
    Files { soft_before: before.current, soft: now.current, hard: now.maximum }
}

/// Gives a child the limit this process was started with. A system call only: it runs between clone and exec.
#[cfg(not(feature = "simulation"))]
pub(super) fn lower_for_child() {
    if let Some(before) = AT_START.get() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: before.current, maximum: before.maximum });
    }
}
