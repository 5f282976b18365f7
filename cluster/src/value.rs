//! What an entry holds: bytes that copies share, with nothing beside them but a count.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

/// Immutable bytes. A state holds one for each entry, and [`Bytes`] would need three times as much beside them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// True if one is a copy of the other. Equal values need not be.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same bytes, not copied.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_value_are_its_own() {
        let value = Value::from("a\n");
        let bytes = value.to_bytes();
        assert_eq!((&*bytes, bytes.as_ptr()), (&*value, value.as_ptr()));
        assert_eq!(format!("{value:?}"), "b\"a\\n\"");
        let equal = Value::from(bytes.to_vec());
        assert_eq!(value, equal);
        assert!(value.is_copy_of(&value.clone()) && !value.is_copy_of(&equal));
    }
}
