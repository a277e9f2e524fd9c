//! Where a function meets the simulation of the whole platform (tests/simulation) instead of its process: environment,
//! network, invocations and random bytes. No function that is deployed is built with this feature.
//!
//! A function that runs outside of [`run`] is not simulated, also in a build with this feature: builds of the whole
//! workspace switch it on for everything.

use std::{fmt::Debug, rc::Rc};

use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use futures::future::LocalBoxFuture;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, Service};
use serde_json::value::RawValue;

use crate::MainResult;

/// What one instance of a function is given by its surroundings.
pub trait Instance: Debug {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The network.
    fn connector(&self) -> SharedHttpConnector;

    /// Fills `bytes` with random ones, which follow from the seed of the simulation.
    fn fill(&self, bytes: &mut [u8]);

    /// The next invocation, or `None` when the instance is to end.
    fn next(&self) -> LocalBoxFuture<'_, Option<Invocation>>;

    /// The answer to the invocation before.
    fn answer(&self, answer: Result<Box<RawValue>, Diagnostic>);
}

/// One event and its context.
#[derive(Debug)]
pub struct Invocation {
    /// The event.
    pub payload: Box<RawValue>,
    /// What the Runtime API says about the invocation.
    pub context: Context,
}

tokio::task_local! {
    static INSTANCE: Rc<dyn Instance>;
}

/// Runs the `main` of a function as an instance.
pub async fn run<F: Future<Output = MainResult>>(instance: Rc<dyn Instance>, main: F) -> MainResult {
    INSTANCE.scope(instance, main).await
}

/// The instance that runs here, if it is simulated.
pub(crate) fn instance() -> Option<Rc<dyn Instance>> {
    INSTANCE.try_with(Rc::clone).ok()
}

/// Passes the invocations of `instance` to the function, one after the other.
pub(crate) async fn serve<S>(instance: Rc<dyn Instance>, mut function: S) -> MainResult
where
    S: Service<LambdaEvent<Box<RawValue>>, Response = Box<RawValue>, Error = Diagnostic>,
{
    while let Some(Invocation { payload, context }) = instance.next().await {
        instance.answer(function.call(LambdaEvent::new(payload, context)).await);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{aws, config, connector, invoke, limits::CONNECT};

    #[derive(Debug, Default)]
    struct OneInvocation {
        is_over: RefCell<bool>,
        answers: RefCell<Vec<String>>,
    }

    impl Instance for OneInvocation {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "GREETING").then(|| "good morning".to_owned())
        }

        fn connector(&self) -> SharedHttpConnector {
            connector::connector(CONNECT)
        }

        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }

        fn next(&self) -> LocalBoxFuture<'_, Option<Invocation>> {
            let payload = RawValue::from_string("\"Ada\"".to_owned()).expect("it is JSON");
            let is_over = self.is_over.replace(true);
            Box::pin(async move { (!is_over).then(|| Invocation { payload, context: Context::default() }) })
        }

        fn answer(&self, answer: Result<Box<RawValue>, Diagnostic>) {
            self.answers.borrow_mut().push(answer.expect("it answers").get().to_owned());
        }
    }

    #[tokio::test]
    async fn an_instance_has_its_own_environment_and_invocations() {
        let instance = Rc::new(OneInvocation::default());
        let main = async {
            assert!(aws::sdk_config().is_err(), "the environment of the process is not read");
            let greeting = config::required("GREETING")?;
            invoke::run(vec![], move |payload, _| {
                let text = format!("{greeting}, {}", payload.get());
                async move { Ok(text) }
            })
            .await
        };
        run(Rc::clone(&instance) as Rc<dyn Instance>, main).await.expect("it ends well");
        assert_eq!(*instance.answers.borrow(), [r#""good morning, \"Ada\"""#]);
        assert!(config::optional("GREETING").is_none());
    }
}
