//! Inspects processes and ends them, after checking that they are ours.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// The hidden subcommand that a supervisor runs as.
pub const SUPERVISE: &str = "__supervise";

const POLL: Duration = Duration::from_millis(50);

/// Whether process `pid` is the supervisor of the stack in `state_dir`. The process id alone is not enough,
/// because another program may have it by now.
pub fn is_supervisor(pid: u32, state_dir: &Path) -> bool {
    let words = command_line(pid);
    words.iter().any(|word| word == SUPERVISE) && words.iter().any(|word| Path::new(word) == state_dir)
}

/// Words of the command line; empty when the process is gone or is only waiting to be reaped.
fn command_line(pid: u32) -> Vec<String> {
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => {
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        }
        // Not on Linux. A path with a space in it is then not recognised, and the process is left alone.
        Err(_) if !Path::new("/proc/self").exists() => std::process::Command::new("ps")
            .args(["-o", "command=", "-p", &pid.to_string()])
            .output()
            .map(|out| String::from_utf8_lossy(&out.stdout).split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Asks process `pid` to end and waits for it. `false` when it still runs after `patience`.
pub fn terminate(pid: u32, patience: Duration, still_ours: impl Fn() -> bool) -> bool {
    // Gone already is what is wanted.
    let _ = kill(as_pid(pid), Signal::SIGTERM);
    let deadline = Instant::now() + patience;
    while still_ours() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Kills what is left of process group `group`, if its members' command lines mention `mark`.
pub fn kill_group_of(group: u32, mark: &str) {
    let ours = members(group).into_iter().any(|pid| command_line(pid).iter().any(|word| word.contains(mark)));
    if ours {
        // Gone in between is what is wanted.
        let _ = killpg(as_pid(group), Signal::SIGKILL);
    }
}

/// Whether any process of this process group is running.
pub fn group_lives(group: u32) -> bool {
    killpg(as_pid(group), None).is_ok()
}

pub fn signal_group(group: u32, signal: Signal) {
    // Gone already is what is wanted.
    let _ = killpg(as_pid(group), signal);
}

/// Collects every child that has ended, those that were inherited among them.
pub fn reap_children() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// Kills whatever this process is still the parent of: programs that left their group and lost their parent.
pub fn kill_own_children() {
    let own = std::process::id();
    for pid in processes().filter(|pid| stat(*pid).is_some_and(|(parent, _)| parent == own)) {
        let _ = kill(as_pid(pid), Signal::SIGKILL);
    }
    reap_children();
}

/// The processes of group `group`.
pub fn members(group: u32) -> Vec<u32> {
    processes().filter(|pid| stat(*pid).is_some_and(|(_, its)| its == group)).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// A process's parent and group. A line of /proc reads `pid (name) state parent group …`.
fn stat(pid: u32) -> Option<(u32, u32)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The value of a variable in the environment that process `pid` was started with. Linux only.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let entries = environment.split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    let values = entries.filter_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).next()
}

/// The CPU time of process `pid`.
pub fn processor_time(pid: u32) -> Option<Duration> {
    Some(clock_getcpuclockid(as_pid(pid)).ok()?.now().ok()?.into())
}

fn as_pid(pid: u32) -> Pid {
    // Process ids fit: the kernel's own type for them is signed.
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn another_program_with_the_same_id_is_not_taken_for_a_supervisor() {
        assert!(!is_supervisor(std::process::id(), Path::new("/nowhere")));
    }

    #[test]
    fn a_group_is_killed_only_when_it_carries_the_mark() {
        let mut child = Command::new("sleep").arg("61").process_group(0).spawn().unwrap();
        // `spawn` returns while the kernel still replaces the program: until then the command line is empty.
        let deadline = Instant::now() + Duration::from_secs(10);
        while command_line(child.id()).is_empty() {
            assert!(Instant::now() < deadline, "sleep has no command line");
            std::thread::sleep(POLL);
        }
        kill_group_of(child.id(), "somebody-elses");
        assert!(group_lives(child.id()));
        kill_group_of(child.id(), "sleep");
        assert!(!child.wait().unwrap().success());
    }
}
