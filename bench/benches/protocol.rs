//! Heads and messages: what every exchange pays before anything is decided.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strait_bench::fixtures;
use strait_protocol::http1::parse_request;
use strait_protocol::jsonrpc::{Decoder, Scanner};

const SIZES: [(&str, usize); 3] = [("200 B", 200), ("2 KiB", 2 << 10), ("64 KiB", 64 << 10)];

fn head_parse(c: &mut Criterion) {
    let head = fixtures::head(200);
    assert!(matches!(parse_request(&head), Ok(Some(_))));
    c.bench_function("head_parse", |b| b.iter(|| parse_request(black_box(&head))));
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let mut decoder = Decoder::new();
    for (name, bytes) in SIZES {
        let call = fixtures::call(bytes);
        decoder.decode(&call).unwrap_or_else(|fault| panic!("{}", fault.message()));
        group.throughput(Throughput::Bytes(call.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &call, |b, call| {
            b.iter(|| decoder.decode(black_box(call)).is_ok());
        });
    }
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    let mut scanner = Scanner::new();
    for (name, bytes) in SIZES {
        let reply = fixtures::reply(bytes);
        group.throughput(Throughput::Bytes(reply.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &reply, |b, reply| {
            b.iter(|| {
                scanner.reset();
                let fed = scanner.feed(black_box(reply));
                assert!(fed.is_ok() && scanner.is_complete());
            });
        });
    }
}

fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = head_parse, decode, scan }
criterion_main!(benches);
