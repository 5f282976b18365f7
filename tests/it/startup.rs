//! Options of the startup configuration that have no topic of their own.

use crate::support::running::{Running, STARTUP, echo, eventually};

/// providers.md §2, `providers.file.debugLogGeneratedTemplate`: the log has the file before and after templating, once.
#[tokio::test]
async fn templates_and_what_they_make_are_logged() {
    let startup = STARTUP
        .replace("directory: dynamic", "directory: dynamic, debugLogGeneratedTemplate: true");
    let startup = format!("log: {{level: DEBUG}}\n{startup}");
    let (_backend, address) = echo("app", "http").await;
    let template = format!(
        "
http:
  routers:
    app: {{rule: 'PathPrefix(`/{{{{ add 40 2 }}}}`)', service: app}}
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://{address}'}}]}}}}
"
    );
    let folder = Running::prepare(&startup, &[("app.yml", &template)]);
    let running = Running::start_in(folder).await;
    running.until("/42", |answer| answer.status == 200).await;
    let lines = |text: &str| running.output().matches(text).count();
    assert_eq!(lines("template content"), 1, "{}", running.output());
    assert_eq!(lines("PathPrefix(`/{{ add 40 2 }}`)"), 1, "{}", running.output());
    assert_eq!(lines("PathPrefix(`/42`)', service"), 1, "{}", running.output());
    std::fs::write(running.path("dynamic/app.yml"), template.replace("add 40 2", "add 40 3"))
        .unwrap();
    eventually("the new rendering", || async {
        running.output().contains("PathPrefix(`/43`)', service").then_some(())
    })
    .await;
}
