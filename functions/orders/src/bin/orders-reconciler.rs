use aws_sdk_sfn::Client;
use lambda_kit::{MainResult, aws, config, dynamodb::Table, telemetry};
use orders::{ContextClient, Executions, Partitioning, Reconciler, Starter, Store, reconcile};

#[tokio::main(flavor = "current_thread")]
async fn main() -> MainResult {
    telemetry::init();
    let sdk = aws::sdk_config()?;
    let (stage, state_machine) = (config::required("STAGE")?, config::required("STATE_MACHINE_ARN")?);
    let (table, sfn) = (Table::from_env(&sdk)?, Client::new(&sdk));
    let checks = vec![table.health()];
    let starts_per_second = config::parsed_or("SAGA_STARTS_PER_SECOND", Starter::PER_SECOND)?;
    let reconciler = Reconciler {
        store: Store::new(table.clone(), Partitioning::from_env()?),
        executions: Executions::new(sfn.clone(), &state_machine),
        starter: Starter::new(sfn, state_machine, table, starts_per_second),
        contexts: ContextClient::new(&(&sdk).into(), stage),
    };
    reconcile(checks, reconciler).await
}
