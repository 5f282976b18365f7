//! How commands ask a running peer: which one, as whom, and what its errors say.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use super::http::{Answer, Call, Client};
use super::output;

/// Longest wait for the next byte; a watch sends a comment more often than this.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Which peer is asked, and as whom.
#[derive(Args, Clone)]
pub(super) struct Api {
    /// Address of the API of any peer, with `api.basePath` if there is one
    #[arg(long = "api", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    address: String,
    /// Token; default: the environment variable `PONTOON_TOKEN`
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// File whose first line is the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with certificates (PEM) that are trusted for https beside the public ones
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl Api {
    /// Makes the call; an answer that is an error becomes one.
    pub(super) fn call(&self, call: &Call<'_>) -> anyhow::Result<Answer> {
        let answer =
            self.client()?.send(call).with_context(|| format!("asking {}", self.address))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        let status = answer.status;
        let body = answer.bytes()?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(problem) => bail!("{}", described(status, &problem)),
            Err(_) => bail!("{status}: {}", String::from_utf8_lossy(&body).trim()),
        }
    }

    /// As [`Api::call`], for answers in JSON.
    pub(super) fn json(&self, call: &Call<'_>) -> anyhow::Result<Value> {
        let body = self.call(call)?.bytes()?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).context("the answer is no JSON")
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client {
            base: self.address.parse().context("--api is no URL")?,
            token: self.token()?,
            authorities: self.cacert.clone(),
            read_timeout: READ_TIMEOUT,
        })
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?;
            return Ok(text.lines().next().map(|line| line.trim().to_owned()));
        }
        Ok(std::env::var("PONTOON_TOKEN").ok().filter(|token| !token.is_empty()))
    }
}

/// A problem (RFC 9457) in words: what, then each mistake on a line.
fn described(status: u16, problem: &Value) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut lines =
        vec![format!("{status} {}: {}", text(problem, "title"), text(problem, "detail"))];
    for mistake in problem["errors"].as_array().into_iter().flatten() {
        let place = match mistake["line"].as_u64() {
            Some(line) => format!(" (line {line})"),
            None => String::new(),
        };
        let hint = text(mistake, "hint");
        let hint = if hint.is_empty() { hint } else { format!("; {hint}") };
        let path = text(mistake, "path");
        lines.push(format!("  {path}{place}: {}{hint}", text(mistake, "message")));
    }
    if let Some(hint) = problem["hint"].as_str() {
        lines.push(format!("  {hint}"));
    }
    lines.join("\n")
}

/// Prints JSON for people.
pub(super) fn print(value: &Value) {
    output::line(&format!("{value:#}"));
}

/// Escapes a value of a query or a segment of a path.
pub(super) fn escape(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_are_told_with_each_mistake() {
        let problem = json!({
            "title": "Unprocessable Entity",
            "detail": "1 mistake",
            "errors": [{ "path": "http.routers.a", "message": "bad rule", "hint": "see", "line": 3 }],
        });
        assert_eq!(
            described(422, &problem),
            "422 Unprocessable Entity: 1 mistake\n  http.routers.a (line 3): bad rule; see"
        );
    }
}
