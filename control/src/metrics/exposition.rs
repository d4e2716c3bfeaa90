//! What is shown, whatever form it takes: families of series, said one after the other to a [`Format`].

use strait_engine::figures::histogram::Distribution;

use super::FINE;
use super::exemplars::Buckets;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// `[("method", "tools_call")]`
pub type Labels<'l> = &'l [(&'l str, &'l str)];

/// One form of it: a text for scrapers, messages for a collector.
pub trait Format {
    /// What follows is of this name.
    fn family(&mut self, kind: Kind, name: &'static str, help: &str);

    fn series(&mut self, labels: Labels<'_>, value: Number);

    /// Buckets of `step` that the engine has ([`Distribution::cumulative`]); traces of some, where there are any.
    fn distribution(
        &mut self,
        labels: Labels<'_>,
        read: &Distribution,
        step: usize,
        traces: Option<&Buckets>,
    );
}

/// Where it is said.
pub struct Exposition<'f>(pub &'f mut dyn Format);

/// One name, whose series follow.
pub struct Family<'e>(&'e mut dyn Format);

impl Exposition<'_> {
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        self.0.family(kind, name, help);
        Family(self.0)
    }

    /// A family of one series without labels.
    pub fn one(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Into<Number>) {
        self.family(kind, name, help).series(&[], value);
    }
}

impl Family<'_> {
    pub fn series(&mut self, labels: Labels<'_>, value: impl Into<Number>) {
        self.0.series(labels, value.into());
    }

    /// Buckets of `step` that the engine has, then the sum in seconds and the count.
    pub fn distribution(&mut self, labels: Labels<'_>, read: &Distribution, step: usize) {
        self.0.distribution(labels, read, step, None);
    }

    /// The same, with traces of some of what was counted. Buckets are every power of two.
    pub fn traced(&mut self, labels: Labels<'_>, read: &Distribution, traces: Option<&Buckets>) {
        self.0.distribution(labels, read, FINE, traces);
    }
}

/// A value: counts stay whole, however large.
#[derive(Clone, Copy)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(n: u64) -> Number {
        Number::Whole(n)
    }
}

impl From<usize> for Number {
    fn from(n: usize) -> Number {
        Number::Whole(n as u64)
    }
}

impl From<bool> for Number {
    fn from(is: bool) -> Number {
        Number::Whole(is.into())
    }
}

impl From<f64> for Number {
    fn from(n: f64) -> Number {
        Number::Real(n)
    }
}

pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
