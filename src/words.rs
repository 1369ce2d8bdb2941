//! Words that logs, pages and formats have in common.

/// The count with its noun, in the plural where it is not one.
pub(crate) fn plural(count: u128, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
