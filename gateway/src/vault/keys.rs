//! The vault over a sealed file, with its vending keys in the file or in a hardware token.

use super::contents::{Contents, DlmsEntry, TablesEntry, VendingEntry};
use super::source::{SoftKeys, VendingKeySource};
use super::tokens::{Identity, KeyChangeRequest, TokenAction, TokenRequest};
use super::{
    AuditEntry, CreditRequest, DlmsKeys, Explanation, MasterKey, StsIdentity, Vault, VaultError,
    VendingKeyListing, ceremony, contents, explain, sealed, tokens,
};
use crate::session::work::{Serial, TokenDigits};
use jiff::Timestamp;
use protocol::sts::{
    DecoderKey, Derivation, KeyType, Rnd, SAMPLE, Service, SetLength, StaTables, TableSet, Tid, TokenCipher,
    TokenNumber, key_change_set,
};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use zeroize::Zeroizing;

/// Authenticated with the file, so that nothing else sealed by the same key can pass for it.
const FILE_CONTEXT: &[u8] = b"meter-gateway vault file 1";
/// The name of the key made from the master key for the file.
const FILE_PURPOSE: &str = "meter-gateway vault file";

/// Who does something to a key, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A person's or service's name.
    pub name: String,
    /// When.
    pub at: Timestamp,
}

/// A vending key to be taken in, with what belongs to it.
#[derive(Debug, Clone)]
pub struct VendingKeyImport {
    /// Supply group code.
    pub sgc: u32,
    /// Key revision number, 1 to 9.
    pub krn: u8,
    /// Type of the keys made from it.
    pub key_type: KeyType,
    /// Key expiry number; 255 is never.
    pub ken: u8,
    /// Not to be used from this time on.
    pub expires_at: Option<Timestamp>,
    /// Minutes east of UTC in which the supply group counts token ids; `None` leaves it as it is, which is UTC at first.
    pub utc_offset_minutes: Option<i16>,
    /// The key: 8 bytes for DKGA02, 20 for DKGA04.
    pub key: ceremony::KeyBytes,
}

/// A vault over a sealed file.
pub struct KeyVault {
    path: PathBuf,
    file_key: Zeroizing<[u8; 32]>,
    source: Box<dyn VendingKeySource>,
    state: RwLock<State>,
}

pub(super) struct State {
    pub(super) contents: Contents,
    /// The operator's EA07 tables, expanded; the SAMPLE set where there are none.
    tables: Option<Box<StaTables>>,
    /// The file that this was read from or written to.
    file: Option<Version>,
}

/// Tells a file from the one that replaced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of its last change, as the file system has them.
    changed: (i64, i64),
}

impl Version {
    fn of(file: &std::fs::Metadata) -> Self {
        Self { inode: file.ino(), bytes: file.len(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}

impl State {
    fn tables(&self) -> &StaTables {
        self.tables.as_deref().unwrap_or(&SAMPLE)
    }
}

impl std::fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyVault({})", self.path.display())
    }
}

fn broken(message: impl std::fmt::Display) -> VaultError {
    VaultError::Broken(message.to_string())
}

impl KeyVault {
    /// Opens the sealed file, or begins one.
    ///
    /// # Errors
    /// When the file is damaged or was sealed under another master key.
    pub fn open_file(path: &Path, master: &MasterKey) -> Result<Self, VaultError> {
        Self::with_source(path, master, Box::new(SoftKeys))
    }

