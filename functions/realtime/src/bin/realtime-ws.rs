use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, invoke, telemetry};
use realtime::{OrderQueue, Pusher, Socket, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (table, queue) = (Table::from_env(&sdk)?, OrderQueue::from_env(&sdk)?);
    let checks = vec![table.health(), queue.health()];
    let socket = Socket::new(Store::new(table), queue, Pusher::from_env(&sdk)?);
    invoke::run(checks, |payload, _| {
        let socket = socket.clone();
        async move { socket.handle(payload.get(), Timestamp::now().as_second()).await }
    })
    .await
}
