//! Aliases known by heart, and what is remembered of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;

use super::*;

/// Knows aliases by heart, and counts the questions.
struct Book(HashMap<&'static str, Result<Answer, String>>, Arc<AtomicUsize>);

#[async_trait]
impl Names for Book {
    async fn alias(&self, name: &str) -> Result<Answer, String> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(name).cloned().unwrap_or(Ok((None, REMEMBERED_MAX)))
    }
}

fn book(depth: i64) -> (HostResolver, Arc<AtomicUsize>) {
    let alias = |name: &str| Ok((Some(name.to_owned()), Duration::from_mins(1)));
    let names = HashMap::from([
        ("a.test", alias("b.test")),
        ("b.test", alias("c.test")),
        ("c.test", alias("d.test")),
        ("round.test", alias("round.test")),
        ("down.test", Err("no answer".to_owned())),
    ]);
    let count = Arc::new(AtomicUsize::new(0));
    let names = Box::new(Book(names, count.clone()));
    (HostResolver::with(names, depth, Group::new(Handle::current())), count)
}

async fn flat(resolver: &HostResolver, host: &str) -> String {
    match resolver.flat(host) {
        Flat::Known(flat) => flat.to_string(),
        Flat::Soon(answer) => answer.await.unwrap().to_string(),
    }
}

/// static.md §2, `hostResolver.resolvDepth`.
#[tokio::test]
async fn aliases_are_followed_up_to_the_depth() {
    assert_eq!(flat(&book(5).0, "a.test").await, "d.test");
    assert_eq!(flat(&book(2).0, "a.test").await, "c.test");
    assert_eq!(flat(&book(0).0, "a.test").await, "a.test");
    assert_eq!(flat(&book(-1).0, "a.test").await, "a.test");
    let (resolver, asked) = book(5);
    assert_eq!(flat(&resolver, "round.test").await, "round.test");
    assert_eq!(asked.load(Ordering::Relaxed), 5, "a circle ends");
}

#[tokio::test]
async fn what_is_known_is_not_asked_again() {
    let (resolver, asked) = book(5);
    for _ in 0..3 {
        assert_eq!(flat(&resolver, "c.test").await, "d.test");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(matches!(resolver.flat("c.test"), Flat::Known(_)));
    assert_eq!(flat(&resolver, "down.test").await, "down.test");
    assert_eq!(flat(&resolver, "down.test").await, "down.test");
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn addresses_and_nonsense_are_not_asked_for() {
    let (resolver, asked) = book(5);
    let long = "a".repeat(64) + ".test";
    for host in ["", "127.0.0.1", "::1", "a b.test", "a..test", ".", &long, "ä.test"] {
        assert_eq!(flat(&resolver, host).await, host);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn too_many_lookups_are_not_waited_for() {
    let (resolver, _) = book(5);
    let _all = resolver.0.waiting.clone().acquire_many_owned(1024).await.unwrap();
    assert!(matches!(resolver.flat("a.test"), Flat::Known(host) if &*host == "a.test"));
}

#[test]
fn the_memory_has_an_end() {
    let (mut known, now) = (Known::default(), Instant::now());
    let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
    for number in 0..HOSTS_MAX {
        let end = if number % 2 == 0 { soon } else { late };
        known.put(number.to_string().into(), "x".into(), (now, end));
    }
    known.put("new".into(), "x".into(), (soon, late));
    assert_eq!(known.0.len(), HOSTS_MAX / 2 + 1, "what has ended goes first");
    assert!(known.get("1", soon).is_some() && known.get("new", soon).is_some());
    assert!(known.get("1", late).is_none());
    for number in 0..HOSTS_MAX * 2 {
        known.put(format!("more-{number}").into(), "x".into(), (now, late));
        assert!(known.0.len() <= HOSTS_MAX);
    }
}

/// static.md §2, `hostResolver.resolvConfig`.
#[test]
fn name_servers_are_read_as_the_c_library_does() {
    let text = "# first\nsearch a.test\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 # second\n\
                nameserver nonsense\nnameserver [127.0.0.1]:5353\nnameserver 192.0.2.4\n";
    let servers: Vec<String> = name_servers(text).iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.1:5353"]);
}