    /// As [`KeyVault::open_file`], with vending keys wherever `source` keeps them.
    ///
    /// # Errors
    /// When the file is damaged or was sealed under another master key.
    pub fn with_source(
        path: &Path,
        master: &MasterKey,
        source: Box<dyn VendingKeySource>,
    ) -> Result<Self, VaultError> {
        let file_key = master.purpose(FILE_PURPOSE);
        let state = read(path, &file_key)?;
        let begun = state.contents.store_key.is_some();
        let vault = Self { path: path.to_owned(), file_key, source, state: RwLock::new(state) };
        if !begun {
            // A key of its own for the store's sealed columns, so that the master key can be changed without touching them.
            vault.change(|contents| {
                if contents.store_key.is_none() {
                    let mut key = Zeroizing::new(vec![0u8; 32]);
                    getrandom::fill(&mut key)
                        .map_err(|error| broken(format!("no random numbers: {error}")))?;
                    contents.store_key = Some(contents::Secret(key));
                }
                Ok(())
            })?;
        }
        Ok(vault)
    }

    /// Seals the file under another master key.
    ///
    /// # Errors
    /// When it cannot be written; then the old one still opens it.
    pub fn change_master_key(&mut self, master: &MasterKey, actor: &Actor) -> Result<(), VaultError> {
        let new_key = master.purpose(FILE_PURPOSE);
        let _lock = lock(&self.path)?;
        let mut fresh = read(&self.path, &self.file_key)?;
        fresh.contents.note(actor.at, &actor.name, "rotate", "master key".into());
        write(&self.path, &new_key, &mut fresh)?;
        self.file_key = new_key;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    fn store_key(&self) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let state = self.state();
        let key = state.contents.store_key.as_ref().map(|key| key.0.as_slice());
        let key = key.ok_or_else(|| broken("the vault has no key for the store"))?;
        key.try_into().map(Zeroizing::new).map_err(|_| broken("the store's key has a wrong length"))
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the file: reads it again under a lock that other processes respect, changes it, replaces it whole. Memory
    /// changes only once the file has.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Contents) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let _lock = lock(&self.path)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = read(&self.path, &self.file_key)?;
        let answer = change(&mut fresh.contents)?;
        write(&self.path, &self.file_key, &mut fresh)?;
        *state = fresh;
        Ok(answer)
    }

    /// Reads the file again where another process has changed it. Asked for whenever a meter does not answer: unchanged, that costs no
    /// more than a look at the directory, however many meters have their keys here.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn reload(&self) -> Result<(), VaultError> {
        let now = std::fs::metadata(&self.path).ok().map(|file| Version::of(&file));
        if now.is_some() && now == self.state().file {
            return Ok(());
        }
        let fresh = read(&self.path, &self.file_key)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Takes a vending key in, durably, and says its check value.
    ///
    /// # Errors
    /// When there is one for the same supply group, revision and type already, or it cannot be kept.
    pub fn import_vending_key(&self, import: &VendingKeyImport, actor: &Actor) -> Result<String, VaultError> {
        let derivation = if import.key.expose().len() == 8 { Derivation::Dkga02 } else { Derivation::Dkga04 };
        protocol::sts::VendingKey::from_bytes(import.key.expose())
            .map_err(|error| VaultError::Request(error.to_string()))?;
        protocol::sts::SupplyGroup::try_from(import.sgc).map_err(|e| VaultError::Request(e.to_string()))?;
        protocol::sts::KeyRevision::try_from(u32::from(import.krn))
            .map_err(|e| VaultError::Request(e.to_string()))?;
        let label = format!("{:06}/{}/{}", import.sgc, import.krn, import.key_type.name());
        let check_value = import.key.check_value();
        self.change(|contents| {
            let same = |entry: &VendingEntry| {
                entry.supply_group == import.sgc
                    && entry.key_revision == import.krn
                    && entry.key_type == import.key_type
                    && entry.derivation == derivation
            };
            if contents.vending.iter().any(same) {
                return Err(VaultError::Request(format!("there is a vending key {label} already")));
            }
            set_utc_offset(contents, import)?;
            contents.vending.push(VendingEntry {
                supply_group: import.sgc,
                key_revision: import.krn,
                key_type: import.key_type,
                derivation,
                expiry: import.ken,
                expires_at: import.expires_at,
                retired: false,
                check_value: check_value.clone(),
                imported_at: actor.at,
                place: self.source.import(&label, &import.key)?,
            });
            contents.note(
                actor.at,
                &actor.name,
                "import",
                format!("vending key {label}, check value {check_value}"),
            );
            Ok(())
        })?;
        Ok(check_value)
    }

