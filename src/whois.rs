//! What tells whom addresses belong to: their names and their autonomous systems, as far as the configuration asks for them.
//!
//! Knows what is asked and what of it goes on when the configuration changes. Knows nothing of routes.

use crate::{asn::DatabaseFile, names::Names};

/// Who is asked. Cheap to clone: all clones ask the same.
#[derive(Clone, Debug, Default)]
pub struct Whois {
    /// Their names.
    pub names: Option<Names>,
    /// Their autonomous systems.
    pub systems: Option<DatabaseFile>,
}
