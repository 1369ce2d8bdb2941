//! The names of the configuration: of targets, modules, hosts, labels, interfaces and files.
//!
//! Knows their syntax; never resolves or opens what they name.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr, sync::Arc};

use glob::{MatchOptions, Pattern};

use super::field::{FromText, quote};
use crate::{
    flow::{Family, Protocol},
    strategy::Strategy,
};

/// The name of a target: the value of the label `target` and the last part of its page's address. 1 to 255 bytes
/// without control characters and without space around it; not `.` or `..`, which no URL can carry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName(Arc<str>);

/// The name of a module: 1 to 64 letters, digits, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleName(Arc<str>);

/// A DNS name: labels of 1 to 63 letters, digits, `-` and `_`, together at most 253 bytes (RFC 1035 section 2.3.4),
/// in the case in which it was written. Never something that resolvers take for an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// What is traced: an address or a name that still has to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address, without zone.
    Address(IpAddr),
    /// A DNS name.
    Name(HostName),
}

impl Host {
    /// The family of an address; `None` for a name, which may have both.
    #[must_use]
    pub const fn family(&self) -> Option<Family> {
        match self {
            Self::Address(address) => Some(Family::of(*address)),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Files of targets: a path whose last part may be a pattern (`*`, `?`, `[a-z]`) and ends in `.yaml`, `.yml` or `.json`. A relative path
/// counts from the directory of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileGlob(Arc<str>);

/// What the names of text have in common.
macro_rules! name {
    ($($name:ident)*) => {$(
        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        from_str!($name);
    )*};
}

/// `FromStr` with an error of the form "what is wrong; what is allowed".
macro_rules! from_str {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::from_text(text).map_err(|wrong| format!("{wrong}; allowed is {}", Self::ALLOWED))
            }
        }
    };
}

name!(TargetName ModuleName HostName FileGlob);
from_str!(Host);

impl ModuleName {
    /// The module of a target that names none.
    #[must_use]
    pub fn default_module() -> Self {
        Self("default".into())
    }
}

impl FromText for TargetName {
    const ALLOWED: &'static str =
        "text of 1 to 255 bytes without control characters and without space around it";

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = (1..=255).contains(&text.len())
            && !text.chars().any(char::is_control)
            && text.trim() == text
            && !matches!(text, "." | "..");
        if fits { Ok(Self(text.into())) } else { Err(format!("{} cannot name a target", quote(text))) }
    }
}

impl FromText for ModuleName {
    const ALLOWED: &'static str = "1 to 64 of the characters a-z A-Z 0-9 _ - .";

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.'));
        if fits { Ok(Self(text.into())) } else { Err(format!("{} cannot name a module", quote(text))) }
    }
}

impl FromText for HostName {
    const ALLOWED: &'static str = "a host name";

    fn from_text(text: &str) -> Result<Self, String> {
        let labels = text.strip_suffix('.').unwrap_or(text);
        if labels.is_empty() {
            return Err(format!("{} is no host", quote(text)));
        }
        if !text.is_ascii() {
            return Err(format!("{} is not ASCII (international names begin with xn-- here)", quote(text)));
        }
        if labels.len() > 253 {
            return Err(format!("{} is longer than 253 bytes", quote(text)));
        }
        if !labels.split('.').all(is_host_label) {
            return Err(format!("{} is no host", quote(text)));
        }
        // inet_aton and with it getaddrinfo read 10.1 and 0x7f.1 as addresses; nobody means them.
        let last = labels.rsplit('.').next().unwrap_or(labels);
        let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        if last.bytes().all(|c| c.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()))
        {
            return Err(format!("{} ends in a number, yet is no IPv4 address", quote(text)));
        }
        Ok(Self(text.into()))
    }
}

fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl FromText for Host {
    const ALLOWED: &'static str = "a host name or an address, without scheme, port, path, brackets or zone";

    fn from_text(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            not_mapped(text, address)?;
            return Ok(Self::Address(address));
        }
        HostName::from_text(text).map(Self::Name)
    }
}

/// Refuses an IPv4 address as sockets write it for IPv6 (RFC 4291 section 2.5.5.2): no packet carries one.
fn not_mapped(text: &str, address: IpAddr) -> Result<(), String> {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => {
                Err(format!("{} is an IPv4 address in the form of an IPv6 one (write {v4})", quote(text)))
            }
            None => Ok(()),
        },
        IpAddr::V4(_) => Ok(()),
    }
}