    /// Takes a vending key out of use: no more tokens under it, except key changes away from it.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn retire_vending_key(
        &self,
        sgc: u32,
        krn: u8,
        key_type: KeyType,
        actor: &Actor,
    ) -> Result<(), VaultError> {
        let label = format!("{sgc:06}/{krn}/{}", key_type.name());
        self.change(|contents| {
            let mut found = false;
            for entry in &mut contents.vending {
                if entry.supply_group == sgc && entry.key_revision == krn && entry.key_type == key_type {
                    entry.retired = true;
                    found = true;
                }
            }
            if !found {
                return Err(VaultError::NoKey(format!("there is no vending key {label}")));
            }
            contents.note(actor.at, &actor.name, "retire", format!("vending key {label}"));
            Ok(())
        })
    }

    /// Loads an operator's EA07 tables; until then the SAMPLE tables of the standard are used.
    ///
    /// # Errors
    /// When they are not permutations.
    pub fn load_tables(
        &self,
        s1: [u8; 16],
        s2: [u8; 16],
        p: &[u8; 64],
        actor: &Actor,
    ) -> Result<(), VaultError> {
        StaTables::new(s1, s2, p).map_err(|error| VaultError::Request(error.to_string()))?;
        let secret = |bytes: &[u8]| contents::Secret(Zeroizing::new(bytes.to_vec()));
        self.change(|contents| {
            contents.tables = Some(TablesEntry { s1: secret(&s1), s2: secret(&s2), p: secret(p) });
            contents.note(actor.at, &actor.name, "load", "EA07 tables".into());
            Ok(())
        })
    }

    /// Which EA07 tables are in use.
    #[must_use]
    pub fn table_set(&self) -> TableSet {
        self.state().tables().set()
    }

    /// Takes many meters' DLMS keys in one durable write.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub fn set_many_dlms_keys(&self, keys: &[(Serial, DlmsKeys)], actor: &Actor) -> Result<(), VaultError> {
        self.change(|contents| {
            for (serial, keys) in keys {
                contents.dlms.insert(serial.0.clone(), DlmsEntry::new(keys));
            }
            contents.note(actor.at, &actor.name, "import", format!("DLMS keys of {} meters", keys.len()));
            Ok(())
        })
    }

    /// What was done to keys, oldest first.
    #[must_use]
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.state().contents.audit.iter().cloned().collect()
    }

    /// The entry for a meter. A key that another process brought in meanwhile is found too.
    fn entry(&self, meter: &Identity, retired_too: bool) -> Result<VendingEntry, VaultError> {
        let find = || {
            let state = self.state();
            let fits = |entry: &&VendingEntry| entry.serves(meter) && (retired_too || !entry.retired);
            state.contents.vending.iter().find(fits).cloned()
        };
        if let Some(entry) = find() {
            return Ok(entry);
        }
        self.reload()?;
        find().ok_or_else(|| VaultError::NoKey(self.missing(meter)))
    }

    /// Says which key is missing, and what is there instead.
    fn missing(&self, meter: &Identity) -> String {
        let state = self.state();
        let group = meter.attributes.supply_group.get();
        let same: Vec<String> = state
            .contents
            .vending
            .iter()
            .filter(|entry| entry.supply_group == group)
            .map(|entry| {
                format!(
                    "revision {} {} DKGA{:02}{}",
                    entry.key_revision,
                    entry.key_type.name(),
                    entry.derivation.code(),
                    if entry.retired { ", out of use" } else { "" }
                )
            })
            .collect();
        let there = match same.as_slice() {
            [] => "the vault has no key of that group: import it, or mend the meter's record".to_owned(),
            same => format!(
                "of that group the vault has {}: import the key, or change the meter's key to one that is in use",
                same.join("; ")
            ),
        };
        format!("no vending key for {}; {there}", meter.key_name())
    }

    fn decoder_key(&self, meter: &Identity, entry: &VendingEntry) -> Result<DecoderKey, VaultError> {
        self.source.derive(&entry.place, meter.algorithm, &meter.pan, &meter.attributes)
    }

    fn checked(&self, meter: &StsIdentity, credit: bool) -> Result<(Identity, VendingEntry), VaultError> {
        let identity = Identity::of(meter)?;
        identity.check_key_type(credit)?;
        let entry = self.entry(&identity, false)?;
        Ok((identity, entry))
    }
}

