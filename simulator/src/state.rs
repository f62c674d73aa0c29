//! The street's state in a file: every meter's memory as it is written, what lasts of each meter, and how far time has come.
//! A process that is killed loses what a power cut would: nothing that a meter had written.
//!
//! The file holds the street's mark first, then for each meter a place for [`Lasting`] and its memory. It is sparse, and as
//! safe as the machine's page cache: it survives the process, not a crash of the machine.

use crate::board::Body;
use crate::meter::Condition;
use crate::nvm::{FileArea, Nvm, NvmError};
use anyhow::{Context, ensure};
use firmware::journal::Journal;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the file in the state directory.
const FILE: &str = "street.state";
/// Places of a journal here: one holds the newest whole record while the other is written.
const PLACES: u32 = 2;
const PLACE: usize = 256;
const JOURNAL_BYTES: u32 = PLACES * PLACE as u32;
/// Where the meters begin.
const HEAD: u64 = 4096;

/// Which street it is, and how far its time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Origin of the street's time, in milliseconds since 1970.
    pub origin_utc_ms: u64,
    /// How far time has come, in milliseconds since the origin.
    pub elapsed_ms: u64,
    /// When the street was started for the first time, in milliseconds since the origin.
    pub started_ms: u64,
    /// Meters of all kinds.
    pub meters: u32,
    /// The street's seed.
    pub seed: u64,
    /// Depth of the load profiles.
    pub profile_rows: u32,
    /// Bytes of each meter's memory, as the firmware wants them for that depth.
    pub capacity: u32,
}

/// What lasts of a meter besides its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lasting {
    /// Of its board.
    pub body: Body,
    /// What is wrong with it.
    pub condition: Condition,
}

type Saved<T> = (Journal<T, PLACE>, FileArea, Option<T>);

/// The file, open.
#[derive(Debug)]
pub struct StateFile {
    file: Arc<File>,
    capacity: u32,
    mark: Mutex<Saved<Mark>>,
    /// By slot: meters 1 and up, and the feeder's meter at the end.
    lasting: Vec<Mutex<Saved<Lasting>>>,
}

fn open_journal<T: Serialize + serde::de::DeserializeOwned>(
    file: &Arc<File>,
    at: u64,
) -> anyhow::Result<Saved<T>> {
    let mut area = FileArea::new(Arc::clone(file), at, JOURNAL_BYTES);
    let (journal, value) =
        Journal::recover(&mut area, 0, PLACES).map_err(|error| anyhow::anyhow!("{error:?} at byte {at}"))?;
    Ok((journal, area, value))
}

fn save<T: Clone + PartialEq + Serialize + serde::de::DeserializeOwned>(
    saved: &Mutex<Saved<T>>,
    value: T,
) -> Result<(), firmware::journal::JournalError> {
    let (journal, area, last) = &mut *saved.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref() == Some(&value) {
        return Ok(());
    }
    journal.write(area, &value)?;
    *last = Some(value);
    Ok(())
}

impl StateFile {
    /// Opens the file in `directory`, which is made if it is not there, for `slots` meters with memories of `capacity` bytes.
    ///
    /// # Errors
    /// It cannot be opened or read, or another process has it.
    pub fn open(directory: &Path, slots: u32, capacity: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("state {}", directory.display()))?;
        let path = directory.join(FILE);
        let named = || format!("state {}", path.display());
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = Arc::new(file.with_context(named)?);
        file.try_lock().with_context(|| format!("{}: is another simulator using it?", named()))?;
        let mark = Mutex::new(open_journal(&file, 0).with_context(named)?);
        let lasting = (0..slots)
            .map(|slot| open_journal(&file, slot_at(slot, capacity)).map(Mutex::new))
            .collect::<anyhow::Result<_>>()
            .with_context(named)?;
        Ok(Self { file, capacity, mark, lasting })
    }

    /// The mark of the street that the file holds; `None` in a new one.
    ///
    /// # Errors
    /// It is another street's: with other meters, another seed or another depth of profile.
    pub fn mark_for(&self, meters: u32, seed: u64, profile_rows: u32) -> anyhow::Result<Option<Mark>> {
        let mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner).2.clone();
        if let Some(of) = &mark {
            ensure!(
                of.capacity == self.capacity,
                "the state is of another version's meters, of {} bytes each: start it with that version, or choose another \
                 directory",
                of.capacity
            );
            ensure!(
                (of.meters, of.seed, of.profile_rows) == (meters, seed, profile_rows),
                "the state is of a street with {} meters, seed {} and {} profile rows, not of one with {meters}, {seed} \
                 and {profile_rows}: start that one, or choose another directory",
                of.meters,
                of.seed,
                of.profile_rows
            );
        }
        Ok(mark)
    }

    /// The memory in a slot, and what lasted beside it; `None` for one that was never saved.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn meter(&self, slot: u32) -> Result<(Nvm, Option<Lasting>), NvmError> {
        let at = slot_at(slot, self.capacity) + u64::from(JOURNAL_BYTES);
        let mut nvm = Nvm::in_file(FileArea::new(Arc::clone(&self.file), at, self.capacity))?;
        let place = self.lasting.get(slot as usize).ok_or(NvmError::OutOfRange)?;
        let lasting = place.lock().unwrap_or_else(PoisonError::into_inner).2.clone();
        if let Some(capacity) = lasting.as_ref().and_then(|lasting| lasting.condition.cut_down_to) {
            nvm.shrink(capacity);
        }
        Ok((nvm, lasting))
    }

    /// Saves how far time has come.
    pub fn save_mark(&self, mark: Mark) {
        if let Err(error) = save(&self.mark, mark) {
            tracing::error!(?error, "the street's time was not saved");
        }
    }

    /// Saves what lasts of the meter in a slot.
    pub fn save_meter(&self, slot: u32, lasting: Lasting) {
        let Some(place) = self.lasting.get(slot as usize) else { return };
        if let Err(error) = save(place, lasting) {
            tracing::error!(?error, slot, "a meter's state was not saved");
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Meters that somebody still holds write on; but the street is over, and another process may have it.
        let _ = self.file.unlock();
    }
}

fn slot_at(slot: u32, capacity: u32) -> u64 {
    HEAD + u64::from(slot) * u64::from(JOURNAL_BYTES + capacity)
}
