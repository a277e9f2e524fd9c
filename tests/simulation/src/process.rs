//! The time, the waiting and the randomness of this process, in place of the operating system's.
//!
//! Three functions of the C library are defined here, so that everything in the process calls these: the standard
//! library, tokio, the SDK, and every function of the platform. Nothing in them knows of the simulation. madsim does
//! the same for `clock_gettime` and `getrandom` (<https://github.com/madsim-rs/madsim>).
//!
//! - `clock_gettime`: time stands still while code runs.
//! - `epoll_wait`: tokio waits here when no task is ready, until its next timer. Instead of waiting, time moves there.
//! - `getrandom`: the numbers follow from the seed.
//!
//! Until [`begin`] they do what the C library does. aws-lc draws its randomness from the kernel directly. Functions
//! get the bytes of their tickets and codes from [`fill`] instead; aws-lc makes keys and signatures only, which the trace
//! leaves out.
#![expect(unsafe_code, reason = "functions of the C library are defined and called")]

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use nix::libc::{
    self, SYS_clock_gettime, SYS_getrandom, c_int, c_uint, c_void, clockid_t, epoll_event, size_t, ssize_t,
    syscall, timespec,
};

/// 2026-06-01T00:00:00Z, when every run begins. Seconds since 1970.
const BEGINNING: u64 = 1_780_272_000;

static IS_SIMULATED: AtomicBool = AtomicBool::new(false);
/// Nanoseconds since the beginning.
static NOW: AtomicU64 = AtomicU64::new(0);
/// How far the wall clock of the code that runs now is ahead, in seconds.
static SKEW: AtomicI64 = AtomicI64::new(0);
/// The state of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// From here on time and randomness follow from the seed, until the process ends.
///
/// For a process with one thread that has not run a simulation yet.
pub fn begin(seed: u64) {
    RANDOM.store(seed, Relaxed);
    IS_SIMULATED.store(true, Relaxed);
    // It seeds itself from the number of the thread.
    fastrand::seed(next_random());
}

/// The wall clock is ahead until this is dropped.
#[must_use]
pub struct Skewed(());

/// Lets the wall clock of the code that runs next be ahead by this number of seconds.
pub fn skewed(seconds: i64) -> Skewed {
    SKEW.store(seconds, Relaxed);
    Skewed(())
}

impl Drop for Skewed {
    fn drop(&mut self) {
        SKEW.store(0, Relaxed);
    }
}

/// Since the beginning.
pub fn elapsed() -> Duration {
    Duration::from_nanos(NOW.load(Relaxed))
}

/// The next number that follows from the seed.
pub fn next_random() -> u64 {
    let state = RANDOM.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills `bytes` with numbers that follow from the seed.
pub fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next_random().to_le_bytes()[..chunk.len()]);
    }
}

/// clock_gettime(2).
///
/// # Safety
/// As of the C library: `time` points to a `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    if !IS_SIMULATED.load(Relaxed) {
        // SAFETY: the caller's arguments.
        return unsafe { syscall(SYS_clock_gettime, clock, time) } as c_int;
    }
    let now = elapsed();
    // All clocks show the same, so that no difference between two of them is negative; but for a wall clock that is
    // wrong.
    let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    let skew = if is_wall { SKEW.load(Relaxed) } else { 0 };
    let seconds = (BEGINNING + now.as_secs()).saturating_add_signed(skew);
    // SAFETY: the caller's pointer, which it promises to be valid.
    unsafe { time.write(timespec { tv_sec: seconds as _, tv_nsec: now.subsec_nanos() as _ }) };
    0
}

/// epoll_wait(2).
///
/// # Safety
/// As of the C library: `events` points to `most` events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    let wait = |timeout| {
        // SAFETY: the caller's arguments; without a set of signals.
        unsafe { libc::epoll_pwait(epoll, events, most, timeout, std::ptr::null()) }
    };
    if !IS_SIMULATED.load(Relaxed) {
        return wait(timeout);
    }
    // A task has woken the one that is waited for: tokio tells itself so by an event.
    let ready = wait(0);
    if ready != 0 || timeout == 0 {
        return ready;
    }
    let Ok(timeout) = u64::try_from(timeout) else {
        eprintln!("error: no task of the simulation can go on, and none waits for a time");
        std::process::abort();
    };
    NOW.fetch_add(timeout * 1_000_000, Relaxed);
    0
}

/// getrandom(2).
///
/// # Safety
/// As of the C library: `buffer` points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if !IS_SIMULATED.load(Relaxed) {
        // SAFETY: the caller's arguments.
        return unsafe { syscall(SYS_getrandom, buffer, length, flags) } as ssize_t;
    }
    if length > 0 {
        // SAFETY: the caller's pointer, which it promises to be valid for this number of bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        fill(bytes);
    }
    length as ssize_t
}