/// The furthest a civil time has ever been from UTC, in minutes.
const UTC_OFFSET_MAX: i16 = 15 * 60;

/// A supply group keeps its offset for as long as it has keys: another one would repeat token ids, or skip some.
fn set_utc_offset(contents: &mut Contents, import: &VendingKeyImport) -> Result<(), VaultError> {
    let Some(offset) = import.utc_offset_minutes else { return Ok(()) };
    if offset.abs() > UTC_OFFSET_MAX {
        return Err(VaultError::Request(format!("{offset} minutes are no offset from UTC")));
    }
    let standing = contents.utc_offsets.get(&import.sgc).copied().unwrap_or(0);
    let has_keys = contents.vending.iter().any(|entry| entry.supply_group == import.sgc);
    if has_keys && standing != offset {
        return Err(VaultError::Request(format!(
            "supply group {:06} counts its token ids {standing} minutes from UTC already: another offset would repeat ids",
            import.sgc
        )));
    }
    contents.utc_offsets.insert(import.sgc, offset);
    Ok(())
}

fn read(path: &Path, file_key: &[u8; 32]) -> Result<State, VaultError> {
    let whole = || {
        let mut file = File::open(path)?;
        let version = Version::of(&file.metadata()?);
        let mut sealed = Vec::new();
        file.read_to_end(&mut sealed)?;
        Ok::<_, std::io::Error>((sealed, version))
    };
    let (sealed, version) = match whole() {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(State { contents: Contents::default(), tables: None, file: None });
        }
        Err(error) => return Err(broken(format!("{}: {error}", path.display()))),
    };
    let clear = sealed::open(file_key, FILE_CONTEXT, &sealed)
        .map_err(|error| broken(format!("{}: {error}", path.display())))?;
    // The error of the JSON reader could quote a key, so it is not passed on.
    let contents: Contents = serde_json::from_slice(&clear)
        .map_err(|_| broken(format!("{} is not a vault of this version", path.display())))?;
    let tables = expand(&contents)?;
    Ok(State { contents, tables, file: Some(version) })
}

/// Replaces the file with `state`.
fn write(path: &Path, file_key: &[u8; 32], state: &mut State) -> Result<(), VaultError> {
    state.contents.version += 1;
    state.tables = expand(&state.contents)?;
    let clear = Zeroizing::new(serde_json::to_vec(&state.contents).map_err(broken)?);
    let content = sealed::seal(file_key, FILE_CONTEXT, &clear)?;
    sealed::replace(path, &content).map_err(|error| broken(format!("{}: {error}", path.display())))?;
    // Nobody else replaces it meanwhile: the caller has the lock.
    state.file = std::fs::metadata(path).ok().map(|file| Version::of(&file));
    Ok(())
}

fn expand(contents: &Contents) -> Result<Option<Box<StaTables>>, VaultError> {
    let Some(entry) = &contents.tables else { return Ok(None) };
    let wrong = || broken("the EA07 tables have a wrong length");
    let s1 = entry.s1.0.as_slice().try_into().map_err(|_| wrong())?;
    let s2 = entry.s2.0.as_slice().try_into().map_err(|_| wrong())?;
    let p = entry.p.0.as_slice().try_into().map_err(|_| wrong())?;
    StaTables::new(s1, s2, p).map(Box::new).map(Some).map_err(broken)
}

