//! The certificates of a table: those that it shows, and those of whom it believes. One that has ended stops whoever meets it, at a
//! moment that was known for months.

use std::path::Path;

use strait_table::Snapshot;

use super::Line;
use crate::certificates::{self, Expiry};

const DAY_S: i64 = 86_400;

pub fn look(table: &Snapshot, base: &Path) -> Vec<Result<Expiry, String>> {
    certificates::ends(table, base)
}

pub fn judge(facts: &[Result<Expiry, String>]) -> Vec<Line> {
    let about = "certificate";
    let line = |found: &Result<Expiry, String>| match found {
        Err(why) => Line::fail(about, why.clone(), "correct its path, or put the file there in PEM"),
        Ok(expiry) => match (expiry.warning(), expiry.left_s()) {
            (None, left_s) => {
                Line::ok(about, format!("`{}` ends in {} days", expiry.path.display(), left_s / DAY_S))
            }
            (Some(told), ..=0) => Line::fail(about, told, RENEW),
            (Some(told), _) => Line::warn(about, told, RENEW),
        },
    };
    facts.iter().map(line).collect()
}

const RENEW: &str = "put a new one in its place: a gateway that serves takes it up by itself";
