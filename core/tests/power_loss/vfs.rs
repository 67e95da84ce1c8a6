//! A SQLite VFS that hands everything to the system's own, keeps a record of what would change a disk, and fails a call when told to.
//!
//! Registered as the default, so that the code under test opens its databases as always. Only files below the watched directory are recorded
//! and fail; the rest passes.

// SQLite takes a VFS as a table of C functions; there is no other way to stand between it and the disk.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi::*;

/// What SQLite asked of the disk. Files by their name within the watched directory.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { file: String, offset: usize, data: Vec<u8> },
    Truncate { file: String, length: usize },
    Sync { file: String },
    Delete { file: String },
}

/// Which call fails, counted from 0, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    /// Writes say that the disk is full, instead of failing otherwise.
    pub(crate) full: bool,
}

struct State {
    watched: Option<PathBuf>,
    ops: Vec<Op>,
    calls: usize,
    fault: Option<Fault>,
}

static STATE: Mutex<State> = Mutex::new(State { watched: None, ops: Vec::new(), calls: 0, fault: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to record what happens in `directory`, and to count calls for `fault`.
pub(crate) fn watch(directory: &Path, fault: Option<Fault>) {
    *state() = State { watched: Some(directory.to_owned()), ops: Vec::new(), calls: 0, fault };
}

/// Forgets what has been recorded so far.
pub(crate) fn forget() {
    state().ops.clear();
}

/// How many operations have been recorded.
pub(crate) fn recorded() -> usize {
    state().ops.len()
}

/// Ends recording and faults. Gives the record, and how many calls there were.
pub(crate) fn unwatch() -> (Vec<Op>, usize) {
    let mut state = state();
    state.watched = None;
    (std::mem::take(&mut state.ops), state.calls)
}

/// An open file: our head, then the system's own.
#[repr(C)]
struct File {
    base: sqlite3_file,
    /// Where it is watched; owned, freed on closing.
    name: *mut String,
}

/// The name of a path within the watched directory.
unsafe fn watched_name(path: *const c_char) -> Option<String> {
    if path.is_null() {
        return None;
    }
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    let state = state();
    let name = Path::new(&path).strip_prefix(state.watched.as_ref()?).ok()?;
    Some(name.to_string_lossy().into_owned())
}

unsafe fn name_of<'a>(file: *mut sqlite3_file) -> Option<&'a String> {
    unsafe { (*file.cast::<File>()).name.as_ref() }
}

unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    unsafe { file.cast::<File>().add(1).cast() }
}

unsafe fn methods<'a>(file: *mut sqlite3_file) -> &'a sqlite3_io_methods {
    unsafe { &*(*real(file)).pMethods }
}

/// Counts a call on a watched file; the code with which it must fail, if it must.
fn fails(code: c_int) -> Option<c_int> {
    let mut state = state();
    state.watched.as_ref()?;
    let call = state.calls;
    state.calls += 1;
    let fault = state.fault.filter(|fault| fault.at == call)?;
    Some(if fault.full && code == SQLITE_IOERR_WRITE { SQLITE_FULL } else { code })
}

/// Passes a call on a file to the system, after the chance to fail and the record of it.
macro_rules! pass {
    ($file:expr, $method:ident ( $($arg:expr),* ) $(, fails $code:expr)? $(, records |$name:ident| $op:expr)?) => {
        unsafe {
            if let Some(_name) = name_of($file) {
                $(if let Some(code) = fails($code) {
                    return code;
                })?
                $({
                    let $name = _name.clone();
                    let op = $op;
                    let mut state = state();
                    if state.watched.is_some() {
                        state.ops.push(op);
                    }
                })?
            }
            (methods($file).$method.unwrap())(real($file) $(, $arg)*)
        }
    };
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    unsafe {
        let result = (methods(file).xClose.unwrap())(real(file));
        let name = (*file.cast::<File>()).name;
        if !name.is_null() {
            drop(Box::from_raw(name));
        }
        result
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, length: c_int, offset: i64) -> c_int {
    pass!(file, xRead(to, length, offset), fails SQLITE_IOERR_READ)
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, length: c_int, offset: i64) -> c_int {
    pass!(file, xWrite(from, length, offset), fails SQLITE_IOERR_WRITE, records |file| Op::Write {
        file,
        offset: offset as usize,
        data: std::slice::from_raw_parts(from.cast::<u8>(), length as usize).to_vec(),
    })
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: i64) -> c_int {
    pass!(file, xTruncate(length), fails SQLITE_IOERR_TRUNCATE, records |file| Op::Truncate { file, length: length as usize })
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    // No real disk waits: the record alone decides what lasts.
    unsafe {
        if let Some(name) = name_of(file) {
            if let Some(code) = fails(SQLITE_IOERR_FSYNC) {
                return code;
            }
            state().ops.push(Op::Sync { file: name.clone() });
        }
    }
    SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    pass!(file, xFileSize(size))
}
unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock(level))
}
unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock(level))
}
unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock(out))
}
unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    pass!(file, xFileControl(op, arg))
}
unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass!(file, xSectorSize())
}
unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // What every disk does: a write that is cut leaves the bytes beside it alone. No promise beyond that.
    pass!(file, xDeviceCharacteristics()) & SQLITE_IOCAP_POWERSAFE_OVERWRITE
}
unsafe extern "C" fn shm_map(file: *mut sqlite3_file, region: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int {
    pass!(file, xShmMap(region, size, extend, out), fails SQLITE_IOERR_SHMMAP)
}
unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    pass!(file, xShmLock(offset, n, flags))
}
unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    pass!(file, xShmBarrier())
}
unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap(delete))
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
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
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe fn system(vfs: *mut sqlite3_vfs) -> *mut sqlite3_vfs {
    unsafe { (*vfs).pAppData.cast() }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        (*file).pMethods = std::ptr::null();
        let name = watched_name(path);
        if name.is_some() && fails(SQLITE_CANTOPEN).is_some() {
            return SQLITE_CANTOPEN;
        }
        let vfs = system(vfs);
        let result = ((*vfs).xOpen.unwrap())(vfs, path, real(file), flags, out);
        if result == SQLITE_OK {
            (*file.cast::<File>()).name = name.map_or(std::ptr::null_mut(), |name| Box::into_raw(Box::new(name)));
            (*file).pMethods = &raw const METHODS;
        }
        result
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, path: *const c_char, sync_directory: c_int) -> c_int {
    unsafe {
        if let Some(file) = watched_name(path) {
            if let Some(code) = fails(SQLITE_IOERR_DELETE) {
                return code;
            }
            state().ops.push(Op::Delete { file });
        }
        let vfs = system(vfs);
        ((*vfs).xDelete.unwrap())(vfs, path, sync_directory)
    }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, path: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    unsafe { ((*system(vfs)).xAccess.unwrap())(system(vfs), path, flags, out) }
}
unsafe extern "C" fn full_pathname(vfs: *mut sqlite3_vfs, path: *const c_char, length: c_int, out: *mut c_char) -> c_int {
    unsafe { ((*system(vfs)).xFullPathname.unwrap())(system(vfs), path, length, out) }
}
unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    unsafe { ((*system(vfs)).xRandomness.unwrap())(system(vfs), length, out) }
}
unsafe extern "C" fn sleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    unsafe { ((*system(vfs)).xSleep.unwrap())(system(vfs), microseconds) }
}
unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    unsafe { ((*system(vfs)).xCurrentTime.unwrap())(system(vfs), out) }
}
unsafe extern "C" fn current_time_int64(vfs: *mut sqlite3_vfs, out: *mut i64) -> c_int {
    unsafe { ((*system(vfs)).xCurrentTimeInt64.unwrap())(system(vfs), out) }
}

/// Puts it between SQLite and the system, for the whole process.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| unsafe {
        let system = sqlite3_vfs_find(std::ptr::null());
        let mut vfs: sqlite3_vfs = std::mem::zeroed();
        vfs.iVersion = 2;
        vfs.szOsFile = (*system).szOsFile + size_of::<File>() as c_int;
        vfs.mxPathname = (*system).mxPathname;
        vfs.zName = CString::new("recorder").unwrap().into_raw();
        vfs.pAppData = system.cast();
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        vfs.xAccess = Some(access);
        vfs.xFullPathname = Some(full_pathname);
        vfs.xRandomness = Some(randomness);
        vfs.xSleep = Some(sleep);
        vfs.xCurrentTime = Some(current_time);
        vfs.xCurrentTimeInt64 = Some(current_time_int64);
        assert_eq!(sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1), SQLITE_OK);
    });
}
