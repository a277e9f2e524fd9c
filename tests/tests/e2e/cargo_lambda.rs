//! `cargo lambda deploy` of one function, as README.md shows it.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;

use crate::fixture::{Fixture, eventually};
use crate::harness::Outcome;

crate::tests![alone: a_changed_function_is_deployed_and_answers_through_the_api];

const FUNCTION: &str = "catalog-api";
/// A path that is the function's, where it has nothing.
const NOWHERE: &str = "/v1/products/no/such/thing";

/// The function is changed without compiling: one sentence of its program is replaced by another of the same length.
async fn a_changed_function_is_deployed_and_answers_through_the_api(fixture: Fixture) -> Outcome {
    let lambda = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/lambda"));
    let before = detail(&fixture).await?;
    let after = "x".repeat(before.len());
    let changed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cargo-lambda");
    let program = std::fs::read(lambda.join(FUNCTION).join("bootstrap"))?;
    std::fs::create_dir_all(changed.join(FUNCTION))?;
    std::fs::write(changed.join(FUNCTION).join("bootstrap"), replaced(&program, &before, &after)?)?;

    let deployed = deploy(&fixture, &changed).await;
    let seen = match deployed {
        Ok(()) => answers(&fixture, &after).await,
        failed => failed,
    };
    // Whatever was seen, the others get their function back; and this is how a person takes a change back.
    deploy(&fixture, &lambda).await?;
    answers(&fixture, &before).await?;
    seen
}

async fn detail(fixture: &Fixture) -> Outcome<String> {
    let problem: Value = fixture.shop.call(Method::GET, NOWHERE).send().await?.value();
    Ok(problem["detail"].as_str().ok_or_else(|| format!("no problem: {problem}"))?.to_owned())
}

async fn answers(fixture: &Fixture, expected: &str) -> Outcome {
    eventually("the deployed code answers", async || {
        let detail =
            detail(fixture).await.map_err(|failed| failed.message().unwrap_or_default().to_owned())?;
        if detail == expected { Ok(()) } else { Err(detail)? }
    })
    .await?;
    Ok(())
}

fn replaced(program: &[u8], from: &str, to: &str) -> Outcome<Vec<u8>> {
    let at = program
        .windows(from.len())
        .position(|window| window == from.as_bytes())
        .ok_or_else(|| format!("the program does not hold {from:?}"))?;
    let mut changed = program.to_vec();
    changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    Ok(changed)
}

async fn deploy(fixture: &Fixture, lambda: &Path) -> Outcome {
    let programs = PathBuf::from(fixture.ops(&["tools"]).await?.trim());
    let run = Command::new(programs.join("cargo-lambda"))
        .args(["lambda", "deploy", "--binary-name", FUNCTION, "--lambda-dir"])
        .arg(lambda)
        .args(["--endpoint-url", &fixture.outputs.aws_endpoint_url, "--region", &fixture.outputs.region])
        .arg(format!("ordersaga-{}-{FUNCTION}", fixture.outputs.stage))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_SESSION_TOKEN")
        .kill_on_drop(true)
        .output()
        .await?;
    if run.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&run.stderr);
    Err(format!("cargo lambda deploy: {} {}{said}", run.status, String::from_utf8_lossy(&run.stdout)).into())
}
