use aws_sdk_codedeploy::{
    Client,
    types::{DeploymentTarget, LifecycleEventStatus},
};

/// The deployments of CodeDeploy.
#[derive(Debug, Clone)]
pub struct Deployments {
    codedeploy: Client,
}

/// What CodeDeploy does not do.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    #[error("the targets of deployment {deployment} cannot be listed")]
    Targets {
        deployment: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("deployment {deployment} names no version of a function")]
    Nothing { deployment: String },
    #[error("the result cannot be reported for deployment {deployment}")]
    Report {
        deployment: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Deployments {
    pub const fn new(codedeploy: Client) -> Self {
        Self { codedeploy }
    }

    /// The versions that a deployment is to bring, each as `<function>:<version>`.
    ///
    /// # Errors
    /// CodeDeploy refuses, or the deployment is of something else.
    pub async fn versions(&self, deployment: &str) -> Result<Vec<String>, DeploymentError> {
        let failed = |source| DeploymentError::Targets { deployment: deployment.to_owned(), source };
        let listed = self.codedeploy.list_deployment_targets().deployment_id(deployment).send().await;
        let targets = listed.map_err(|error| failed(error.into()))?.target_ids;
        let described = self
            .codedeploy
            .batch_get_deployment_targets()
            .deployment_id(deployment)
            .set_target_ids(targets)
            .send()
            .await;
        let described = described.map_err(|error| failed(error.into()))?;
        let versions: Vec<String> = described.deployment_targets().iter().filter_map(version).collect();
        if versions.is_empty() {
            return Err(DeploymentError::Nothing { deployment: deployment.to_owned() });
        }
        Ok(versions)
    }

    /// Tells CodeDeploy whether to go on.
    ///
    /// # Errors
    /// CodeDeploy refuses.
    pub async fn report(
        &self,
        deployment: &str,
        execution: &str,
        is_healthy: bool,
    ) -> Result<(), DeploymentError> {
        let status = if is_healthy { LifecycleEventStatus::Succeeded } else { LifecycleEventStatus::Failed };
        let report = self
            .codedeploy
            .put_lifecycle_event_hook_execution_status()
            .deployment_id(deployment)
            .lifecycle_event_hook_execution_id(execution)
            .status(status);
        let reported = report.send().await;
        reported.map(drop).map_err(|error| DeploymentError::Report {
            deployment: deployment.to_owned(),
            source: error.into(),
        })
    }
}

fn version(target: &DeploymentTarget) -> Option<String> {
    let function = target.lambda_target()?.lambda_function_info()?;
    Some(format!("{}:{}", function.function_name()?, function.target_version()?))
}
