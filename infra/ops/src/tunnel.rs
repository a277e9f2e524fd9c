//! TLS for the shop's client. It has none, since a TLS library would be most of what compiling this crate takes: a Python
//! process listens on this machine and passes its connections on, encrypted.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Url;
use serde_json::json;
use shop_client::Route;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::error::{Error, Result};

const SCRIPT: &str = include_str!("tunnel.py");
/// Python starts in a fraction of it.
const START_WITHIN: Duration = Duration::from_secs(30);

/// Routes to addresses on AWS. They end with it.
#[derive(Debug)]
pub struct Tunnel {
    routes: Vec<Route>,
    _process: Option<Child>,
}

impl Tunnel {
    /// To each of these addresses: `https` and `wss` by way of the process, others directly.
    ///
    /// # Errors
    /// Python cannot be run, or an address is none.
    pub async fn open(python: &Path, addresses: &[&str]) -> Result<Self> {
        let urls = addresses.iter().map(|address| read(address)).collect::<Result<Vec<_>>>()?;
        let encrypted: Vec<&Url> = urls.iter().filter(|url| is_encrypted(url)).collect();
        if encrypted.is_empty() {
            let routes = addresses.iter().map(|address| Route::direct(address)).collect();
            return Ok(Self { routes, _process: None });
        }
        let targets: Vec<_> =
            encrypted.iter().map(|url| json!([url.host_str(), url.port_or_known_default()])).collect();
        let (process, ports) = tokio::time::timeout(START_WITHIN, start(python, &json!(targets)))
            .await
            .map_err(|_| failed("it did not start"))??;
        let mut ports = ports.into_iter();
        let routes = urls
            .iter()
            .zip(addresses)
            .map(|(url, address)| match is_encrypted(url).then(|| ports.next()).flatten() {
                Some(port) => by_way_of(url, port),
                None => Route::direct(address),
            })
            .collect();
        Ok(Self { routes, _process: Some(process) })
    }

    /// One for each address, in their order.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn read(address: &str) -> Result<Url> {
    let url = Url::parse(address).ok().filter(Url::has_host);
    url.ok_or_else(|| {
        Error::Stage(format!("the stage's address `{address}` is no URL; deploy the stage again"))
    })
}

fn is_encrypted(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "wss")
}

/// The same URL through this machine, with the server's own name.
fn by_way_of(url: &Url, port: u16) -> Route {
    let scheme = if url.scheme() == "wss" { "ws" } else { "http" };
    let base = format!("{scheme}://127.0.0.1:{port}{}", url.path().trim_end_matches('/'));
    let host = url.host_str().unwrap_or_default();
    Route::under(&base, &url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

async fn start(python: &Path, targets: &serde_json::Value) -> Result<(Child, Vec<u16>)> {
    let broken = |source| local_stack::Error::Command { command: python.display().to_string(), source };
    // Its standard input stays open as long as the process is held, and closes with this program, however that ends.
    let mut process = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    if let Some(stdin) = process.stdin.as_mut() {
        stdin.write_all(format!("{targets}\n").as_bytes()).await.map_err(broken)?;
    }
    let mut line = String::new();
    if let Some(stdout) = process.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).await.map_err(broken)?;
    }
    let ports = serde_json::from_str(&line).map_err(|_| failed("it ended; why is said above"))?;
    Ok((process, ports))
}

fn failed(why: &str) -> Error {
    Error::Stage(format!("the process that encrypts connections cannot be used: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encrypted_address_is_reached_here_under_its_own_name() {
        let url = read("wss://abc.execute-api.eu-central-1.amazonaws.com/live").unwrap();
        let expected = Route::under("ws://127.0.0.1:5000/live", "abc.execute-api.eu-central-1.amazonaws.com");
        assert_eq!(by_way_of(&url, 5000), expected);
        let url = read("https://localhost:8443/a/").unwrap();
        assert_eq!(by_way_of(&url, 5000), Route::under("http://127.0.0.1:5000/a", "localhost:8443"));
    }

    #[tokio::test]
    async fn a_plain_address_needs_no_process() {
        let tunnel = Tunnel::open(Path::new("/no/such/python"), &["http://127.0.0.1:1/x"]).await.unwrap();
        assert_eq!(tunnel.routes(), [Route::direct("http://127.0.0.1:1/x")]);
        let error = Tunnel::open(Path::new("/no/such/python"), &["nowhere"]).await.unwrap_err().to_string();
        assert!(error.contains("`nowhere` is no URL"), "{error}");
        let error =
            Tunnel::open(Path::new("/no/such/python"), &["https://x.example"]).await.unwrap_err().to_string();
        assert!(error.contains("/no/such/python"), "{error}");
    }
}
