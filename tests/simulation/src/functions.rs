//! The functions: the binaries of the contexts, each as a module with its `main`.

use futures::future::LocalBoxFuture;
use lambda_kit::MainResult;

/// Starts one instance of a function.
pub type Start = fn() -> LocalBoxFuture<'static, MainResult>;

include!(concat!(env!("OUT_DIR"), "/functions.rs"));
