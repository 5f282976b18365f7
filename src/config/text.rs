//! Texts that many objects have alike, such as names of entry points and services, and lists of them: each is kept once.
//!
//! Of a hundred thousand routers most say the same but for their rule, so that a text of its own for each would be
//! most of their memory. What nothing holds any more goes when there is twice as much as after the last look.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longer texts are not looked for: hardly two are alike.
const TEXT_BYTES_MAX: usize = 128;
/// Fewer values are not looked through for those that nothing holds.
const SWEEP_FROM: usize = 1024;

static TEXTS: LazyLock<Pool<str>> = LazyLock::new(Pool::default);
static LISTS: LazyLock<Pool<Box<[Text]>>> = LazyLock::new(Pool::default);

/// Values of one kind, each once.
pub(crate) struct Pool<T: ?Sized>(Mutex<Known<T>>);

struct Known<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { values: HashSet::new(), sweep_at: SWEEP_FROM }))
    }
}

impl<T: Eq + Hash + ?Sized> Pool<T> {
    /// The value that is kept for all that are equal to `value`.
    pub(crate) fn get<Q: Borrow<T> + Into<Arc<T>>>(&self, value: Q) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.values.get(value.borrow()) {
            return same.clone();
        }
        let new: Arc<T> = value.into();
        known.values.insert(new.clone());
        if known.values.len() >= known.sweep_at {
            known.values.retain(|value| Arc::strong_count(value) > 1);
            known.sweep_at = SWEEP_FROM.max(known.values.len() * 2);
            let room = known.sweep_at;
            known.values.shrink_to(room);
        }
        new
    }
}

/// The text that is kept for all that are equal.
pub(crate) fn shared(text: &str) -> Arc<str> {
    if text.len() > TEXT_BYTES_MAX {
        return text.into();
    }
    TEXTS.get(text)
}

/// A text of which equal ones share their memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Arc<str>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(shared(text))
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// A list of texts of which equal ones share their memory; one without texts needs none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Texts(Option<Arc<Box<[Text]>>>);

impl Deref for Texts {
    type Target = [Text];

    fn deref(&self) -> &[Text] {
        self.0.as_deref().map_or(&[], |list| list)
    }
}

impl<T: Into<Text>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let list: Box<[Text]> = texts.into_iter().map(Into::into).collect();
        Self((!list.is_empty()).then(|| LISTS.get(list)))
    }
}

impl<T: Into<Text>> From<Vec<T>> for Texts {
    fn from(texts: Vec<T>) -> Self {
        texts.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = &'a Text;
    type IntoIter = std::slice::Iter<'a, Text>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<const N: usize> PartialEq<[&str; N]> for Texts {
    fn eq(&self, other: &[&str; N]) -> bool {
        **self == other[..]
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Text>::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Vec::<String>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<String>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_and_lists_are_kept_once() {
        let list = || Texts::from(vec!["one of these tests", "another of them"]);
        let (one, other) = (list(), list());
        assert!(Arc::ptr_eq(one.0.as_ref().unwrap(), other.0.as_ref().unwrap()));
        assert!(Arc::ptr_eq(&one[0].0, &shared("one of these tests")));
        assert_eq!(one, ["one of these tests", "another of them"]);
        assert_eq!(
            serde_json::to_string(&one).unwrap(),
            r#"["one of these tests","another of them"]"#
        );
    }

    #[test]
    fn a_long_text_is_its_own() {
        let text = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(!Arc::ptr_eq(&shared(&text), &shared(&text)));
    }

    #[test]
    fn what_nothing_holds_goes() {
        let pool = Pool::<str>::default();
        let held: Vec<Arc<str>> =
            (0..700).map(|number| pool.get(&*format!("held {number}"))).collect();
        for number in 0..100_000 {
            pool.get(&*format!("passing {number}"));
            assert!(pool.0.lock().unwrap().values.len() <= 2 * SWEEP_FROM);
        }
        let again = held
            .iter()
            .zip(0..)
            .all(|(one, number)| Arc::ptr_eq(one, &pool.get(&*format!("held {number}"))));
        assert!(again);
    }
}
