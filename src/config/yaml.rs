//! What the YAML library does not tell by itself: keys given twice, aliases that explode, and the place of a key.
//!
//! Knows YAML, nothing of the keys of our file. The library reports places only with errors that are raised while it
//! parses: so everything here walks the text and raises an error where it has something to say.

use std::{cell::Cell, collections::BTreeSet, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::error::{Fault, Place};

/// One step of the path to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The step to a key of a mapping.
pub(super) fn key(name: &(impl ToString + ?Sized)) -> Step {
    Step::Key(name.to_string())
}

/// The path as users read it: `targets[1].name`.
pub(super) fn path_text(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => format!("{text}.{key}"),
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

/// Checks the form of the text: characters that YAML excludes, syntax, keys given twice, tags, and
/// aliases that blow a small text up into a large one.
pub(super) fn check(text: &str) -> Result<(), (Place, Fault)> {
    // The library refuses these too, yet says only their offset.

    if let Some(at) = text.find(|c| !is_printable(c)) {
        let (before, rest) = text.split_at(at);
        let character = rest.chars().next().unwrap_or_default();
        let wrong = format!("the character U+{:04X} is not printable", u32::from(character));
        return Err((
            Place::behind(before),
            Fault::root(wrong, "printable text (in double quotes, escapes such as \\u0007)"),
        ));
    }
    let left = Cell::new(10 * text.len() + 1000);
    Check { left: &left }.deserialize(serde_yaml::Deserializer::from_str(text)).map_err(|error| {
        match Place::of(&error) {
            Some(place) => (place, Fault::of_yaml(&error)),
            None => unplaced(text, &error),
        }
    })
}

/// The place of the value at the end of the path; of the last value on the path where the rest is missing.
pub(super) fn locate(text: &str, path: &[Step]) -> Place {
    Locate { path }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()
        .and_then(|error| Place::of(&error))
        .unwrap_or(Place::START)
}

/// The characters of YAML 1.2 section 5.1; the line separators of YAML 1.1 count as printable there too.
const fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}'
        | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// The library's errors without a place: those about the text as a whole.
fn unplaced(text: &str, error: &serde_yaml::Error) -> (Place, Fault) {
    let mut documents = serde_yaml::Deserializer::from_str(text).skip(1);
    if let Some(second) = documents.next() {
        let place = Locate { path: &[] }.deserialize(second).err().and_then(|error| Place::of(&error));
        return (
            place.unwrap_or(Place::START),
            Fault::root("a second document begins", "one document a file"),
        );
    }
    (Place::START, Fault::of_yaml(error))
}

/// Walks over any value and refuses what `check` says.
#[derive(Clone, Copy)]
struct Check<'a> {
    /// What may still be visited, in values and bytes. Without aliases a text never visits more than twice its length.
    left: &'a Cell<usize>,
}

impl Check<'_> {
    fn charge<E: Error>(self, size: usize) -> Result<(), E> {
        self.left.set(self.left.get().checked_sub(size + 1).ok_or_else(|| {
            E::invalid_value(Unexpected::Other("aliases repeat too much"), &"what is written out")
        })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.charge(text.len())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.charge(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        self.charge(0)?;
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<(), A::Error> {
        self.charge(0)?;
        let mut keys = BTreeSet::new();
        while mapping.next_key_seed(NewKey { keys: &mut keys, check: self })?.is_some() {
            mapping.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::invalid_type(Unexpected::Enum, &self))
    }
}

/// A key that its mapping does not hold yet.
struct NewKey<'k, 'a> {
    keys: &'k mut BTreeSet<String>,
    check: Check<'a>,
}

impl<'de> DeserializeSeed<'de> for NewKey<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<(), E> {
        self.check.charge(key.len())?;
        if self.keys.insert(key.to_owned()) {
            Ok(())
        } else {
            Err(E::custom(format!("duplicate field `{key}`")))
        }
    }
}

/// Walks along a path and raises an error at its end: the error then carries the place.
struct Locate<'a> {
    path: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing here: the path ends")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let Some((Step::Index(index), path)) = self.path.split_first() {
            for _ in 0..*index {
                list.next_element::<IgnoredAny>()?;
            }
            list.next_element_seed(Locate { path })?;
        }
        Err(A::Error::custom("the path ends"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<(), A::Error> {
        if let Some((Step::Key(wanted), path)) = self.path.split_first() {
            while let Some(key) = mapping.next_key::<String>()? {
                if key == *wanted {
                    mapping.next_value_seed(Locate { path })?;
                } else {
                    mapping.next_value::<IgnoredAny>()?;
                }
            }
        }
        Err(A::Error::custom("the path ends"))
    }
}
