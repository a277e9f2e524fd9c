use std::net::TcpListener;

use crate::error::{Error, Result};
use crate::settings::Port;

/// A port that is free now, and whether it is another than the preferred one.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    pub port: u16,
    pub instead_of: Option<u16>,
}

/// # Errors
/// The requested port is in use.
pub fn choose(wish: Port, bind: &str, what: &'static str, option: &'static str) -> Result<Chosen> {
    match wish {
        Port::Exactly(port) if is_free(bind, port) => Ok(Chosen { port, instead_of: None }),
        Port::Exactly(port) => Err(Error::PortInUse { port, what, option }),
        Port::Preferably(port) if is_free(bind, port) => Ok(Chosen { port, instead_of: None }),
        Port::Preferably(port) => Ok(Chosen { port: any(bind, what, option)?, instead_of: Some(port) }),
        Port::Any => Ok(Chosen { port: any(bind, what, option)?, instead_of: None }),
    }
}

fn is_free(bind: &str, port: u16) -> bool {
    TcpListener::bind((bind, port)).is_ok()
}

fn any(bind: &str, what: &'static str, option: &'static str) -> Result<u16> {
    TcpListener::bind((bind, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|_| Error::PortInUse { port: 0, what, option })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_taken_port_is_replaced_unless_it_was_asked_for() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap().port();

        let chosen = choose(Port::Preferably(taken), "127.0.0.1", "gateway", "--port").unwrap();
        assert_ne!(chosen.port, taken);
        assert_eq!(chosen.instead_of, Some(taken));

        let refused = choose(Port::Exactly(taken), "127.0.0.1", "gateway", "--port").unwrap_err().to_string();
        assert!(refused.contains(&taken.to_string()) && refused.contains("--port"), "{refused}");

        drop(holder);
        // A process that another test is just starting may hold the port for a moment, because it inherits
        // its parent's open sockets until it executes the other program.
        let deadline = Instant::now() + Duration::from_secs(5);
        let free = loop {
            match choose(Port::Exactly(taken), "127.0.0.1", "gateway", "--port") {
                Err(_) if Instant::now() < deadline => std::thread::yield_now(),
                chosen => break chosen.unwrap(),
            }
        };
        assert_eq!(free, Chosen { port: taken, instead_of: None });
    }
}
