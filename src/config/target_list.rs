//! Files of targets in the format of Prometheus' file-based service discovery: a list of groups, each with hosts and labels.
//!
//! Knows what one file says and how files may not contradict each other, nothing of which files there are.

use std::{collections::BTreeMap, fmt::Write as _, io, path::Path, sync::Arc};

use serde::de::IgnoredAny;

use super::{
    Config, ConfigError, ModuleName, Target, TargetName,
    error::{Fault, Place},
    field::{FromText, NameKey, Span},
    name::{FileLabelName, FileTarget, LabelValue},
    raw::{Interval, RawGroup},
    source,
    validate::{Failure, check_family, module_of, present},
    yaml::{Step, Step::Index, key, path_text},
};

const WHOLE: &str = "a list of mappings with the keys targets, labels";

/// The targets that one file names.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetList {
    file_name: String,
    text: Arc<str>,
    targets: Vec<Arc<Target>>,
    /// Where each of them stands: its group, and its place in it.
    places: Vec<(usize, usize)>,
}

/// The names that are taken, and by what.
#[derive(Debug, Default)]
pub struct Taken {
    by: BTreeMap<TargetName, Owner>,
}

/// What has a name: a place in a file, put into words only where somebody wants to know.
#[derive(Debug)]
struct Owner {
    file: Arc<str>,
    path: Vec<Step>,
}

impl TargetList {
    /// Reads a file of at most 64 MiB. Its targets have the modules of `config`, and its interval where they name none.
    ///
    /// # Errors
    /// [`ConfigError::Read`] where it is no file, cannot be read or is too large, otherwise as [`TargetList::parse`].
    pub fn load(path: &Path, config: &Config) -> Result<Self, ConfigError> {
        // A pipe would be waited for.
        let is_file = path.metadata().map(|metadata| metadata.is_file());
        match is_file.map_err(|reason| ConfigError::read(path, reason))? {
            true => Self::parse(&path.to_string_lossy(), &source::read(path)?, config),
            false => Err(ConfigError::read(path, io::Error::other("this is no file"))),
        }
    }

    /// Parses the text of a file: JSON where its name ends in `.json`, otherwise YAML.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first thing found that is not allowed; a name that the file itself has twice is.
    pub fn parse(file_name: &str, text: &str, config: &Config) -> Result<Self, ConfigError> {
        let text = source::without_mark(text);
        let joined;
        let text = if file_name.ends_with(".json") && !text.trim().is_empty() {
            check_json(file_name, text)?;
            joined = join_surrogates(text);
            joined.as_str()
        } else {
            text
        };
        let groups: Vec<RawGroup> = source::parse(file_name, text, WHOLE)?;
        let mut list = Self {
            file_name: file_name.to_owned(),
            text: text.into(),
            targets: Vec::new(),
            places: Vec::new(),
        };
        let mut own = BTreeMap::new();
        for (index, group) in groups.into_iter().enumerate() {
            let targets = group_targets(index, group, config);
            for (place, target) in
                targets.map_err(|failure| source::failed(file_name, text, failure))?.into_iter().enumerate()
            {
                if let Some(first) = own.insert(target.name.clone(), (index, place)) {
                    let words = path_text(&path(first));
                    return Err(list.is_taken(&target.name, (index, place), &words));
                }
                list.targets.push(Arc::new(target));
                list.places.push((index, place));
            }
        }
        Ok(list)
    }

    /// The same text read again for another configuration.
    ///
    /// # Errors
    /// As [`TargetList::parse`].
    pub fn for_config(&self, config: &Config) -> Result<Self, ConfigError> {
        Self::parse(&self.file_name, &self.text, config)
    }

    /// The targets in the order of the file; no name comes twice.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// Whether the files say the same, word by word.
    #[must_use]
    pub fn has_text_of(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// The error for a name that something else has.
    fn is_taken(&self, name: &TargetName, place: (usize, usize), owner: &str) -> ConfigError {
        let wrong = format!("`{name}` is the name of {owner} already");
        source::failed(&self.file_name, &self.text, Failure::new(path(place), wrong, "each name once"))
    }
}

impl Taken {
    /// The names of the targets of a configuration itself.
    #[must_use]
    pub fn by_config(file_name: &str, config: &Config) -> Self {
        let file: Arc<str> = file_name.into();
        let owner = |index| Owner { file: Arc::clone(&file), path: vec![key("targets"), Index(index)] };
        let names = config.targets.iter().enumerate();
        Self { by: names.map(|(index, target)| (target.name.clone(), owner(index))).collect() }
    }

