//! What is gathered: families of series. Each sink writes them in its own way.

use std::borrow::Cow;

/// Series of one name.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::observe) struct Family {
    pub(in crate::observe) name: Cow<'static, str>,
    pub(in crate::observe) help: &'static str,
    /// At least one; all of the same kind.
    pub(in crate::observe) points: Vec<Point>,
}

/// A series and its value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::observe) struct Point {
    /// In the order of their names.
    pub(in crate::observe) labels: Vec<Label>,
    pub(in crate::observe) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::observe) struct Label {
    pub(in crate::observe) name: Cow<'static, str>,
    pub(in crate::observe) value: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::observe) enum Value {
    Counter(f64),
    Gauge(f64),
    Durations(Durations),
}

/// Times in seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::observe) struct Durations {
    pub(in crate::observe) count: u64,
    pub(in crate::observe) sum: f64,
    /// Upper bounds, and how many have it as their first one that they do not exceed.
    pub(in crate::observe) buckets: Vec<(f64, u64)>,
    /// Single times, where the sink wants them: at most as many as `count`.
    pub(in crate::observe) samples: Vec<f32>,
}

impl Label {
    pub(in crate::observe) fn new(
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Labels in the order of their names.
pub(in crate::observe) fn sorted(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by(|one, other| one.name.cmp(&other.name));
    labels
}
