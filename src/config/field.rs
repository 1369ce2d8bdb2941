//! The leaves of the file: values that refuse what is out of range while the parser still knows where they stand.
//!
//! Knows single values; what two values say about each other is for `validate`.

use std::{fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use super::{
    duration::{format_duration, parse_duration},
    error::one_line,
};
use crate::{probe::Ttl, strategy::Confidence};

/// A value written as text.
pub(super) trait FromText: Sized {
    /// What is allowed: completes "allowed is …"; where it begins with "are ", "allowed …".
    const ALLOWED: &'static str;

    /// Reads the value; the error says what is wrong.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// User text as error messages quote it: in backquotes, on one line, not too long.
pub(super) fn quote(text: &str) -> String {
    format!("`{}`", one_line(text, 80))
}

/// A field of text. Numbers and truth values are taken as the text that they were written as.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for TextVisitor<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::ALLOWED)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::from_text(text)
                    .map(Text)
                    .map_err(|wrong| E::invalid_value(Unexpected::Other(&wrong), &self))
            }
        }

        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A key that the operator chooses. Its error names the key, since the parser gives only the path of the mapping.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameKey<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for NameKey<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor<T>(PhantomData<T>);

        impl<T: FromText> Visitor<'_> for KeyVisitor<T> {
            type Value = NameKey<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::ALLOWED)
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
                T::from_text(key).map(NameKey).map_err(|wrong| {
                    E::custom(format_args!("invalid key `{key}`: {wrong}, expected {}", T::ALLOWED))
                })
            }
        }

        deserializer.deserialize_str(KeyVisitor(PhantomData))
    }
}

/// A type of number that a field may hold.
pub(super) trait Number: Sized {
    fn from_u64(value: u64) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl Number for $type {
            fn from_u64(value: u64) -> Option<Self> {
                value.try_into().ok()
            }
        }
    )*};
}

number!(u8 u16 u32);

impl Number for Ttl {
    fn from_u64(value: u64) -> Option<Self> {
        Self::new(value.try_into().ok()?)
    }
}

/// A whole number from `LOW` to `HIGH`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Within<T, const LOW: u64, const HIGH: u64>(pub(super) T);

impl<'de, T: Number, const LOW: u64, const HIGH: u64> Deserialize<'de> for Within<T, LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WithinVisitor<T, const LOW: u64, const HIGH: u64>(PhantomData<T>);

        impl<T: Number, const LOW: u64, const HIGH: u64> Visitor<'_> for WithinVisitor<T, LOW, HIGH> {
            type Value = Within<T, LOW, HIGH>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {LOW} to {HIGH}")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                let found = if (LOW..=HIGH).contains(&value) { T::from_u64(value) } else { None };
                found.map(Within).ok_or_else(|| {
                    let wrong = format!("{value} is too {}", if value < LOW { "small" } else { "large" });
                    E::invalid_value(Unexpected::Other(&wrong), &self)
                })
            }
        }

        deserializer.deserialize_u64(WithinVisitor(PhantomData))
    }
}

/// A duration from `LOW` to `HIGH` milliseconds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Span<const LOW: u64, const HIGH: u64>(pub(super) Duration);

impl<const LOW: u64, const HIGH: u64> Span<LOW, HIGH> {
    /// What is allowed, as [`FromText::ALLOWED`].
    pub(super) fn allowed() -> String {
        let [low, high] = [LOW, HIGH].map(|millis| format_duration(Duration::from_millis(millis)));
        format!("{low} to {high}")
    }

    /// Reads the value; the error says what is wrong.
    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        let duration = parse_duration(text);
        match duration.map(|duration| duration.as_millis()) {
            None if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) => {
                Err(format!("{} has no unit", quote(text)))
            }
            None => Err(format!("{} is no duration such as 500ms, 60s or 1m30s", quote(text))),
            Some(millis) if millis < u128::from(LOW) => Err(format!("{text} is too short")),
            Some(millis) if millis > u128::from(HIGH) => Err(format!("{text} is too long")),
            Some(_) => Ok(Self(duration.unwrap_or_default())),
        }
    }
}

impl<'de, const LOW: u64, const HIGH: u64> Deserialize<'de> for Span<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor<const LOW: u64, const HIGH: u64>;

        impl<const LOW: u64, const HIGH: u64> Visitor<'_> for SpanVisitor<LOW, HIGH> {
            type Value = Span<LOW, HIGH>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Span::<LOW, HIGH>::allowed())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Span::from_text(text).map_err(|wrong| E::invalid_value(Unexpected::Other(&wrong), &self))
            }
        }

        deserializer.deserialize_str(SpanVisitor)
    }
}

/// A confidence.
#[derive(Debug, PartialEq)]
pub(super) struct Likelihood(pub(super) Confidence);

impl<'de> Deserialize<'de> for Likelihood {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LikelihoodVisitor;

        impl Visitor<'_> for LikelihoodVisitor {
            type Value = Likelihood;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number between 0 and 1, both excluded, such as 0.95")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                Confidence::new(value).map(Likelihood).ok_or_else(|| {
                    E::invalid_value(Unexpected::Other(&format!("{value} is no confidence")), &self)
                })
            }
        }

        deserializer.deserialize_f64(LikelihoodVisitor)
    }
}

/// A truth value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchVisitor;

        impl Visitor<'_> for SwitchVisitor {
            type Value = Switch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Switch(value))
            }
        }

        deserializer.deserialize_bool(SwitchVisitor)
    }
}
