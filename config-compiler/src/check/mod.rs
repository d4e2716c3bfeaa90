//! Checks that look at what was lowered as a whole: one file each, one function each, only reporting.

pub mod arguments;
pub mod certificates;
pub mod clear_text;
pub mod covered;
pub mod matches_nothing;
pub mod never_true;
pub mod nothing_allowed;
pub mod pinned;
pub mod reach;
pub mod stale_lock;
pub mod unused;
