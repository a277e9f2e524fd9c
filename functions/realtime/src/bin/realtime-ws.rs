use jiff::Timestamp;
use lambda_kit::{MainResult, aws, dynamodb::Table, invoke, telemetry};
use realtime::{Line, Pusher, Socket, Store};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (table, line) = (Table::from_env(&sdk)?, Line::from_env(&sdk)?);
    let checks = vec![table.health(), line.health()];
    let socket = Socket::new(Store::new(table), line, Pusher::from_env(&sdk)?);
    invoke::run(checks, |payload, _| {
        let socket = socket.clone();
        async move { socket.handle(payload.get(), Timestamp::now().as_second()).await }
    })
    .await
}
