//! A disk that loses power, loses the process that writes to it, or fails: a file system for SQLite over the system's own.
//!
//! It knows what was synced, and of what was written since it keeps any part when the power goes: sectors of 512 bytes, cuts of
//! files, their creation and their removal.
#![expect(unsafe_code, reason = "SQLite's interface for file systems is one of C")]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::mem::size_of;
use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::ffi;

const SECTOR: usize = 512;

/// A source of random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    /// Before the nth change the power goes, or the process is killed: nothing works any more.
    Stop(u64),
    /// The nth access fails with this code, and so many after it.
    Fail(u64, c_int, u64),
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// What the disk has of one file, and what it was told since.
#[derive(Debug, Default)]
struct Kept {
    durable: Vec<u8>,
    pending: Vec<Change>,
    is_entry_durable: bool,
    is_removed: bool,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    count: u64,
    is_off: bool,
    is_copying: bool,
    files: HashMap<PathBuf, Kept>,
    /// The write at which it stopped.
    unfinished: Option<(PathBuf, Change)>,
}

/// The disk. It lives as long as the process.
pub struct Disk {
    name: String,
    system: *mut ffi::sqlite3_vfs,
    state: Mutex<State>,
}

// SAFETY: the state is behind a lock, and the system's file system may be used by any thread.
unsafe impl Sync for Disk {}

enum Access<'a> {
    Change,
    Write(&'a PathBuf, usize, &'a [u8]),
    Read,
}

impl Disk {
    /// Registers a disk with SQLite.
    pub fn new(name: &str) -> &'static Self {
        let c_name = CString::new(name).unwrap().into_raw();
        // SAFETY: SQLite's own file system is never removed.
        let system = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        let (plan, files) = (Plan::Nothing, HashMap::new());
        let state = State { plan, count: 0, is_off: false, is_copying: false, files, unfinished: None };
        let disk: &'static Self =
            Box::leak(Box::new(Self { name: name.to_owned(), system, state: Mutex::new(state) }));
        // SAFETY: it is a plain structure, and its functions but these two do not look at what they belong to.
        let mut vfs = unsafe { *system };
        vfs.zName = c_name;
        vfs.pAppData = std::ptr::from_ref(disk).cast_mut().cast();
        vfs.szOsFile += size_of::<File>() as c_int;
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        // SAFETY: the structure is never freed.
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0) }, ffi::SQLITE_OK);
        disk
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Begins to count anew.
    pub fn plan(&self, plan: Plan) {
        let mut state = self.state.lock().unwrap();
        (state.plan, state.count) = (plan, 0);
    }

    /// Whether another program is copying the log into the file, all the time.
    pub fn copy(&self, is_copying: bool) {
        self.state.lock().unwrap().is_copying = is_copying;
    }

    /// Works again. The system has what the process has written, synced or not.
    pub fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        (state.plan, state.is_off, state.unfinished) = (Plan::Nothing, false, None);
    }

    /// Forgets all files.
    pub fn clear(&self) {
        self.restart();
        self.state.lock().unwrap().files.clear();
    }

    /// Makes the files what a disk may have of them after a loss of power.
    pub fn lose_power(&self, random: &mut Random) {
        let mut state = self.state.lock().unwrap();
        if let Some((path, change)) = state.unfinished.take() {
            state.change(&path, change);
        }
        for (path, kept) in &state.files {
            let exists = kept.is_entry_durable || random.below(2) == 0;
            let is_removed = kept.is_removed && random.below(2) == 0;
            if !exists || is_removed {
                let _ = fs::remove_file(path);
                continue;
            }
            let mut content = kept.durable.clone();
            // None, all, or any.
            let chance = [0, 10, 5, 1, 9][random.below(5) as usize];
            let mut is_kept = || random.below(10) < chance;
            for change in &kept.pending {
                match change {
                    Change::Write(at, data) => {
                        let mut from = 0;
                        while from < data.len() {
                            let upto = data.len().min(from + SECTOR - (at + from) % SECTOR);
                            if is_kept() {
                                write_at(&mut content, at + from, &data[from..upto]);
                            }
                            from = upto;
                        }
                    }
                    Change::Resize(length) if is_kept() => content.resize(*length, 0),
                    Change::Resize(_) => (),
                }
            }
            fs::write(path, content).unwrap();
        }
        drop(state);
        self.clear();
    }

    /// Returns the code with which an access fails, if it does.
    fn gate(&self, access: Access<'_>) -> Option<c_int> {
        let mut state = self.state.lock().unwrap();
        if state.is_off {
            return Some(ffi::SQLITE_IOERR);
        }
        match state.plan {
            Plan::Nothing => None,
            Plan::Stop(_) if matches!(access, Access::Read) => None,
            Plan::Stop(count) => {
                state.count += 1;
                state.is_off = state.count > count;
                if !state.is_off {
                    return None;
                }
                if let Access::Write(path, at, data) = access {
                    state.unfinished = Some((path.clone(), Change::Write(at, data.to_vec())));
                }
                Some(ffi::SQLITE_IOERR)
            }
            Plan::Fail(first, code, count) => {
                state.count += 1;
                (first..first + count).contains(&state.count).then_some(code)
            }
        }
    }
}

