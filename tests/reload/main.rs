//! Reloads of the real process: tables and configurations swapped, refused and kept, under load.
//!
//! Runs with the package of the binary, which it starts; everything else is `strait-tests`.

mod kept;
mod keys;
mod load;
mod locks;
mod process;
mod refusals;
mod sessions;
mod soak;
mod swaps;
mod watching;