impl FileGlob {
    /// The directory of the files, as it is written; empty for that of the configuration file.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.0.rfind('/').and_then(|slash| self.0.get(..=slash)).unwrap_or_default()
    }

    /// Whether a file of the directory is meant. A dot in front has to be written out, as in a shell: what editors and copying
    /// programs leave lying about begins with one.
    #[must_use]
    pub fn matches(&self, file: &str) -> bool {
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let pattern = self.0.rsplit('/').next().map(Pattern::new);
        pattern.is_some_and(|pattern| pattern.is_ok_and(|pattern| pattern.matches_with(file, options)))
    }
}

impl FromText for FileGlob {
    const ALLOWED: &'static str = "a path that ends in .yaml, .yml or .json, with * only behind the last /";

    fn from_text(text: &str) -> Result<Self, String> {
        let (directory, file) = text.rsplit_once('/').unwrap_or(("", text));
        let stem = [".yaml", ".yml", ".json"].iter().find_map(|ending| file.strip_suffix(ending));
        let fits = stem.is_some_and(|stem| !stem.is_empty())
            && !directory.contains('*')
            && Pattern::new(file).is_ok()
            && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.into())) } else { Err(format!("{} names no files of targets", quote(text))) }
    }
}

/// The name of a label of `traceflow_target_info` that the operator adds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LabelName(pub(super) String);

impl FromText for LabelName {
    const ALLOWED: &'static str = "letters, digits and _, not a digit first, not __ first, and not target, host, address, protocol, \
                                   strategy, job, instance, module or interval";

    fn from_text(text: &str) -> Result<Self, String> {
        let mut bytes = text.bytes();
        let fits = bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
            && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !fits {
            return Err("this is no label name".to_owned());
        }
        match text {
            // Those of the metric itself, and those that Prometheus sets.
            "target" | "host" | "address" | "protocol" | "strategy" | "job" | "instance" => {
                Err("the label name is reserved".to_owned())
            }
            // In target files they mean the keys; as a mere label they would surprise.
            "module" | "interval" => Err("this key belongs beside `labels`".to_owned()),
            _ if text.starts_with("__") => Err("the label name is reserved".to_owned()),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a label in a file of targets, where `module` and `interval` stand for those keys.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileLabelName(pub(super) String);

impl FromText for FileLabelName {
    const ALLOWED: &'static str = "module, interval, or letters, digits and _, not a digit first, not __ first, and not target, host, \
                                   address, protocol, strategy, job or instance";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "module" | "interval" => Ok(Self(text.to_owned())),
            _ => LabelName::from_text(text).map(|LabelName(name)| Self(name)),
        }
    }
}

/// An entry of a file of targets: a host that is its own name, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileTarget {
    pub(super) name: TargetName,
    pub(super) host: Host,
}

impl FromText for FileTarget {
    const ALLOWED: &'static str = Host::ALLOWED;

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self { host: Host::from_text(text)?, name: TargetName::from_text(text)? })
    }
}

/// Any text at all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LabelValue(pub(super) String);

impl FromText for LabelValue {
    const ALLOWED: &'static str = "text";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// The name of a network interface, as the kernel accepts it (dev_valid_name).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InterfaceName(pub(super) String);

impl FromText for InterfaceName {
    const ALLOWED: &'static str = "1 to 15 bytes without space, / and :";

    fn from_text(text: &str) -> Result<Self, String> {
        let fits = (1..=15).contains(&text.len())
            && !matches!(text, "." | "..")
            && !text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | ':'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{} cannot name an interface", quote(text)))
        }
    }
}

/// An address that a packet can come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceAddress(pub(super) IpAddr);

impl FromText for SourceAddress {
    const ALLOWED: &'static str = "an IPv4 or IPv6 address of this machine, without zone";

    fn from_text(text: &str) -> Result<Self, String> {
        let address: IpAddr = text.parse().map_err(|_| format!("{} is no address", quote(text)))?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!("no packet comes from {address}"));
        }
        not_mapped(text, address)?;
        Ok(Self(address))
    }
}

/// The path of one file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub(super) PathBuf);

impl FromText for FilePath {
    const ALLOWED: &'static str = "the path of a file";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') || text.ends_with('/') {
            return Err(format!("{} names no file", quote(text)));
        }
        Ok(Self(text.into()))
    }
}

impl FromText for Protocol {
    const ALLOWED: &'static str = "are udp, icmp, tcp";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("unknown value {}", quote(text)))
    }
}

impl FromText for Strategy {
    const ALLOWED: &'static str = "are fixed, mda, mda-lite";

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("unknown value {}", quote(text)))
    }
}
