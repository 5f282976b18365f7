//! Memory stays flat over many changes of the configuration under load. `tests/bench/flat.py` measures it for longer.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::TcpStream;

use crate::support::h1::Reader;
use crate::support::running::{CERTIFICATE, Running, STARTUP, ask, echo};

/// Changes until caches and pools are as large as they get, and in all.
const WARM: usize = 40;
const CHANGES: usize = 160;

/// What is in force after change `number`: some objects have a name of their own each time, some keep it.
fn configuration(number: usize, address: &str) -> String {
    let (mut routers, mut middlewares, mut services) =
        (String::new(), String::new(), String::new());
    for part in 0..8 {
        let rule = format!(
            "HostRegexp(`^[a-z]+-{number}-{part}[.]test$`) && PathRegexp(`^/[0-9]{{1,9}}/`)"
        );
        writeln!(
            routers,
            "    r{number}-{part}: {{rule: '{rule}', service: s{part}, middlewares: [m{number}-{part}]}}"
        )
        .unwrap();
        let middleware = [
            "rateLimit: {average: 10}",
            "inFlightReq: {amount: 10}",
            "circuitBreaker: {expression: 'NetworkErrorRatio() > 0.5'}",
            "compress: {}",
        ][part % 4];
        writeln!(middlewares, "    m{number}-{part}: {{{middleware}}}").unwrap();
        writeln!(
            services,
            "    s{part}: {{loadBalancer: {{servers: [{{url: 'http://{address}/{number}'}}], sticky: {{cookie: {{}}}}, \
             healthCheck: {{path: /__health, interval: {}s}}}}}}",
            30 + number % 7
        )
        .unwrap();
    }
    format!(
        "http:\n  routers:\n    stays: {{rule: 'Path(`/`)', service: app, middlewares: [limit]}}\n\
        \x20   mark: {{rule: 'Path(`/mark-{number}`)', service: app}}\n{routers}  middlewares:\n\
        \x20   limit: {{rateLimit: {{average: 100000, burst: {}}}}}\n{middlewares}  services:\n\
        \x20   app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}\n{services}{CERTIFICATE}\
        \x20 options: {{o{number}: {{minVersion: VersionTLS12}}}}\n",
        100_000 + number
    )
}

#[tokio::test]
async fn changes_under_load_leave_memory_flat() {
    let (_app, address) = echo("app", "http").await;
    let running = Running::start(STARTUP, &[("app.yml", &configuration(0, &address))]).await;
    let web = running.address("web");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                let mut kept = Reader::new(TcpStream::connect(web).await.unwrap());
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(ask(&mut kept, "/").await.unwrap().status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut warm = 0;
    for number in 1..=CHANGES {
        let (new, file) = (running.path("dynamic/.new"), running.path("dynamic/app.yml"));
        fs::write(&new, configuration(number, &address)).unwrap();
        fs::rename(new, file).unwrap();
        running.until(&format!("/mark-{number}"), |answer| answer.status == 200).await;
        if number == WARM {
            warm = running.memory();
        }
    }
    let after = running.memory();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > CHANGES, "there was load");
    // 20 KB that stay of each change would be more.
    let most = warm + warm / 10;
    assert!(after <= most, "{warm} bytes after {WARM} changes, {after} after {CHANGES}");
}
