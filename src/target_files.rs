//! Which files of targets there are, which of them have changed, and what of them is in force.
//!
//! The files are looked at again and again instead of having the system tell of changes: that finds files that are renamed into
//! place, mounted over, swapped by a symbolic link as Kubernetes does it, or changed on another machine's disk, all the same.
//! What a file says is the business of [`TargetList`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    config::{Config, ConfigError, FileGlob, Taken, Target, TargetList},
    stamp::Stamp,
};

/// How often to look. A change is taken in at the second look that finds it, so that no file is read half written.
pub const PAUSE: Duration = Duration::from_secs(1);

/// All files of targets of a configuration.
#[derive(Clone, Debug)]
pub struct TargetFiles {
    /// The configuration file, from whose directory relative patterns count.
    config_file: PathBuf,
    files: BTreeMap<PathBuf, Known>,
    /// Directories that cannot be looked into, and why.
    closed: BTreeMap<PathBuf, Arc<ConfigError>>,
    /// What the last look found.
    seen: Look,
}

/// What is known of one file.
#[derive(Clone, Debug)]
struct Known {
    /// What identified its content when it was read.
    stamp: Stamp,
    /// Its targets: those of its content, or former ones where that cannot be used.
    list: Option<Arc<TargetList>>,
    /// Why its content cannot be used.
    problem: Option<Arc<ConfigError>>,
}

/// The files that are there.
type Look = BTreeMap<PathBuf, Stamp>;

/// A file that is to be taken in, with what would be in force in its place.
struct Candidate {
    stamp: Stamp,
    content: Result<Arc<TargetList>, Arc<ConfigError>>,
    former: Option<Result<Arc<TargetList>, Arc<ConfigError>>>,
}

impl TargetFiles {
    /// None known yet.
    #[must_use]
    pub fn none(config_file: &Path) -> Self {
        Self {
            config_file: config_file.to_owned(),
            files: BTreeMap::new(),
            closed: BTreeMap::new(),
            seen: Look::new(),
        }
    }

    /// Reads all files of a configuration for the first time. Those that cannot be used are left out.
    #[must_use]
    pub fn read(config_file: &Path, config: &Config) -> Self {
        let none = Self::none(config_file);
        // Without former targets there is nothing that the configuration could contradict.
        none.reread(config).unwrap_or(none)
    }

    /// Reads all files anew, for another configuration. What cannot be used is left out, and its former targets stay.
    ///
    /// # Errors
    /// When not even the former targets of a file make sense with this configuration.
    pub fn reread(&self, config: &Config) -> Result<Self, Arc<ConfigError>> {
        let (seen, closed) = self.look(config);
        let mut there = seen.clone();
        there.extend(self.behind(&closed));
        let candidates = there.into_iter().map(|(path, stamp)| {
            let former = self.files.get(&path).and_then(|known| known.list.as_ref());
            let former = former.map(|list| list.for_config(config).map(Arc::new).map_err(Arc::new));
            let content = TargetList::load(&path, config).map(Arc::new).map_err(Arc::new);
            (path, Candidate { stamp, content, former })
        });
        let files = self.settle(config, candidates.collect())?;
        Ok(Self { config_file: self.config_file.clone(), files, closed, seen })
    }

    /// Looks at the files and takes in those that have changed, each once it was the same at two looks in a row. Returns whether
    /// there is anything new. The configuration has to be the one that the files were read for.
    pub fn poll(&mut self, config: &Config) -> bool {
        let (seen, closed) = self.look(config);
        let before = mem::replace(&mut self.seen, seen);
        let mut there = Look::new();
        let mut changed = BTreeSet::new();
        let behind: Look = self.behind(&closed).collect();
        let paths: BTreeSet<_> = self.seen.keys().chain(before.keys()).chain(self.files.keys()).collect();
        for path in paths {
            let known = self.files.get(path).map(|known| known.stamp);
            let now = self.seen.get(path).copied();
            let is_settled = now == before.get(path).copied() && !behind.contains_key(path);
            let stamp = if is_settled { now } else { known };
            if let Some(stamp) = stamp {
                there.insert(path.clone(), stamp);
            }
            if stamp != known {
                changed.insert(path.clone());
            }
        }
        let is_new = !self.closed.keys().eq(closed.keys());
        self.closed = closed;
        if changed.is_empty() {
            return is_new;
        }
        let candidates = there.into_iter().map(|(path, stamp)| {
            let known = self.files.get(&path);
            let former = known.and_then(|known| known.list.clone()).map(Ok);
            let is_same = known.is_some_and(|known| known.problem.is_none()) && !changed.contains(&path);
            let content = match &former {
                Some(former) if is_same => former.clone(),
                // Also what could not be used before: another file may have had its names.
                _ => TargetList::load(&path, config).map(Arc::new).map_err(Arc::new),
            };
            (path, Candidate { stamp, content, former })
        });
        // Former targets make sense with the configuration that they were read for.
        let Ok(files) = self.settle(config, candidates.collect()) else { return is_new };
        self.files = files;
        true
    }

    /// All targets: those of the configuration and those of the files, no name twice.
    #[must_use]
    pub fn targets(&self, config: &Config) -> Vec<Arc<Target>> {
        let own = config.targets.iter().cloned().map(Arc::new);
        let lists = self.files.values().filter_map(|known| known.list.as_ref());
        own.chain(lists.flat_map(|list| list.targets().iter().cloned())).collect()
    }

