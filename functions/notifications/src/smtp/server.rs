//! The address of the SMTP server, and how its connections are encrypted.

use std::{net::IpAddr, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServer {
    pub host: String,
    pub port: u16,
    pub encryption: Encryption,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// From the first byte (RFC 8314).
    Tls,
    /// After the command STARTTLS, without which nothing is sent (RFC 3207).
    StartTls,
    /// Only within this machine, for tests.
    None,
}

impl FromStr for SmtpServer {
    type Err = String;

    /// `smtps://host[:port]` for TLS from the first byte, `smtp://host[:port]` for STARTTLS, or for no encryption if the
    /// host is a loopback address. The ports are 465 and 587 (RFC 8314) if none is given.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "it is not smtps://host[:port] or smtp://host[:port]".to_owned();
        let (scheme, place) = text.split_once("://").ok_or_else(form)?;
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| form())?)),
            None => (place, None),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(form());
        }
        let is_loopback = host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let (encryption, usual_port) = match scheme {
            "smtps" => (Encryption::Tls, 465),
            "smtp" if is_loopback => (Encryption::None, 587),
            "smtp" => (Encryption::StartTls, 587),
            _ => return Err(form()),
        };
        Ok(Self { host: host.to_owned(), port: port.unwrap_or(usual_port), encryption })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("smtps://mail.example.com", "mail.example.com", 465, Encryption::Tls)]
    #[case("smtp://mail.example.com", "mail.example.com", 587, Encryption::StartTls)]
    #[case("smtp://mail.example.com:2525", "mail.example.com", 2525, Encryption::StartTls)]
    #[case("smtps://127.0.0.1:4465", "127.0.0.1", 4465, Encryption::Tls)]
    #[case("smtp://127.0.0.1:2525", "127.0.0.1", 2525, Encryption::None)]
    // A name may be resolved to another machine.
    #[case("smtp://localhost:2525", "localhost", 2525, Encryption::StartTls)]
    #[case("smtp://10.0.0.1", "10.0.0.1", 587, Encryption::StartTls)]
    fn only_a_loopback_address_is_reached_without_encryption(
        #[case] text: &str,
        #[case] host: &str,
        #[case] port: u16,
        #[case] encryption: Encryption,
    ) {
        assert_eq!(text.parse(), Ok(SmtpServer { host: host.to_owned(), port, encryption }));
    }

    #[rstest]
    fn another_form_is_an_error(
        #[values("mail.example.com", "http://mail.example.com", "smtp://", "smtp://:25", "smtp://host:no")]
        text: &str,
    ) {
        text.parse::<SmtpServer>().unwrap_err();
    }

    /// Settings with a password would be in templates and logs.
    #[test]
    fn credentials_in_the_address_are_an_error() {
        "smtp://user:password@mail.example.com".parse::<SmtpServer>().unwrap_err();
        "smtp://user@mail.example.com".parse::<SmtpServer>().unwrap_err();
    }
}
