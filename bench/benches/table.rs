//! The table: finding a name, deciding, and what is paid beforehand so that deciding is cheap. Small against large shows
//! that a decision does not grow with tools, rules and roles beyond what caches do.

use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strait_bench::tables::{self, LARGE, SMALL, Size};
use strait_engine::fold::Fold;
use strait_policy::Traits;
use strait_table::{Kind, Snapshot, View, bind};

const SIZES: [(&str, Size); 4] = [
    ("100 tools, 10 rules", SMALL),
    ("10k tools, 10 rules", Size { rules: 10, roles: 5, ..LARGE }),
    ("100 tools, 1k rules", Size { tools: 100, ..LARGE }),
    ("10k tools, 1k rules", LARGE),
];
/// Names asked for in turn.
const ASKED: usize = 1_024;

fn name_lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("name_lookup");
    for (name, size) in SIZES {
        let snapshot = tables::snapshot(size);
        let shelf = snapshot.bound().servers[0].shelf(Kind::Tool);
        let asked = tables::asked_names(size, ASKED);
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % ASKED;
                shelf.find(black_box(asked[at].as_bytes()))
            });
        });
        group.bench_function(BenchmarkId::new("nothing", name), |b| {
            b.iter(|| shelf.find(black_box(b"up3__no_such_tool")))
        });
    }
}

/// From a name to a verdict, as a worker does it: the caller's view among those it interned, the item, one read.
fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    for (name, size) in SIZES {
        let snapshot = tables::snapshot(size);
        let roles = tables::roles(size);
        let windows = Traits::default();
        let view = |roles: &Traits| {
            Rc::new(View::of(&snapshot, 0, roles, &windows).expect("the fixture has a server"))
        };
        // By the number of the set of traits, as a worker keeps them.
        let mut views: HashMap<(u16, u32), Rc<View>, Fold> = HashMap::default();
        (0..32).for_each(|role| {
            let mut other = roles.clone();
            other.insert(role);
            views.insert((0, 1 + role as u32), view(&other));
        });
        views.insert((0, 0), view(&roles));
        let asked = tables::asked_names(size, ASKED);
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                at = (at + 1) % ASKED;
                let shelf = snapshot.bound().servers[0].shelf(Kind::Tool);
                let view = views.get(black_box(&(0, 0))).cloned()?;
                let item = shelf.find(black_box(asked[at].as_bytes()));
                item.map(|item| view.kind(Kind::Tool).ruled(item).so_far())
            });
        });
    }
}

/// Once per worker, generation and set of roles.
fn view_of(c: &mut Criterion) {
    let mut group = c.benchmark_group("view_of");
    for (name, size) in [SIZES[0], SIZES[3]] {
        let snapshot = tables::snapshot(size);
        let roles = tables::roles(size);
        group.bench_function(name, |b| {
            b.iter(|| View::of(black_box(&snapshot), 0, &roles, &Traits::default()))
        });
    }
}

/// Once per reload: copy, seal, hash, validate, check.
fn table_open(c: &mut Criterion) {
    let mut group = c.benchmark_group("table_open");
    for (name, size) in [SIZES[0], SIZES[3]] {
        let bytes = tables::table(size);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| b.iter(|| Snapshot::from_bytes(black_box(&bytes)).is_ok()));
    }
}

/// Once per change of an upstream's lists, on the control thread.
fn bind_catalog(c: &mut Criterion) {
    let mut group = c.benchmark_group("bind");
    group.sample_size(10);
    for (name, size) in [SIZES[0], SIZES[3]] {
        let snapshot = tables::snapshot(size);
        let catalog = tables::catalog(size);
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| bind(snapshot.rules(), black_box(&catalog)), BatchSize::PerIteration);
        });
    }
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = name_lookup, decision, view_of, table_open, bind_catalog }
criterion_main!(benches);