    /// Takes all names of a file, or none.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for the first that is taken; it names both places.
    pub fn claim(&mut self, list: &TargetList) -> Result<(), ConfigError> {
        for (target, &place) in list.targets.iter().zip(&list.places) {
            if let Some(owner) = self.by.get(&target.name) {
                let owner = format!("{} in {}", path_text(&owner.path), owner.file);
                return Err(list.is_taken(&target.name, place, &owner));
            }
        }
        let file: Arc<str> = list.file_name.as_str().into();
        for (target, &place) in list.targets.iter().zip(&list.places) {
            self.by.insert(target.name.clone(), Owner { file: Arc::clone(&file), path: path(place) });
        }
        Ok(())
    }
}

/// The path of a target.
fn path((group, place): (usize, usize)) -> Vec<Step> {
    vec![Index(group), key("targets"), Index(place)]
}

/// The targets of a group.
fn group_targets(index: usize, raw: RawGroup, config: &Config) -> Result<Vec<Target>, Failure> {
    let at = |steps: &[Step]| [&[Index(index)], steps].concat();
    let missing = || Failure::new(at(&[key("targets")]), "the value is missing", "a list of hosts");
    let targets = raw.targets.ok_or_else(missing)?;
    let mut labels = raw
        .labels
        .unwrap_or_default()
        .into_iter()
        .map(|(NameKey(FileLabelName(name)), value)| {
            let LabelValue(value) = present(value, || at(&[key("labels"), key(&name)]))?;
            Ok((name, value))
        })
        .collect::<Result<BTreeMap<_, _>, Failure>>()?;

    let of_label = |name: &str| at(&[key("labels"), key(name)]);
    let module_name = match labels.remove("module") {
        Some(text) => ModuleName::from_text(&text)
            .map_err(|wrong| Failure::new(of_label("module"), wrong, ModuleName::ALLOWED))?,
        None => ModuleName::default_module(),
    };
    let module = module_of(&module_name, &config.modules, || of_label("module"))?;
    let interval = match labels.remove("interval") {
        Some(text) => {
            let Span(interval) = Interval::from_text(&text)
                .map_err(|wrong| Failure::new(of_label("interval"), wrong, Interval::allowed()))?;
            interval
        }
        None => config.global.interval,
    };
    let targets = targets.into_iter().enumerate().map(|(place, target)| {
        let FileTarget { name, host } = present::<FileTarget>(target, || path((index, place)))?;
        check_family(&host, &module_name, module)
            .map_err(|(wrong, allowed)| Failure::new(path((index, place)), wrong, allowed))?;
        Ok(Target {
            name,
            host,
            module: Arc::clone(module),
            module_name: module_name.clone(),
            interval,
            labels: labels.clone(),
        })
    });
    targets.collect()
}

/// Whether a text is JSON at all: the YAML parser, which knows where values stand, would take more.
fn check_json(file_name: &str, text: &str) -> Result<(), ConfigError> {
    let Err(error) = serde_json::from_str::<IgnoredAny>(text) else { return Ok(()) };
    // It counts bytes.
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let column = line.char_indices().filter(|(at, _)| *at < error.column()).count();
    let place = Place { line: error.line(), column: column.max(1) };
    let words = error.to_string();
    let wrong = words.split(" at line ").next().unwrap_or_default();
    let fault = Fault::root(format!("not JSON: {wrong}"), "well-formed JSON");
    Err(ConfigError::invalid(file_name, place, fault))
}

/// JSON writes a character beyond U+FFFF as two escapes, `\ud83d\ude00`, of which YAML wants one: `\U0001f600`.
fn join_surrogates(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        joined.push_str(before);
        let pair = (unit(escape, 0), unit(escape, 6));
        let character = match pair {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                char::decode_utf16([high, low]).next().and_then(Result::ok)
            }
            _ => None,
        };
        let length = match character {
            Some(character) => {
                // Writing to a String does not fail.
                let _ = write!(joined, "\\U{:08x}", u32::from(character));
                12
            }
            None => {
                // The escaped character with its backslash, which may be one itself.
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                joined.push_str(escape.get(..length).unwrap_or(escape));
                length
            }
        };
        rest = escape.get(length..).unwrap_or_default();
    }
    joined.push_str(rest);
    joined
}

/// The unit of UTF-16 of the escape `\uXXXX` at a place.
fn unit(text: &str, at: usize) -> Option<u16> {
    u16::from_str_radix(text.get(at..at + 6)?.strip_prefix("\\u")?, 16).ok()
}

#[cfg(test)]
mod tests;