fn write_at(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    content.resize(content.len().max(at + data.len()), 0);
    content[at..at + data.len()].copy_from_slice(data);
}

impl State {
    fn change(&mut self, path: &PathBuf, change: Change) {
        if let Some(kept) = self.files.get_mut(path) {
            kept.pending.push(change);
        }
    }

    fn sync(&mut self, path: &PathBuf) {
        let Some(kept) = self.files.get_mut(path) else { return };
        for change in kept.pending.drain(..) {
            match change {
                Change::Write(at, data) => write_at(&mut kept.durable, at, &data),
                Change::Resize(length) => kept.durable.resize(length, 0),
            }
        }
        // SQLite syncs the directory with a new journal or log.
        let is_main = path.extension().is_some_and(|extension| extension == "db");
        if !kept.is_entry_durable && !is_main {
            self.sync_directory();
        }
    }

    fn sync_directory(&mut self) {
        self.files.retain(|_, kept| !kept.is_removed);
        self.files.values_mut().for_each(|kept| kept.is_entry_durable = true);
    }
}

/// An open file. The system's own lies behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    disk: *const Disk,
    path: *mut PathBuf,
}

/// Returns the system's file behind one.
fn system_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocates as many bytes as both take.
    unsafe { file.cast::<File>().add(1).cast() }
}

fn parts<'a>(file: *mut ffi::sqlite3_file) -> (&'a Disk, &'a PathBuf) {
    // SAFETY: both are set before SQLite gets the file, and the path is freed when it is closed.
    unsafe { (&*(*file.cast::<File>()).disk, &*(*file.cast::<File>()).path) }
}

/// Calls the function of the system's file.
macro_rules! pass {
    ($method:ident($file:expr $(, $argument:expr)*)) => {{
        let system = system_file($file);
        // SAFETY: it is open, and the arguments are SQLite's.
        unsafe { ((*(*system).pMethods).$method.expect("a method"))(system $(, $argument)*) }
    }};
}

macro_rules! passing {
    ($($function:ident = $method:ident($($argument:ident: $type:ty),*);)*) => { $(
        unsafe extern "C" fn $function(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            pass!($method(file $(, $argument)*))
        }
    )* };
}

