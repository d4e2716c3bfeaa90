//! What keeps secrets in memory out of files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::log;

/// From now on neither this process nor its children leave a core file. The limit is one byte: a file would be larger, and where
/// the kernel hands cores to a program, which has no limit, it takes one byte for `none` (core(5) and fs/coredump.c).
pub fn leave_no_core() {
    let maximum = getrlimit(Resource::Core).maximum;
    let limit = Rlimit { current: Some(maximum.map_or(1, |maximum| maximum.min(1))), maximum };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        log::warn(format!("this process may leave a core file with secrets in it: {error}"));
    }
}
