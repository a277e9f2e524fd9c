//! An SMTP server with TLS and a certificate of its own.

use std::{io, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use lambda_kit::smtp_server::SmtpServer;
use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};

/// The name that the certificate is for.
pub const HOST: &str = "localhost";

struct Key(EcdsaKeyPair);

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.map(|signature| signature.as_ref().to_vec()).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// When the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    AtOnce,
    ByCommand,
}

/// Lets the server listen with TLS. Returns its port and its certificate.
pub async fn listen(server: &SmtpServer, begin: Begin) -> (u16, CertificateDer<'static>) {
    let (acceptor, certificate) = acceptor();
    if begin == Begin::ByCommand {
        server.offers_starttls();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move { serve(&server, &acceptor, begin, stream).await });
        }
    });
    (port, certificate)
}

async fn serve(
    server: &SmtpServer,
    acceptor: &TlsAcceptor,
    begin: Begin,
    stream: TcpStream,
) -> io::Result<()> {
    if begin == Begin::AtOnce {
        server.serve(acceptor.accept(stream).await?).await?;
    } else if let Some(stream) = server.serve(stream).await? {
        server.converse(acceptor.accept(stream).await?).await?;
    }
    Ok(())
}

fn acceptor() -> (TlsAcceptor, CertificateDer<'static>) {
    let key = Key(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());
    let mut certificate = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    certificate.serial_number = Some(1.into());
    let certificate = certificate.self_signed(&key).unwrap().der().clone();
    let key = key.0.to_pkcs8v1().unwrap().as_ref().to_vec();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.clone()], PrivatePkcs8KeyDer::from(key).into());
    (TlsAcceptor::from(Arc::new(config.unwrap())), certificate)
}
