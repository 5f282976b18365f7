//! `agreement`: once nothing changes any more, all peers hold the same document and follow the same plan.

use serde_json::Value;

use crate::client::Status;

/// What one peer ended with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct End {
    pub(crate) status: Status,
    pub(crate) document: Value,
}

/// What is wrong with the ends of all peers.
pub(crate) fn check(ends: &[End]) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some((first, others)) = ends.split_first() else {
        return vec!["no peer tells how it ended".to_owned()];
    };
    if first.status.plan_digest.is_empty() {
        wrong.push(format!("{} follows no plan", first.status.name));
    }
    if first.document.as_object().is_none_or(serde_json::Map::is_empty) {
        wrong.push(format!("{} has no document", first.status.name));
    }
    for other in others {
        let mut differ = |what: &str, one: &dyn std::fmt::Debug, two: &dyn std::fmt::Debug| {
            let (name, with) = (&first.status.name, &other.status.name);
            wrong.push(format!("{name} and {with} differ in the {what}: {one:?} / {two:?}"));
        };
        if first.status.leader != other.status.leader {
            differ("leader", &first.status.leader, &other.status.leader);
        }
        if first.status.revision != other.status.revision {
            differ("revision", &first.status.revision, &other.status.revision);
        }
        if first.status.plan_digest != other.status.plan_digest {
            differ("plan", &first.status.plan_digest, &other.status.plan_digest);
        }
        if first.document != other.document {
            differ("document", &first.document.to_string(), &other.document.to_string());
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn end() -> End {
        let status = Status {
            name: "edge".to_owned(),
            leader: Some("edge-1".to_owned()),
            term: 3,
            revision: 9,
            plan_digest: "ab".to_owned(),
        };
        End { status, document: json!({ "http": {} }) }
    }

    #[test]
    fn equal_ends_are_accepted() {
        assert_eq!(check(&[end(), end(), end()]), Vec::<String>::new());
    }

    #[test]
    fn differences_are_found() {
        let (mut leader, mut revision, mut plan, mut document) = (end(), end(), end(), end());
        leader.status.leader = None;
        revision.status.revision = 8;
        plan.status.plan_digest = "cd".to_owned();
        document.document = json!({ "http": { "routers": {} } });
        for (other, what) in
            [(leader, "leader"), (revision, "revision"), (plan, "plan"), (document, "document")]
        {
            let wrong = check(&[end(), end(), other]);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].contains(&format!("differ in the {what}")), "{wrong:?}");
        }
    }

    #[test]
    fn peers_that_agree_on_nothing_are_refused() {
        let mut empty = end();
        empty.status.plan_digest = String::new();
        empty.document = json!({});
        assert_eq!(check(&[empty.clone(), empty]).len(), 2);
        assert_eq!(check(&[]).len(), 1);
    }
}
