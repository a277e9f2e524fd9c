//! Two processes and one table: this test starts itself again as the other instances.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
};

use jiff::Timestamp;
use lambda_kit::{
    breaker::{Breaker, Permit},
    limits::BREAKER,
    provider::CallOutcome,
    testing,
};

/// Names the table's URL to a process that is to be an instance.
const TABLE: &str = "BREAKER_TEST_TABLE";
/// Before each of an instance's answers: the test harness prints, too.
const ANSWER: &str = "answer ";
const T: i64 = 1_800_000_000_000;

/// An instance of a function in a process of its own. Ends with this value, without a word.
struct Instance {
    process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// What it has logged, metrics included.
    log: Vec<serde_json::Value>,
}

impl Instance {
    fn start(table: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_instance", "--nocapture"])
            .env(TABLE, table)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, orders, answers, log: Vec::new() }
    }

    /// Sends `enter`, `succeed` or `fail` (for the oldest open call) at this time in milliseconds.
    fn tell(&mut self, order: &str, at: i64) -> String {
        writeln!(self.orders, "{order} {at}").unwrap();
        loop {
            let line = self.answers.next().expect("it lives").unwrap();
            // The harness does not end its own line before the test's output.
            if let Some((_, answer)) = line.split_once(ANSWER) {
                return answer.to_owned();
            }
            let json = line.find('{').and_then(|start| serde_json::from_str(&line[start..]).ok());
            self.log.extend(json);
        }
    }

    fn enters(&mut self, at: i64) -> bool {
        self.tell("enter", at) == "let through"
    }

    fn calls(&mut self, end: &str, at: i64) {
        assert!(self.enters(at));
        assert_eq!(self.tell(end, at), "told");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other process. As a test among the others it has nothing to do.
#[tokio::test]
async fn an_instance() {
    let Ok(url) = std::env::var(TABLE) else { return };
    lambda_kit::telemetry::init();
    let now = Arc::new(AtomicI64::new(T));
    let clock = Arc::clone(&now);
    let breaker = Breaker::with_clock(testing::table_at(&url).0, "gateway", move || {
        Timestamp::from_millisecond(clock.load(SeqCst)).unwrap()
    });
    let mut under_way: Vec<Permit> = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (order, at) = line.split_once(' ').unwrap();
        now.store(at.parse().unwrap(), SeqCst);
        let answer = match order {
            "enter" => match breaker.acquire().await {
                Ok(permit) => {
                    under_way.push(permit);
                    "let through".to_owned()
                }
                Err(open) => open.to_string(),
            },
            end => {
                let outcome = if end == "fail" { CallOutcome::Failed } else { CallOutcome::Done };
                breaker.report(under_way.remove(0), outcome).await;
                "told".to_owned()
            }
        };
        println!("{ANSWER}{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instances_failures_open_it_for_the_other() {
    let table = testing::shared_table().await;
    let (mut one, mut other) = (Instance::start(&table), Instance::start(&table));
    other.calls("succeed", T);
    for _ in 0..5 {
        one.calls("fail", T);
    }
    assert!(!one.enters(T));
    assert!(!other.enters(T + 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_both_instances_are_counted_together() {
    let table = testing::shared_table().await;
    let (mut one, mut other) = (Instance::start(&table), Instance::start(&table));
    for at in [T, T + 1] {
        one.calls("fail", at);
        other.calls("fail", at);
    }
    one.calls("fail", T + 2);
    assert!(!one.enters(T + 2));
    assert!(!other.enters(T + 1_002));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_three_probes_of_both_together_go_through_at_first_and_later_steps_close_it() {
    let table = testing::shared_table().await;
    let (mut one, mut other) = (Instance::start(&table), Instance::start(&table));
    for _ in 0..5 {
        one.calls("fail", T);
    }
    let later = T + 30_000;
    let let_through: Vec<bool> =
        (0..10).map(|n| if n % 2 == 0 { one.enters(later) } else { other.enters(later) }).collect();
    assert_eq!(let_through.iter().filter(|through| **through).count(), 3, "{let_through:?}");
    // Two are the first one's.
    one.tell("succeed", later);
    one.tell("succeed", later);
    assert!(!one.enters(later), "the third has not reported");
    other.tell("succeed", later);
    for _ in 0..BREAKER.probes[1..].iter().sum::<usize>() {
        other.calls("succeed", later);
    }
    for instance in [&mut one, &mut other] {
        assert!((0..10).all(|_| instance.enters(later + 1_000)), "it is closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_of_a_probe_whose_process_died_comes_back_to_the_other() {
    let table = testing::shared_table().await;
    let (mut one, mut other) = (Instance::start(&table), Instance::start(&table));
    for _ in 0..5 {
        one.calls("fail", T);
    }
    let later = T + 30_000;
    assert!((0..3).all(|_| one.enters(later)));
    drop(one);
    assert!(!other.enters(later + 19_999));
    for _ in 0..BREAKER.probes.iter().sum::<usize>() {
        other.calls("succeed", later + 20_000);
    }
    assert!((0..10).all(|_| other.enters(later + 20_000)), "it is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_ahead_in_a_process_that_cannot_read_the_table() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut one = Instance::start(&format!("http://{unused}"));
    for _ in 0..7 {
        one.calls("fail", T);
    }
    assert!(one.enters(T));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_that_opens_is_counted_for_its_alarm_and_logged_as_an_error_once() {
    let mut one = Instance::start(&testing::shared_table().await);
    for _ in 0..5 {
        one.calls("fail", T);
    }
    assert!(!one.enters(T));
    assert_eq!(counted(&one), [1]);
    let errors: Vec<_> = one.log.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((&errors[0]["from"], &errors[0]["to"]), (&"closed".into(), &"open".into()));

    one.log.clear();
    assert!(one.enters(T + 30_000));
    one.tell("succeed", T + 30_000);
    assert!(one.log.iter().all(|line| line["level"] != "ERROR"), "{:?}", one.log);
    assert_eq!(counted(&one), [0_u64; 0], "a probe is under way, and no call was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_circuit_is_counted_while_it_refuses_calls_and_until_it_closes() {
    let mut one = Instance::start(&testing::shared_table().await);
    for _ in 0..5 {
        one.calls("fail", T);
    }
    for seconds in 0..30 {
        assert!(!one.enters(T + seconds * 1_000));
    }
    assert_eq!(counted(&one), [1, 1, 1], "every ten seconds, and not at every call");

    one.log.clear();
    for _ in 0..BREAKER.probes.iter().sum::<usize>() {
        one.calls("succeed", T + 30_000);
    }
    assert_eq!(counted(&one), [0]);
}

/// The values of the metric about the breaker that the process has recorded.
fn counted(instance: &Instance) -> Vec<u64> {
    let values = instance.log.iter().filter(|line| line["Breaker"] == "gateway");
    values.filter_map(|line| line["BreakerOpen"].as_u64()).collect()
}
