//! Access for local containers to a stack that listens on 127.0.0.1 only.
//!
//! A container of Docker's default bridge reaches this machine at the bridge's own address. Listening only
//! there admits containers and no other machine, because access to the emulator means running code with it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::state::Running;

/// The interface of Docker's default bridge, and its address unless it was configured otherwise (dockerd reference,
/// `--bip`).
const BRIDGE: &str = "docker0";
const BRIDGE_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// This machine's address as containers see it.
pub fn host_address() -> Ipv4Addr {
    let shown = Command::new("ip").args(["-4", "-oneline", "address", "show", BRIDGE]).output();
    // Without `ip` or the interface: Docker's usual address.
    let shown = shown.map(|output| output.stdout).unwrap_or_default();
    address_in(&String::from_utf8_lossy(&shown)).unwrap_or(BRIDGE_ADDRESS)
}

/// Parses a line such as `3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0`.
fn address_in(line: &str) -> Option<Ipv4Addr> {
    let (_, rest) = line.split_once(" inet ")?;
    rest.split(['/', ' ']).next()?.parse().ok()
}

/// Rewrites an environment value for a function in a container. Addresses for clients (`ws://…`) stay.
pub fn seen_from_a_container(value: &str, host: Ipv4Addr) -> String {
    value.replace("http://127.0.0.1:", &format!("http://{host}:"))
}

/// Forwards connections until it is dropped.
#[derive(Debug)]
pub struct Forwarder {
    _listeners: JoinSet<()>,
}

impl Forwarder {
    /// Accepts connections at `address` and passes each on to the same port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no such address (Docker does not run), or a port is in use there.
    pub async fn start(address: Ipv4Addr, ports: &[u16]) -> Result<Self> {
        let mut listeners = JoinSet::new();
        for port in ports {
            let listener = TcpListener::bind(SocketAddrV4::new(address, *port)).await;
            let listener = listener.map_err(|error| cannot_listen(address, *port, &error))?;
            listeners.spawn(accept(listener, *port));
        }
        Ok(Self { _listeners: listeners })
    }

    /// Makes this stack reachable for containers, if it is not yet.
    ///
    /// # Errors
    /// As for [`Forwarder::start`].
    pub async fn for_stack(running: &Running, address: Ipv4Addr) -> Result<Option<Self>> {
        let gateway = SocketAddrV4::new(address, running.gateway_port);
        if TcpStream::connect(gateway).await.is_ok() {
            return Ok(None);
        }
        Self::start(address, &[running.gateway_port, running.stripe_port]).await.map(Some)
    }
}

async fn accept(listener: TcpListener, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A failed accept affects one connection, whose client sees it closed.
            Ok((inbound, _)) = listener.accept() => drop(connections.spawn(pass_on(inbound, port))),
            Some(_) = connections.join_next() => {}
            else => tokio::task::yield_now().await,
        }
    }
}

/// Either side's end is the other's.
async fn pass_on(mut inbound: TcpStream, port: u16) {
    if let Ok(mut outbound) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
    }
}

fn cannot_listen(address: Ipv4Addr, port: u16, error: &std::io::Error) -> Error {
    Error::Containers(match error.kind() {
        ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {address}, at which containers would reach the stack: Docker does not run. Start it \
             (`systemctl start docker`) and run the command again."
        ),
        ErrorKind::AddrInUse => format!(
            "port {port} of {address} is in use by another program, and containers reach the stack there. Stop that program, \
             or restart the stack with another --port."
        ),
        _ => format!("cannot listen at {address}:{port} for containers: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Linux has all of 127.0.0.0/8 on its loopback interface.
    const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    #[test]
    fn the_bridge_may_have_another_address_than_usual() {
        let line = "3: docker0    inet 10.200.0.1/24 brd 10.200.0.255 scope global docker0\\       valid_lft forever";
        assert_eq!(address_in(line), Some(Ipv4Addr::new(10, 200, 0, 1)));
        assert_eq!(address_in("Device \"docker0\" does not exist."), None);
    }

    #[test]
    fn only_addresses_that_a_function_calls_are_rewritten() {
        let host = Ipv4Addr::new(172, 17, 0, 1);
        let queue = "http://127.0.0.1:4566/000000000000/ordersaga-local-payments-commands";
        assert_eq!(
            seen_from_a_container(queue, host),
            "http://172.17.0.1:4566/000000000000/ordersaga-local-payments-commands"
        );
        for other in ["ws://127.0.0.1:4566/_aws/live", "ordersaga-local-orders", ""] {
            assert_eq!(seen_from_a_container(other, host), other);
        }
    }

    #[tokio::test]
    async fn a_connection_is_passed_on_in_both_directions_until_the_forwarder_ends() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut connection, _) = server.accept().await.unwrap();
            let mut question = [0; 4];
            connection.read_exact(&mut question).await.unwrap();
            connection.write_all(b"pong").await.unwrap();
        });
        let forwarder = Forwarder::start(OTHER, &[port]).await.unwrap();
        let mut client = TcpStream::connect((OTHER, port)).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "pong");

        drop(forwarder);
        // The listener is closed when its task has ended, which is a moment later.
        let refused = async {
            while TcpStream::connect((OTHER, port)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    }

    #[tokio::test]
    async fn an_address_that_is_not_there_is_explained_by_docker() {
        // Reserved for documentation (RFC 5737): no machine has it.
        let error = Forwarder::start(Ipv4Addr::new(192, 0, 2, 1), &[4566]).await.unwrap_err().to_string();
        assert!(error.contains("Docker does not run"), "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let holder = TcpListener::bind((OTHER, 0)).await.unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = Forwarder::start(OTHER, &[port]).await.unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("in use"), "{error}");
    }
}
