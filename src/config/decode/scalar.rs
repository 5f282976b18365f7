//! One value for serde: its text is read as the type wants it.

use serde::de::value::StrDeserializer;
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{Failure, nearest};
use crate::config::node::{Kind, Position};

#[derive(Clone, Copy)]
pub(super) struct ScalarDecoder<'a> {
    pub(super) text: &'a str,
    pub(super) kind: Kind,
    pub(super) position: Position,
}

impl<'a> ScalarDecoder<'a> {
    fn fail(&self, message: String) -> Failure {
        Failure::custom(message).at(self.position)
    }

    fn integer<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.text.trim();
        let Ok(number) = text.parse::<i128>() else {
            return Err(self.fail(format!("`{text}` is not a whole number")));
        };
        let value = match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) => visitor.visit_u64(number),
            _ => visitor.visit_i128(number),
        };
        value.map_err(|failure: Failure| failure.at(self.position))
    }

    /// Visits a number as the smallest type that holds it.
    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Failure> {
        if let Ok(number) = self.text.parse::<i64>() {
            visitor.visit_i64(number)
        } else if let Ok(number) = self.text.parse::<u64>() {
            visitor.visit_u64(number)
        } else {
            match self.text.parse::<f64>() {
                Ok(number) if number.is_finite() => visitor.visit_f64(number),
                _ => visitor.visit_borrowed_str(self.text),
            }
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            self.integer(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for ScalarDecoder<'de> {
    type Error = Failure;

    /// The notation says what the value is.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = match self.kind {
            Kind::Bool => visitor.visit_bool(self.text.eq_ignore_ascii_case("true")),
            Kind::Number => self.number(visitor),
            Kind::Text | Kind::Untyped => visitor.visit_borrowed_str(self.text),
        };
        value.map_err(|failure: Failure| failure.at(self.position))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let flag = match self.text.trim() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            other => {
                let message = format!("`{other}` is not a boolean: write `true` or `false`");
                return Err(self.fail(message));
            }
        };
        visitor.visit_bool(flag).map_err(|failure: Failure| failure.at(self.position))
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(Failure::custom(format!("`{}` is not a number", self.text))),
        }
        .map_err(|failure| failure.at(self.position))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let value = visitor.visit_borrowed_str(self.text);
        value.map_err(|failure: Failure| failure.at(self.position))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let text = self.text;
        let Some(variant) = variants.iter().find(|name| name.eq_ignore_ascii_case(text)) else {
            let message = format!("`{text}` is not one of {}", variants.join(", "));
            return Err(self.fail(message).hinting(nearest(text, variants)));
        };
        let variant: StrDeserializer<'_, Failure> = (*variant).into_deserializer();
        visitor.visit_enum(variant).map_err(|failure| failure.at(self.position))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Failure> {
        Err(self.fail("expected an object, found a text".to_owned()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(self.fail("expected an object, found a text".to_owned()))
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct seq tuple tuple_struct identifier ignored_any
    }
}
