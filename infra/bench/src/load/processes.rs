//! What each process of the stack uses: processor time and memory, by the kernel's count.

use std::collections::BTreeMap;
use std::time::Duration;

use local_stack::{LOCAL_STAGE, Running, process};

/// The processes of a stack, by the names of their functions or programs.
#[derive(Debug, Clone)]
pub struct Processes {
    groups: Vec<u32>,
    supervisor: u32,
}

/// What the processes of one name used, as far as they were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    pub time: Duration,
    /// Resident memory of those that live, in KB.
    pub memory: u64,
    pub processes: u64,
}

/// By name and process.
type Seen = BTreeMap<(String, u32), Use>;

/// Samples of the processes. Those that end keep what they used.
#[derive(Debug, Default)]
pub struct Samples {
    first: Seen,
    last: Seen,
    ended: BTreeMap<String, Duration>,
}

impl Processes {
    pub fn of(running: &Running) -> Self {
        Self { groups: running.groups.clone(), supervisor: running.supervisor }
    }

    fn now(&self) -> Seen {
        let own = std::process::id();
        let pids = self.groups.iter().flat_map(|group| process::members(*group));
        let pids = pids.chain([self.supervisor, own]);
        let mut seen = Seen::new();
        for pid in pids {
            let Some(time) = process::processor_time(pid) else { continue };
            let name = if pid == own { "customers (this command)".to_owned() } else { self.name(pid) };
            seen.insert(
                (name, pid),
                Use { time, memory: process::resident_kib(pid).unwrap_or_default(), processes: 1 },
            );
        }
        seen
    }

    fn name(&self, pid: u32) -> String {
        if pid == self.supervisor {
            return "Stripe proxy".to_owned();
        }
        let function = process::variable(pid, "AWS_LAMBDA_FUNCTION_NAME");
        let prefix = format!("ordersaga-{LOCAL_STAGE}-");
        if let Some(name) = function.as_deref().and_then(|name| name.strip_prefix(&prefix)) {
            return name.to_owned();
        }
        let command = process::command_line(pid);
        let known =
            [("localstripe", "localstripe"), ("emulator.py", "MiniStack"), ("ministack", "MiniStack")];
        let name = known
            .iter()
            .find(|(part, _)| command.iter().any(|word| word.contains(part)))
            .map(|(_, name)| (*name).to_owned());
        name.unwrap_or_else(|| {
            let program = command.first().and_then(|word| word.rsplit('/').next());
            program.filter(|name| !name.is_empty()).unwrap_or("other").to_owned()
        })
    }
}

impl Samples {
    pub fn begin(processes: &Processes) -> Self {
        let first = processes.now();
        Self { last: first.clone(), first, ended: BTreeMap::new() }
    }

    pub fn take(&mut self, processes: &Processes) {
        self.next(processes.now());
    }

    fn next(&mut self, now: Seen) {
        for (process, used) in &self.last {
            if !now.contains_key(process) {
                let before = self.first.get(process).copied().unwrap_or_default();
                *self.ended.entry(process.0.clone()).or_default() += used.time.saturating_sub(before.time);
            }
        }
        self.last = now;
    }

    /// By name, what was used since the beginning, and the memory now.
    pub fn used(&self) -> BTreeMap<String, Use> {
        let mut all: BTreeMap<String, Use> = BTreeMap::new();
        for (process, used) in &self.last {
            let before = self.first.get(process).copied().unwrap_or_default();
            let of_name = all.entry(process.0.clone()).or_default();
            of_name.time += used.time.saturating_sub(before.time);
            of_name.memory += used.memory;
            of_name.processes += 1;
        }
        for (name, time) in &self.ended {
            all.entry(name.clone()).or_default().time += *time;
        }
        all
    }

    /// By name, the memory at the beginning.
    pub fn memory_before(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (process, used) in &self.first {
            *all.entry(process.0.clone()).or_default() += used.memory;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, pid: u32, millis: u64, memory: u64) -> ((String, u32), Use) {
        let used = Use { time: Duration::from_millis(millis), memory, processes: 1 };
        ((name.to_owned(), pid), used)
    }

    #[test]
    fn a_process_that_ended_keeps_what_it_used() {
        let first = Seen::from([at("orders-api", 1, 100, 10), at("MiniStack", 2, 50, 99)]);
        let mut samples = Samples { last: first.clone(), first, ended: BTreeMap::new() };
        samples.next(Seen::from([
            at("orders-api", 1, 150, 10),
            at("orders-api", 3, 20, 5),
            at("MiniStack", 2, 60, 90),
        ]));
        samples.next(Seen::from([at("orders-api", 3, 30, 5), at("MiniStack", 2, 80, 95)]));
        let used = samples.used();
        assert_eq!(used["orders-api"], Use { time: Duration::from_millis(80), memory: 5, processes: 1 });
        assert_eq!(used["MiniStack"].time, Duration::from_millis(30));
        assert_eq!(samples.memory_before()["MiniStack"], 99);
    }

    #[test]
    fn this_process_is_among_them_with_its_memory() {
        let processes = Processes { groups: vec![], supervisor: u32::MAX };
        let samples = Samples::begin(&processes);
        assert!(samples.memory_before()["customers (this command)"] > 100);
    }
}