    /// What is wrong with files that cannot be used, and with directories.
    pub fn problems(&self) -> impl Iterator<Item = &ConfigError> {
        let files = self.files.values().filter_map(|known| known.problem.as_deref());
        self.closed.values().map(AsRef::as_ref).chain(files)
    }

    /// The patterns that no file matches.
    pub fn unmatched<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a FileGlob> {
        let is_matched = |glob: &&FileGlob| {
            let directory = self.directory(glob);
            self.files.keys().any(|path| path.parent() == Some(&directory) && is_match(glob, path))
        };
        config.target_files.iter().filter(move |glob| !is_matched(glob))
    }

    /// Says in the log what is different from before: each file that came, changed or went, and each problem.
    pub fn tell(&self, before: &Self) {
        let told: BTreeSet<_> = before.problems().map(ToString::to_string).collect();
        for error in self.problems().filter(|error| !told.contains(&error.to_string())) {
            tracing::error!(%error, "targets cannot be read: those read before stay");
        }
        for (path, file) in &self.files {
            let former = before.files.get(path);
            if file.problem.is_none()
                && former.is_none_or(|former| former.problem.is_some() || former.list != file.list)
            {
                let targets = file.list.as_ref().map_or(0, |list| list.targets().len());
                tracing::info!(file = %path.display(), targets, "a file of targets was read");
            }
        }
        for path in before.files.keys().filter(|path| !self.files.contains_key(*path)) {
            tracing::info!(file = %path.display(), "a file of targets is gone");
        }
    }

    /// The files that are there now, and directories that cannot be looked into.
    fn look(&self, config: &Config) -> (Look, BTreeMap<PathBuf, Arc<ConfigError>>) {
        let mut seen = Look::new();
        let mut closed = BTreeMap::new();
        for glob in &config.target_files {
            let directory = self.directory(glob);
            match look_into(&directory, glob, &mut seen) {
                // Files that are still to come.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problem = ConfigError::read(&directory, error);
                    closed.insert(directory, Arc::new(problem));
                }
                Ok(()) => {}
            }
        }
        (seen, closed)
    }

    /// Known files in directories that cannot be looked into: that they are not seen says nothing.
    fn behind<'a>(
        &'a self,
        closed: &'a BTreeMap<PathBuf, Arc<ConfigError>>,
    ) -> impl Iterator<Item = (PathBuf, Stamp)> + 'a {
        let is_closed = |path: &Path| path.parent().is_some_and(|directory| closed.contains_key(directory));
        let files = self.files.iter().filter(move |(path, _)| is_closed(path));
        files.map(|(path, known)| (path.clone(), known.stamp))
    }

    fn directory(&self, glob: &FileGlob) -> PathBuf {
        let base = self.config_file.parent().unwrap_or(Path::new(""));
        base.join(glob.directory())
    }

    /// Decides what is in force. A file that cannot be used keeps its former targets, and these go before the names of files that
    /// changed; among those the first in the order of paths has a name.
    fn settle(
        &self,
        config: &Config,
        candidates: BTreeMap<PathBuf, Candidate>,
    ) -> Result<BTreeMap<PathBuf, Known>, Arc<ConfigError>> {
        let mut problems: BTreeMap<PathBuf, Arc<ConfigError>> = BTreeMap::new();
        for (path, candidate) in &candidates {
            if let Err(error) = &candidate.content {
                problems.insert(path.clone(), Arc::clone(error));
            }
        }
        loop {
            let mut taken = Taken::by_config(&self.config_file.to_string_lossy(), config);
            for (path, candidate) in &candidates {
                let problem = problems.get(path);
                let list = match (&candidate.content, &candidate.former, problem) {
                    (_, Some(Ok(former)), Some(_)) => former,
                    (_, Some(Err(error)), Some(_)) => return Err(Arc::clone(problem.unwrap_or(error))),
                    (Ok(list), Some(Ok(former)), None) if list.has_text_of(former) => list,
                    _ => continue,
                };
                taken.claim(list).map_err(|error| problem.cloned().unwrap_or_else(|| Arc::new(error)))?;
            }
            let mut is_new = false;
            for (path, candidate) in &candidates {
                let Ok(list) = &candidate.content else { continue };
                let is_former = matches!(&candidate.former, Some(Ok(former)) if list.has_text_of(former));
                if is_former || problems.contains_key(path) {
                    continue;
                }
                if let Err(error) = taken.claim(list) {
                    problems.insert(path.clone(), Arc::new(error));
                    is_new = true;
                }
            }
            if !is_new {
                break;
            }
        }
        let files = candidates.into_iter().map(|(path, candidate)| {
            let problem = problems.remove(&path);
            let list = match &problem {
                Some(_) => candidate.former.and_then(Result::ok),
                None => candidate.content.ok(),
            };
            (path, Known { stamp: candidate.stamp, list, problem })
        });
        Ok(files.collect())
    }
}

/// Adds the files of a directory that a pattern means.
fn look_into(directory: &Path, glob: &FileGlob, seen: &mut Look) -> io::Result<()> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    for entry in fs::read_dir(here)? {
        let path = directory.join(entry?.file_name());
        if !is_match(glob, &path) {
            continue;
        }
        match Stamp::of(&path) {
            Ok(stamp) => {
                seen.insert(path, stamp);
            }
            // A link whose end is missing, or a file that went just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Reading it will say what is wrong.
            Err(_) => {
                seen.insert(path, Stamp::default());
            }
        }
    }
    Ok(())
}

fn is_match(glob: &FileGlob, path: &Path) -> bool {
    path.file_name().is_some_and(|name| glob.matches(&name.to_string_lossy()))
}

#[cfg(test)]
mod tests;
