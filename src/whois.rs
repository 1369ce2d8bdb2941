//! What tells whom addresses belong to: their names and their autonomous systems, as far as the configuration asks for them.
//!
//! Knows what is asked, and what of it goes on when the configuration changes. Knows nothing of routes.

use std::{path::Path, sync::Arc};

use crate::{
    asn::{DatabaseFile, Systems},
    config::{ConfigError, Global, refuse_database},
    names::Names,
};

/// Who is asked. Cheap to clone: all clones ask the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whois {
    /// Knows their names.
    pub names: Option<Names>,
    /// Knows their autonomous systems.
    pub systems: Option<DatabaseFile>,
}

impl Whois {
    /// What a configuration file asks for, from whose directory the path of a database counts. Of what was asked `before` the
    /// same goes on, with all that it knows. Takes as long as reading a database takes.
    ///
    /// # Errors
    /// Where another database than before cannot be used.
    pub fn open(file: &Path, global: &Global, before: &Self) -> Result<Self, ConfigError> {
        let database = global.asn_database.as_ref().map(|database| {
            let path = file.parent().unwrap_or(Path::new("")).join(database);
            match before.systems.clone().filter(|before| before.path() == path) {
                Some(before) => Ok(before),
                None => DatabaseFile::open(path).map_err(|error| refuse_database(file, error.to_string())),
            }
        });
        Ok(Self {
            names: global.reverse_dns.then(|| before.names.clone().unwrap_or_default()),
            systems: database.transpose()?,
        })
    }

    /// Knows the autonomous systems as of now.
    #[must_use]
    pub fn current_systems(&self) -> Option<Arc<dyn Systems>> {
        self.systems.as_ref().map(|file| -> Arc<dyn Systems> { file.current() })
    }
}
