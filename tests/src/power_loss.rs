//! A disk that forgets: what a process wrote and did not sync is lost when its power is cut, all of it, some of it, or a part
//! of one write. `tests/power_loss/unsynced.c`, loaded into the process, writes down what it changes and what it syncs; after a
//! kill [`Disk::lose`] brings its files to a state that a real disk could have been left in.

use crate::process::{project_root, target_directory};
use simulator::random::Sequence;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that a disk writes whole or not at all.
const SECTOR: u64 = 512;
/// Bytes of a record's head: seven numbers of the machine's own order.
const HEAD_LEN: usize = 7 * 8;

/// One change that a process made to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    offset: u64,
    old_size: u64,
    new_size: u64,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// What may have been lost in a power cut.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Writes that were not synced.
    pub unsynced: usize,
    /// Of those, writes of which nothing is left.
    pub lost: usize,
    /// Writes of which some sectors are left.
    pub torn: usize,
}

/// The disk below one directory.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

impl Disk {
    /// The disk of the files below `folder`.
    ///
    /// # Panics
    /// When the C compiler does not make the library.
    #[must_use]
    pub fn below(folder: &Path) -> Self {
        let library = target_directory().join(format!("unsynced-{}.so", std::process::id()));
        let source = project_root().join("tests/power_loss/unsynced.c");
        let made = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .expect("the C compiler starts");
        assert!(made.success(), "the C compiler makes {}", library.display());
        Self { library, folder: folder.to_owned(), log: folder.join("unsynced.log") }
    }

    /// What a process is started with, so that its writes are followed.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.library.clone()),
            ("UNSYNCED_FOLDER", self.folder.clone()),
            ("UNSYNCED_LOG", self.log.clone()),
        ]
    }

    /// After the kill: takes away what a disk may have lost, as `chance` has it. The log begins anew.
    ///
    /// # Panics
    /// When the log cannot be read as one, or the files not be changed.
    pub fn lose(&self, chance: &mut Sequence) -> Loss {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let mut loss = Loss::default();
        for (inode, changes) in unsynced(&log) {
            if let Some(path) = self.path_of(inode) {
                let file =
                    OpenOptions::new().read(true).write(true).open(path).expect("a file of the process");
                forget(&file, &changes, chance, &mut loss);
            }
        }
        std::fs::write(&self.log, []).expect("the log can be emptied");
        loss
    }

    fn path_of(&self, inode: u64) -> Option<PathBuf> {
        let files = std::fs::read_dir(&self.folder).expect("the folder can be listed").filter_map(Result::ok);
        files.into_iter().find(|file| file.metadata().is_ok_and(|data| data.ino() == inode)).map(|f| f.path())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.library);
    }
}

/// The changes of each file, by its inode, after its last sync. A record that the kill cut short is of a change never made.
fn unsynced(log: &[u8]) -> BTreeMap<u64, Vec<Change>> {
    let mut files: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
    let mut rest = log;
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_LEN>() {
        let mut numbers = [0u64; 7];
        for (number, bytes) in numbers.iter_mut().zip(head.as_chunks::<8>().0) {
            *number = u64::from_ne_bytes(*bytes);
        }
        let [kind, inode, old_size, offset, old_len, new_len, new_size] = numbers;
        let (old_len, new_len) = (old_len as usize, new_len as usize);
        if after.len() < old_len + new_len {
            break;
        }
        let (old, after) = after.split_at(old_len);
        let (new, after) = after.split_at(new_len);
        match kind {
            1 => files.entry(inode).or_default().push(Change {
                offset,
                old_size,
                new_size,
                old: old.to_vec(),
                new: new.to_vec(),
            }),
            2 => files.entry(inode).or_default().clear(),
            kind => panic!("the log of unsynced writes has a record of kind {kind}"),
        }
        rest = after;
    }
    files
}

/// Goes back to what was synced, then lets as many of the later writes stand as chance has it.
fn forget(file: &File, changes: &[Change], chance: &mut Sequence, loss: &mut Loss) {
    for change in changes.iter().rev() {
        file.write_all_at(&change.old, change.offset).expect("the file can be written");
        file.set_len(change.old_size).expect("the file can be cut");
    }
    for change in changes {
        loss.unsynced += 1;
        match chance.next_u64() % 4 {
            0 => loss.lost += 1,
            1 if !change.new.is_empty() => {
                loss.torn += 1;
                keep_sectors(file, change, chance);
            }
            _ => {
                file.write_all_at(&change.new, change.offset).expect("the file can be written");
                if change.new.is_empty() {
                    file.set_len(change.new_size).expect("the file can be cut");
                }
            }
        }
    }
}

/// Writes each sector of a change or does not.
fn keep_sectors(file: &File, change: &Change, chance: &mut Sequence) {
    let mut from = 0;
    while from < change.new.len() {
        let at = change.offset + from as u64;
        let to = (from + (SECTOR - at % SECTOR) as usize).min(change.new.len());
        if chance.next_u64().is_multiple_of(2) {
            file.write_all_at(&change.new[from..to], at).expect("the file can be written");
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    fn shell(disk: &Disk, script: &str) {
        let mut python = Command::new("python3");
        python.args(["-c", script]).envs(disk.environment()).current_dir(&disk.folder);
        assert!(python.status().expect("python3 starts").success());
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let folder = Folder::new("disk");
        let disk = Disk::below(folder.path());
        let mut chance = Sequence::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            shell(
                &disk,
                "import os\nf=os.open('f', os.O_RDWR|os.O_CREAT|os.O_TRUNC)\nos.write(f, b'A'*1024)\nos.fsync(f)\n\
                 os.pwrite(f, b'B'*1024, 0)\nos.pwrite(f, b'C'*512, 1024)\nos._exit(0)",
            );
            let loss = disk.lose(&mut chance);
            assert_eq!(loss.unsynced, 2);
            let bytes = std::fs::read(folder.path().join("f")).expect("the file is there");
            let sector = |at: usize| bytes.get(at).copied().map(char::from);
            assert!(sector(0).is_some() && sector(512).is_some(), "what was synced is gone: {}", bytes.len());
            assert!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            seen.insert((sector(0), sector(512), sector(1024)));
        }
        assert!(seen.contains(&(Some('A'), Some('A'), None)), "all lost: {seen:?}");
        assert!(seen.contains(&(Some('B'), Some('B'), Some('C'))), "nothing lost: {seen:?}");
        assert!(
            seen.contains(&(Some('A'), Some('B'), None)) || seen.contains(&(Some('B'), Some('A'), None)),
            "torn"
        );
    }
}
