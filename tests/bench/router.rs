//! Finding a route among few and among many, and building the table.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, Uri};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

#[path = "../../src/config"]
#[expect(dead_code, unused_imports, reason = "options of the router need some types of it")]
mod config {
    pub(crate) mod text;
    pub(crate) mod value;
}
#[path = "../../src/router/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "a part of the crate, of which only the table is measured"
)]
mod router;

use router::{Entry, Rule, Syntax, Table, Target};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn entries(count: usize) -> Vec<Arc<Entry<usize>>> {
    let entry = |value| {
        let rule = format!("Host(`app-{value}.customers.example.com`) && PathPrefix(`/api`)");
        Arc::new(Entry {
            priority: i64::try_from(rule.len()).unwrap_or(0),
            rule: Arc::new(Rule::parse(&rule, Syntax::V3).expect("the rule is right")),
            precedence: 0,
            name: format!("app-{value}@file").into(),
            value,
        })
    };
    (0..count).map(entry).collect()
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find");
    for count in [10, 100_000] {
        let table = Table::new(&entries(count));
        let host = format!("app-{}.customers.example.com", count / 2);
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::try_from(host).expect("the host is right"));
        let uri = Uri::from_static("/api/items?page=2");
        group.bench_function(format!("{count} routers"), |bencher| {
            bencher.iter(|| {
                let target = Target::new(&Method::GET, black_box(&uri), &headers, CLIENT).ok()?;
                table.find(&target).map(|entry| entry.value)
            });
        });
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    group.bench_function("table of 100000 routers", |bencher| {
        bencher.iter_batched(
            || entries(100_000),
            |entries| Table::new(&entries),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("100000 rules and their table", |bencher| {
        bencher.iter(|| Table::new(&entries(100_000)));
    });
    let (all, new) = (entries(100_000), entries(10));
    let table = Table::new(&all);
    group.bench_function("table of 100000 with one changed", |bencher| {
        bencher.iter(|| {
            table.with(all.get(3..4).unwrap_or_default(), new.get(3..4).unwrap_or_default())
        });
    });
    group.finish();
}

criterion_group!(benches, find, build);
criterion_main!(benches);
