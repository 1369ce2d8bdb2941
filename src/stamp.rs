//! Whether a file is still the one that was read.
//!
//! Knows what the system tells of a file without reading it. Knows nothing of what is in it, or of when to look.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// What changes when a file is written to, renamed into place or mounted over. The default is that of no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Device and inode.
    place: (u64, u64),
    size: u64,
    /// When its content was changed, and when the rest was: seconds and nanoseconds.
    times: [(i64, i64); 2],
}

impl Stamp {
    /// The stamp of a file now; of what a link leads to, where it is one.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            times: [(file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec())],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_or_replaced_is_another() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other, link] = ["file", "other", "link"].map(|name| directory.path().join(name));
        assert_eq!(Stamp::of(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&file, "1").unwrap();
        fs::write(&other, "1").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let first = Stamp::of(&file).unwrap();
        assert_eq!((Stamp::of(&file).unwrap(), Stamp::of(&link).unwrap()), (first, first));
        assert_ne!(first, Stamp::default());
        fs::write(&file, "12").unwrap();
        let second = Stamp::of(&file).unwrap();
        fs::rename(&other, &file).unwrap();
        let third = Stamp::of(&link).unwrap();
        assert!(first != second && second != third && first != third, "{first:?} {second:?} {third:?}");
    }
}
