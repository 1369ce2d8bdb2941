//! From a file to the values that it holds: reading, encoding, form. The same for the configuration and for files of targets.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use serde::de::DeserializeOwned;

use super::{
    ConfigError,
    error::{Fault, Place},
    validate::Failure,
    yaml,
};

/// The largest file that is read, in bytes: some 400,000 targets. Larger is no configuration but an accident, such as
/// a device.
const MAX_SIZE: u64 = 64 << 20;

/// The text of a file of at most 64 MiB.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
        .and_then(|size| {
            if u64::try_from(size).is_ok_and(|size| size <= MAX_SIZE) {
                Ok(())
            } else {
                Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 64 MiB"))
            }
        })
        .map_err(|reason| ConfigError::read(path, reason))?;
    String::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        let place = Place::behind(&String::from_utf8_lossy(valid));
        let byte = rest.first().copied().unwrap_or_default();
        let fault = Fault::root(format!("the byte 0x{byte:02x} is not UTF-8"), "text in UTF-8");
        ConfigError::invalid(&path.to_string_lossy(), place, fault)
    })
}

/// The text without a byte order mark.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// What the text holds, each value in range on its own; `None` where it is empty.
pub(super) fn document<T: DeserializeOwned>(file_name: &str, text: &str) -> Result<Option<T>, ConfigError> {
    let invalid = |(place, fault)| ConfigError::invalid(file_name, place, fault);
    yaml::check(text).map_err(invalid)?;
    serde_yaml::from_str(text)
        .map_err(|error| invalid((Place::of(&error).unwrap_or(Place::START), Fault::of_yaml(&error))))
}

/// The same of a text that must not be empty: `whole` is what it should hold.
pub(super) fn parse<T: DeserializeOwned>(file_name: &str, text: &str, whole: &str) -> Result<T, ConfigError> {
    document(file_name, text)?
        .ok_or_else(|| ConfigError::invalid(file_name, Place::START, Fault::root("the file is empty", whole)))
}

/// The error that what `global.asn_database` names cannot be used. The file is read again to say where that stands.
pub(crate) fn refuse_database(path: &Path, wrong: impl Into<String>) -> ConfigError {
    let text = read(path).unwrap_or_default();
    let keys = [yaml::key("global"), yaml::key("asn_database")];
    let allowed = "an mmdb file with AS numbers, such as GeoLite2-ASN";
    failed(&path.to_string_lossy(), without_mark(&text), Failure::new(keys, wrong, allowed))
}

/// The error for a value that was found wrong behind the parser, at its place in the text.
pub(super) fn failed(file_name: &str, text: &str, failure: Failure) -> ConfigError {
    let Failure { path, wrong, allowed } = failure;
    let fault = Fault { path: yaml::path_text(&path), wrong, allowed };
    ConfigError::invalid(file_name, yaml::locate(text, &path), fault)
}
