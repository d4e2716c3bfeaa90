//! The table from outside: what is refused and with which words, what a kept file means, how catalogs are
//! bound, and that lists and calls are decided alike.

mod bind;
mod decide;
mod golden;
mod names;
mod open;
mod quarantine;
mod shape;
mod signature;
mod support;
