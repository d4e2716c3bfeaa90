//! Attacks, each with a bound that is printed, and each beside clients that are served meanwhile. docs/ABUSE.md is
//! the table of all of them. Bounds are counts and bytes; where time is the attack, deadlines are shortened.

mod bombs;
mod children;
mod common;
mod files;
mod flood;
mod giants;
mod host;
mod idle;
mod memory;
mod overload;
mod resets;
mod slow;
