//! Inspects processes and ends them, after checking that they are ours.

use std::net::SocketAddr;
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
pub fn command_line(pid: u32) -> Vec<String> {
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

/// Sends a signal to process `pid` alone.
pub fn signal(pid: u32, signal: Signal) {
    // Gone already is what is wanted.
    let _ = kill(as_pid(pid), signal);
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

/// Ends the process of these groups that has `caller` as its end of a connection to `listener`, and answers its id. A
/// leader of a group is never ended. Linux only; `None` when there is no such process.
pub fn end_caller(caller: SocketAddr, listener: SocketAddr, groups: &[u32]) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(caller, listener)?);
    let pid = followers(groups).find(|pid| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .any(|link| link.as_os_str() == socket.as_str())
    })?;
    signal(pid, Signal::SIGKILL);
    Some(pid)
}

/// The processes of these groups, without the groups' leaders.
fn followers(groups: &[u32]) -> impl Iterator<Item = u32> {
    groups.iter().flat_map(|group| members(*group)).filter(|pid| !groups.contains(pid))
}

/// Ends one process of these groups that is no leader of a group: the one that `choose` picks among that many.
pub fn end_one(groups: &[u32], choose: impl FnOnce(usize) -> usize) {
    let members: Vec<u32> = followers(groups).collect();
    if !members.is_empty()
        && let Some(pid) = members.get(choose(members.len()))
    {
        signal(*pid, Signal::SIGKILL);
    }
}

/// The inode of a socket, from the kernel's table: proc_pid_net(5). A line reads `number: local remote state …`, and the
/// inode is its tenth field.
fn inode(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (in_hexadecimal(local)?, in_hexadecimal(remote)?);
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str());
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
    })
}

/// An address as the table has it: `0100007F:1F90`, each number in the machine's own order of bytes.
fn in_hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
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

/// The part of process `pid` that is in memory now, in KiB (proc_pid_status(5), `VmRSS`). Linux only.
pub fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
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
    fn a_caller_is_found_by_its_end_of_the_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // A shell that connects and then waits, in a group whose leader is another process.
        let mut leader = Command::new("sleep").arg("62").process_group(0).spawn().unwrap();
        let group = i32::try_from(leader.id()).unwrap();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -u 3", address.port());
        let mut client = Command::new("bash").args(["-c", &script]).process_group(group).spawn().unwrap();
        let (_connection, caller) = listener.accept().unwrap();
        assert_eq!(end_caller(caller, address, &[std::process::id()]), None, "it is of another group");
        assert_eq!(end_caller(caller, address, &[leader.id()]), Some(client.id()));
        assert!(!client.wait().unwrap().success());
        signal_group(leader.id(), Signal::SIGKILL);
        leader.wait().unwrap();
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
