//! The API conforms to its description. schemathesis sends valid and invalid requests: wrong types, odd
//! Unicode, huge numbers, missing and superfluous parts.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::fixture::{Customer, Fixture, buy, unique};
use crate::harness::Outcome;

crate::tests![together: a_customer_meets_the_api_as_described, an_administrator_meets_the_api_as_described];

/// The time limit of one run, in which schemathesis tries each operation some dozens of times.
const BUDGET: Duration = Duration::from_secs(40);
/// With what it takes to start and to write the report.
const WITHIN: Duration = Duration::from_secs(150);

/// The checks for each response. Left out are: that every input that matches the schema is accepted (an
/// unknown SKU matches it), and the stateful checks of resources that the run itself creates and deletes.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth";

async fn a_customer_meets_the_api_as_described(fixture: Fixture) -> Outcome {
    let customer = fixture.customer().await?;
    // Without deleting the account, after which there would be little to try.
    let most = ["--exclude-operation-id", "deleteAccount"];
    try_out(&fixture, &customer, customer.shop.token().unwrap_or_default(), &most).await
}

/// The administrator's own operations alone, on a product of the test's.
async fn an_administrator_meets_the_api_as_described(fixture: Fixture) -> Outcome {
    let token = fixture.admin.token().unwrap_or_default();
    try_out(&fixture, &fixture.customer().await?, token, &["--include-by", "/x-who == admin"]).await
}

async fn try_out(fixture: &Fixture, customer: &Customer, token: &str, more: &[&str]) -> Outcome {
    let sku = fixture.product(1_000).await?;
    let order = customer.shop.place(&buy(&sku), &unique("key")).await?.order_id;
    customer.ended(&order).await?;
    let programs = fixture.ops(&["tools", "checks"]).await?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = repository.join("target/tmp").join(unique("schemathesis"));
    std::fs::create_dir_all(&folder)?;
    // All calls use an existing product and order, and a token. Paths are not generated: the emulator cuts
    // them off at an encoded `#` and then calls another route. A missing `If-Match` is answered with 428.
    let parameters = format!(
        "[parameters]\n\"path.sku\" = \"{sku}\"\n\"path.id\" = \"{order}\"\n\"path.order_id\" = \"{order}\"\n\
         \"path.code\" = \"NOBODYS\"\n\n[checks.missing_required_header]\n\
         expected-statuses = [400, 401, 403, 406, 415, 422, 428]\n"
    );
    std::fs::write(folder.join("schemathesis.toml"), parameters)?;
    let mut command = Command::new(Path::new(programs.trim()).join("schemathesis"));
    command
        .arg("run")
        .arg(repository.canonicalize()?.join("shared/contracts/openapi.json"))
        .args(["--url", &fixture.outputs.api_url, "--header", &format!("Authorization: Bearer {token}")])
        .args(["--phases", "examples,coverage,fuzzing", "--max-time", &BUDGET.as_secs().to_string()])
        .args([
            "--checks",
            CHECKS,
            "--workers",
            "1",
            "--generation-deterministic",
            "--continue-on-failure",
            "--no-color",
        ])
        .args(["--suppress-health-check", "all", "--request-timeout", "10"])
        .args(more)
        .current_dir(&folder)
        .kill_on_drop(true);
    let run = tokio::time::timeout(WITHIN, command.output()).await??;
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    println!(
        "{}",
        said.lines().rev().take(25).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
    );
    if run.status.success() { Ok(std::fs::remove_dir_all(&folder)?) } else { Err(said.into()) }
}