/// Holds off other processes until dropped.
fn lock(path: &Path) -> Result<File, VaultError> {
    let path = path.with_extension("lock");
    let wrong = |error: std::io::Error| broken(format!("{}: {error}", path.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(wrong)?;
    file.lock().map_err(wrong)?;
    Ok(file)
}

fn rnd() -> Result<Rnd, VaultError> {
    let mut byte = [0u8];
    getrandom::fill(&mut byte).map_err(|error| broken(format!("no random numbers: {error}")))?;
    Ok(Rnd::new(byte[0]))
}

fn digits(number: TokenNumber) -> Result<TokenDigits, VaultError> {
    TokenDigits::new(number.digits().as_str()).ok_or_else(|| broken("a token without 20 digits"))
}

impl Vault for KeyVault {
    fn dlms_keys(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        let find = || self.state().contents.dlms.get(&serial.0).and_then(DlmsEntry::keys);
        if let Some(keys) = find() {
            return Ok(keys);
        }
        self.reload()?;
        find().ok_or_else(|| VaultError::NoKey(format!("no DLMS keys for meter {}", serial.0)))
    }

    fn pending_dlms_keys(&self, serial: &Serial) -> Result<Option<DlmsKeys>, VaultError> {
        self.reload()?;
        Ok(self.state().contents.dlms.get(&serial.0).and_then(DlmsEntry::pending))
    }

    fn begin_key_rotation(&self, serial: &Serial) -> Result<DlmsKeys, VaultError> {
        let actor = Actor { name: "service".into(), at: Timestamp::now() };
        let missing = || VaultError::NoKey(format!("no DLMS keys for meter {}", serial.0));
        self.change(|contents| {
            let entry = contents.dlms.get_mut(&serial.0).ok_or_else(missing)?;
            if entry.keys().is_none_or(|keys| keys.master.is_none()) {
                let what = format!("meter {} has no master key, under which new keys travel", serial.0);
                return Err(VaultError::NoKey(what));
            }
            entry.begin_rotation().ok_or_else(missing)?;
            contents.note(
                actor.at,
                &actor.name,
                "begin rotation",
                format!("DLMS keys of meter {}", serial.0),
            );
            Ok(())
        })?;
        self.pending_dlms_keys(serial)?.ok_or_else(missing)
    }

    fn finish_key_rotation(&self, serial: &Serial) -> Result<(), VaultError> {
        let actor = Actor { name: "service".into(), at: Timestamp::now() };
        self.change(|contents| {
            if !contents.dlms.get_mut(&serial.0).is_some_and(DlmsEntry::finish_rotation) {
                return Err(VaultError::NoKey(format!("no new DLMS keys for meter {}", serial.0)));
            }
            contents.note(
                actor.at,
                &actor.name,
                "finish rotation",
                format!("DLMS keys of meter {}", serial.0),
            );
            Ok(())
        })
    }

    fn set_dlms_keys(&self, keys: &[(Serial, DlmsKeys)]) -> Result<(), VaultError> {
        let actor = Actor { name: "service".into(), at: Timestamp::now() };
        self.change(|contents| {
            for (serial, keys) in keys {
                contents.dlms.insert(serial.0.clone(), DlmsEntry::new(keys));
                contents.note(actor.at, &actor.name, "set", format!("DLMS keys of meter {}", serial.0));
            }
            Ok(())
        })
    }

    fn can_vend(&self, meter: &StsIdentity, tid: u32) -> Result<(), VaultError> {
        let (identity, entry) = self.checked(meter, true)?;
        identity.check_expiry(&entry, tokens::tid(tid)?, self.utc_offset_minutes(meter.sgc))?;
        self.decoder_key(&identity, &entry).map(drop)
    }

    fn utc_offset_minutes(&self, sgc: u32) -> i16 {
        self.state().contents.utc_offsets.get(&sgc).copied().unwrap_or(0)
    }

    fn encode_credit(&self, request: &CreditRequest) -> Result<TokenDigits, VaultError> {
        self.encode(&TokenRequest {
            meter: request.meter.clone(),
            tid: request.tid,
            action: TokenAction::Credit { service: Service::Electricity, units: request.tenths_kwh },
        })
    }

    fn encode(&self, request: &TokenRequest) -> Result<TokenDigits, VaultError> {
        let credit = !matches!(request.action, TokenAction::Management(_));
        let tid: Tid = tokens::tid(request.tid)?;
        let (identity, entry) = self.checked(&request.meter, credit)?;
        identity.check_expiry(&entry, tid, self.utc_offset_minutes(request.meter.sgc))?;
        let token = tokens::token(request.action, rnd()?, tid)?;
        let key = self.decoder_key(&identity, &entry)?;
        let state = self.state();
        digits(token.encode(&TokenCipher::new(&key, state.tables())))
    }

    fn key_change(&self, request: &KeyChangeRequest) -> Result<Vec<TokenDigits>, VaultError> {
        let refuse = |message: String| Err(VaultError::Request(message));
        let (from, to) = (Identity::of(&request.from)?, Identity::of(&request.to)?);
        let (old_type, new_type) = (from.attributes.key_type, to.attributes.key_type);
        if from.pan != to.pan {
            return refuse("a key change is for one meter".into());
        }
        if from.algorithm != to.algorithm {
            return refuse("a key change cannot change the encryption algorithm".into());
        }
        if !old_type.may_become(new_type) {
            return refuse(format!("a key may not change from {} to {}", old_type.name(), new_type.name()));
        }
        if (from.attributes.base_date != to.attributes.base_date) != request.rollover {
            return refuse(
                "RO is set exactly when the base date changes: then the meter has to forget its token ids"
                    .into(),
            );
        }
        // An expired or retired key may still lead to its successor.
        let old_key = self.decoder_key(&from, &self.entry(&from, true)?)?;
        let new_key = self.decoder_key(&to, &self.entry(&to, false)?)?;
        let length = if request.with_supply_group { SetLength::Three } else { SetLength::Two };
        let set = key_change_set(&new_key, &to.attributes, to.expiry, request.rollover, length);
        let state = self.state();
        let cipher = TokenCipher::new(&old_key, state.tables());
        set.iter().map(|token| digits(token.encode(&cipher))).collect()
    }

    fn explain(
        &self,
        meter: &StsIdentity,
        digits: &str,
        others: &[StsIdentity],
    ) -> Result<Explanation, VaultError> {
        let identity = Identity::of(meter)?;
        let others: Vec<(String, Identity)> = others
            .iter()
            .filter(|other| other.drn != meter.drn)
            .filter_map(|other| Identity::of(other).ok().map(|identity| (other.drn.clone(), identity)))
            .collect();
        let state = self.state();
        Ok(explain::explain(&*self.source, &state.contents, state.tables(), &identity, digits, &others))
    }

    fn vending_keys(&self) -> Vec<VendingKeyListing> {
        let contents = &self.state().contents;
        let offset = |sgc: u32| contents.utc_offsets.get(&sgc).copied().unwrap_or(0);
        contents.vending.iter().map(|entry| entry.listing(offset(entry.supply_group))).collect()
    }

    fn verify_signature(&self, secret: &str, message: &[u8], tag: &[u8]) -> Result<bool, VaultError> {
        self.verify_with(secret, message, tag)
    }

    fn seal(&self, context: &str, clear: &[u8]) -> Result<Vec<u8>, VaultError> {
        sealed::seal(&*self.store_key()?, context.as_bytes(), clear)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        sealed::open(&*self.store_key()?, context.as_bytes(), sealed).map(|clear| clear.to_vec())
    }
}
