//! Leaf types of the configuration: durations, sizes, contents that may be given as a file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time. An integer means seconds; a string is Go's notation (`1h2m3s4ms`), which may be negative.
/// Written as Go writes it (`1m40s`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub(crate) struct Duration {
    nanoseconds: i64,
}

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write seconds (`30`) or units (`1m30s`, `250ms`)")]
pub(crate) struct DurationError(String);

/// Units in nanoseconds.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Duration {
    pub(crate) const ZERO: Self = Self { nanoseconds: 0 };

    pub(crate) const fn from_secs(seconds: i64) -> Self {
        Self { nanoseconds: seconds.saturating_mul(1_000_000_000) }
    }

    pub(crate) const fn from_millis(milliseconds: i64) -> Self {
        Self { nanoseconds: milliseconds.saturating_mul(1_000_000) }
    }

    pub(crate) const fn from_nanos(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    pub(crate) const fn is_negative(self) -> bool {
        self.nanoseconds < 0
    }

    /// As the standard library's type; `None` for zero and negative values, which mean "no limit" in Traefik.
    pub(crate) fn positive(self) -> Option<std::time::Duration> {
        u64::try_from(self.nanoseconds).ok().filter(|&n| n > 0).map(std::time::Duration::from_nanos)
    }
}

impl From<Duration> for std::time::Duration {
    /// Negative values become zero.
    fn from(value: Duration) -> Self {
        Self::from_nanos(u64::try_from(value.nanoseconds).unwrap_or(0))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let bad = || DurationError(text.to_owned());
        let trimmed = text.trim();
        if let Ok(seconds) = trimmed.parse::<i64>() {
            return Ok(Self::from_secs(seconds));
        }
        let (negative, mut rest) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = 0_i128;
        while !rest.is_empty() {
            let number_end =
                rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
            let (number, tail) = rest.split_at_checked(number_end).ok_or_else(bad)?;
            let unit_end =
                tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, next) = tail.split_at_checked(unit_end).ok_or_else(bad)?;
            let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
            total = total.checked_add(scaled(number, scale).ok_or_else(bad)?).ok_or_else(bad)?;
            rest = next;
        }
        let nanoseconds = i64::try_from(total).ok().ok_or_else(bad)?;
        Ok(Self { nanoseconds: if negative { -nanoseconds } else { nanoseconds } })
    }
}

/// A decimal number times `scale`; what is finer than a nanosecond is cut off.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    const FRACTION_DIGITS_MAX: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let fraction = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(fraction);
    let parts = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    digits(whole)?.checked_mul(scale)?.checked_add(digits(fraction)?.checked_mul(scale)? / parts)
}

impl fmt::Display for Duration {
    /// Go's notation: `0s`, `1.5s`, `2m0s`, `1h0m0s`, `100ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.nanoseconds.unsigned_abs();
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        match n {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{n}ns"),
            1_000..1_000_000 => return write!(f, "{}µs", decimal(n, 1_000)),
            1_000_000..1_000_000_000 => return write!(f, "{}ms", decimal(n, 1_000_000)),
            _ => {}
        }
        let whole = n / 1_000_000_000;
        let (hours, minutes) = (whole / 3600, whole % 3600 / 60);
        let seconds = n - (hours * 3600 + minutes * 60) * 1_000_000_000;
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(seconds, 1_000_000_000))
    }
}

/// `n / unit` in decimal, without trailing zeros.
fn decimal(n: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", n % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{}", n / unit),
        rest => format!("{}.{rest}", n / unit),
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration: seconds (`30`) or units (`1m30s`)")
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
                Ok(Duration::from_secs(seconds))
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
                i64::try_from(seconds).map(Duration::from_secs).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"], "description": "seconds, or Go's notation such as `1m30s`" })
    }
}

/// A text that may be given as the name of a file. Providers replace names by contents before they publish, so
/// behind the providers it is always the content.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct FileOrContent(pub(crate) String);

impl FileOrContent {
    /// True for a file name: one line without a PEM header.
    pub(crate) fn is_path(&self) -> bool {
        !self.0.is_empty() && !self.0.contains('\n') && !self.0.contains("-----BEGIN")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content, for what no provider publishes: a file is read now.
    pub(crate) fn read(&self) -> std::io::Result<Self> {
        if self.is_path() {
            return std::fs::read_to_string(&self.0).map(Self);
        }
        Ok(self.clone())
    }
}

impl fmt::Debug for FileOrContent {
    /// Contents may be private keys: only names are shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_path() {
            write!(f, "FileOrContent({:?})", self.0)
        } else {
            f.write_str("FileOrContent(…)")
        }
    }
}

/// A text that must not be seen: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret()" } else { "Secret(…)" })
    }
}

/// The names of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Domain {
    /// The main name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) main: String,
    /// Further names of the same certificate. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sans: Vec<String>,
}

/// TLS towards a server that is no service: a store, an API, a collector, an authenticator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientTls {
    /// Authorities that sign the server's certificate: a path or PEM text. Default: those of the system.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) ca: FileOrContent,
    /// Certificate to show: a path or PEM text. Default: none.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) cert: FileOrContent,
    /// Its private key: a path or PEM text. Default: none.
    #[serde(skip_serializing_if = "FileOrContent::is_empty")]
    pub(crate) key: FileOrContent,
    /// Takes any certificate. Default: false.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) insecure_skip_verify: bool,
}

impl ClientTls {
    /// With contents in the place of files, for what no provider publishes: they are read now.
    pub(crate) fn read(&self) -> Result<Self, String> {
        let read = |option: &FileOrContent| {
            option.read().map_err(|error| format!("cannot read `{}`: {error}", option.as_str()))
        };
        Ok(Self {
            ca: read(&self.ca)?,
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            insecure_skip_verify: self.insecure_skip_verify,
        })
    }
}

/// True for the default of the type: what serialising leaves out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_go_does() {
        for (text, shown) in [
            ("30", "30s"),
            ("100", "1m40s"),
            ("1h2m3s4ms", "1h2m3.004s"),
            ("1.5s", "1.5s"),
            ("-1ms", "-1ms"),
            ("60m", "1h0m0s"),
            ("100ms", "100ms"),
            ("0", "0s"),
            ("15us", "15µs"),
            (".5s", "500ms"),
            ("577230003.285s", "160341h40m3.285s"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), shown);
        }
        for text in ["", "x", "1x", "s", "1s2", "-", "999999999999h", ".s", "1.2.3s"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
