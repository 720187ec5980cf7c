//! Numbers of the JSON mapping: a JSON number, or a string.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{self, Visitor},
};

/// A number of the JSON mapping: a JSON number, or a string.
pub(super) trait Number: Sized {
    fn from_text(text: &str) -> Option<Self>;
    fn from_whole(number: i128) -> Option<Self>;
    fn from_double(number: f64) -> Option<Self>;
}

impl Number for f64 {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_whole(number: i128) -> Option<Self> {
        Some(number as Self)
    }

    fn from_double(number: f64) -> Option<Self> {
        Some(number)
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn from_whole(number: i128) -> Option<Self> {
                number.try_into().ok()
            }

            fn from_double(number: f64) -> Option<Self> {
                (number.fract() == 0.0).then_some(number as i128).and_then(Self::from_whole)
            }
        }
    )*};
}

whole_numbers!(i32, u32, i64, u64);

/// The word for a number that is not finite. JSON has no such number, so protobuf's JSON mapping has these strings.
pub fn not_finite(number: f64) -> Option<&'static str> {
    match number {
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => number.is_nan().then_some("NaN"),
    }
}

pub(super) fn number<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    struct OfType<T>(PhantomData<T>);

    impl<T: Number> Visitor<'_> for OfType<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of type {}", std::any::type_name::<T>())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            T::from_text(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
            T::from_whole(number.into()).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            T::from_whole(number.into()).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
            T::from_double(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
        }

        /// `null`: serde_json writes it for a double that is not finite.
        fn visit_unit<E: de::Error>(self) -> Result<T, E> {
            T::from_double(f64::NAN).ok_or_else(|| E::invalid_type(de::Unexpected::Unit, &self))
        }
    }

    from.deserialize_any(OfType(PhantomData))
}

pub(super) fn some_number<'de, T: Number, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    number(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::AnyValue;

    fn value(json: &str) -> Result<AnyValue, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn int(number: i64) -> AnyValue {
        AnyValue { int_value: Some(number), ..AnyValue::default() }
    }

    fn double(number: f64) -> AnyValue {
        AnyValue { double_value: Some(number), ..AnyValue::default() }
    }

    #[test]
    fn numbers_follow_the_json_mapping() {
        for (json, expected) in [
            (r#"{"doubleValue":1.5}"#, double(1.5)),
            (r#"{"doubleValue":2}"#, double(2.0)),
            (r#"{"doubleValue":"-2.5"}"#, double(-2.5)),
            (r#"{"doubleValue":"Infinity"}"#, double(f64::INFINITY)),
            (r#"{"doubleValue":"-Infinity"}"#, double(f64::NEG_INFINITY)),
            (r#"{"intValue":"-9223372036854775808"}"#, int(i64::MIN)),
            (r#"{"intValue":7}"#, int(7)),
            (r#"{"intValue":1e3}"#, int(1000)),
        ] {
            assert_eq!(value(json).unwrap(), expected, "{json}");
        }
        for json in [r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":null}"#] {
            assert!(value(json).unwrap().double_value.unwrap().is_nan(), "{json}");
        }
        for json in [r#"{"intValue":1.5}"#, r#"{"intValue":"NaN"}"#, r#"{"intValue":"x"}"#, r#"{"doubleValue":true}"#] {
            assert!(value(json).is_err(), "{json}");
        }
    }

    #[test]
    fn doubles_are_read_exactly() {
        // Without serde_json's `float_roundtrip`, the last bit of such numbers can be wrong.
        for number in [0.1, 5e-324, 1.797_693_134_862_315_7e308, 0.300_000_000_000_000_04, 1.222_337_203_685_477_5e19] {
            let json = format!(r#"{{"doubleValue":{number:e}}}"#);
            assert_eq!(value(&json).unwrap(), double(number), "{json}");
        }
    }
}
