//! # strait-loadgen: load, and proof of what the gateway adds
//!
//! Nothing is here yet but this page: the crate keeps its place in the workspace and its one arrow, to
//! `strait-protocol`. It is to hold a plan of when each request is due, workloads, a recorder of
//! latencies counted from the moment a request was due, and a proof that interleaves direct calls with
//! calls through the gateway in one run; the verbs `load`, `prove` and `echo` come with it. Until then
//! nothing of this workspace states how fast it is, and only counts are tested (`tests/budgets`).
#![forbid(unsafe_code)]
