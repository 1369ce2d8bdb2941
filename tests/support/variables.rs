//! What the environment sets for the long versions of tests.

use std::{env, fmt::Debug, str::FromStr};

/// What an environment variable says, or else a default.
pub(crate) fn variable<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}