passing! {
    file_size = xFileSize(size: *mut ffi::sqlite3_int64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved_lock = xCheckReservedLock(result: *mut c_int);
    sector_size = xSectorSize();
    characteristics = xDeviceCharacteristics();
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, result: *mut *mut c_void);
    shm_unmap = xShmUnmap(delete: c_int);
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // The lock for copying the log into the file.
    const COPYING: c_int = 1;
    let locks = flags & ffi::SQLITE_SHM_LOCK != 0;
    match parts(file).0.state.lock().unwrap().is_copying {
        true if locks && offset == COPYING => ffi::SQLITE_BUSY,
        _ => pass!(xShmLock(file, offset, count, flags)),
    }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    pass!(xShmBarrier(file));
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(xClose(file));
    // SAFETY: it came from a box, and nothing is called after this.
    drop(unsafe { Box::from_raw((*file.cast::<File>()).path) });
    code
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    data: *mut c_void,
    size: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    match parts(file).0.gate(Access::Read) {
        Some(ffi::SQLITE_IOERR) => ffi::SQLITE_IOERR_READ,
        // A read does not find the disk full.
        _ => pass!(xRead(file, data, size, at)),
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    size: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    let (disk, path) = parts(file);
    // SAFETY: SQLite gives as many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size as usize) };
    match disk.gate(Access::Write(path, at as usize, bytes)) {
        Some(ffi::SQLITE_IOERR) => return ffi::SQLITE_IOERR_WRITE,
        Some(code) => return code,
        None => (),
    }
    let code = pass!(xWrite(file, data, size, at));
    if code == ffi::SQLITE_OK {
        disk.state.lock().unwrap().change(path, Change::Write(at as usize, bytes.to_vec()));
    }
    code
}

/// Notes the size that a file has now.
fn note_size(file: *mut ffi::sqlite3_file) {
    let (disk, path) = parts(file);
    let mut size = 0;
    if pass!(xFileSize(file, &raw mut size)) == ffi::SQLITE_OK {
        disk.state.lock().unwrap().change(path, Change::Resize(size as usize));
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    if parts(file).0.gate(Access::Change).is_some() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    let code = pass!(xTruncate(file, size));
    note_size(file);
    code
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    let (disk, path) = parts(file);
    if disk.gate(Access::Change).is_some() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    disk.state.lock().unwrap().sync(path);
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    if operation == ffi::SQLITE_FCNTL_SIZE_HINT && parts(file).0.gate(Access::Change).is_some() {
        return ffi::SQLITE_IOERR_WRITE;
    }
    let code = pass!(xFileControl(file, operation, argument));
    if operation == ffi::SQLITE_FCNTL_SIZE_HINT {
        note_size(file);
    }
    code
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn disk_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Disk {
    // SAFETY: it was set when the file system was registered, and a disk is never freed.
    unsafe { &*(*vfs).pAppData.cast::<Disk>() }
}

fn path_of(name: *const c_char) -> PathBuf {
    if name.is_null() {
        return PathBuf::new();
    }
    // SAFETY: SQLite's names end with a zero.
    unsafe { CStr::from_ptr(name) }.to_str().unwrap().into()
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let (disk, path) = (disk_of(vfs), path_of(name));
    // SAFETY: SQLite has allocated it. Without methods it is not closed.
    unsafe { (*file).pMethods = std::ptr::null() };
    if disk.gate(Access::Change).is_some() {
        return ffi::SQLITE_CANTOPEN;
    }
    let existing = fs::read(&path).ok();
    // SAFETY: the arguments are SQLite's, and the file is the one behind ours.
    let code =
        unsafe { ((*disk.system).xOpen.unwrap())(disk.system, name, system_file(file), flags, out_flags) };
    if code != ffi::SQLITE_OK {
        return code;
    }
    let mut state = disk.state.lock().unwrap();
    match (state.files.get_mut(&path), existing) {
        (Some(kept), None) => {
            kept.is_removed = false;
            kept.pending.push(Change::Resize(0));
        }
        (None, Some(durable)) => {
            let kept = Kept { durable, is_entry_durable: true, ..Kept::default() };
            state.files.insert(path.clone(), kept);
        }
        (None, None) => drop(state.files.insert(path.clone(), Kept::default())),
        (Some(_), Some(_)) => (),
    }
    let path = Box::into_raw(Box::new(path));
    // SAFETY: SQLite has allocated it.
    unsafe {
        *file.cast::<File>() = File { base: ffi::sqlite3_file { pMethods: &raw const METHODS }, disk, path }
    };
    code
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    syncs_directory: c_int,
) -> c_int {
    let (disk, path) = (disk_of(vfs), path_of(name));
    if disk.gate(Access::Change).is_some() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    // SAFETY: the arguments are SQLite's.
    let code = unsafe { ((*disk.system).xDelete.unwrap())(disk.system, name, 0) };
    let mut state = disk.state.lock().unwrap();
    if code == ffi::SQLITE_OK {
        if let Some(kept) = state.files.get_mut(&path) {
            kept.is_removed = true;
        }
        if syncs_directory != 0 {
            state.sync_directory();
        }
    }
    code
}
