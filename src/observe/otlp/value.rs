//! Attributes of OTLP.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

fn attribute(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// A text.
pub(in crate::observe) fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A whole number.
pub(in crate::observe) fn int(key: impl Into<String>, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// Several texts.
pub(in crate::observe) fn texts(
    key: impl Into<String>,
    values: impl Iterator<Item = String>,
) -> KeyValue {
    let values = values.map(|value| AnyValue { value: Some(Value::StringValue(value)) });
    attribute(key, Value::ArrayValue(ArrayValue { values: values.collect() }))
}
