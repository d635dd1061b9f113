//! Certificates and keys in PEM.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as RustlsError, InconsistentKeys};

use super::key::parse_key;
use crate::error::TlsError;

/// A server's certificates and keys, all in PEM.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Certificate chains, one for each key, each with the server's own certificate first.
    pub certs: Vec<Vec<u8>>,
    /// Private keys, in any order.
    pub keys: Vec<Vec<u8>>,
    /// The passphrase of encrypted keys.
    pub passphrase: Option<Vec<u8>>,
    /// Certificate authorities: they complete chains, and verify client certificates.
    pub ca: Vec<Vec<u8>>,
    /// Whether clients must present a certificate signed by one of `ca`.
    pub request_cert: bool,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and passphrases are never printed.
        f.debug_struct("Credentials").field("request_cert", &self.request_cert).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Parses the authorities.
    pub fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let lists: Result<Vec<_>, _> =
            self.ca.iter().map(|pem| parse_certificates(pem, TlsError::Authority)).collect();
        Ok(lists?.concat())
    }

    /// Parses the certificate chains, and finds the key of each.
    pub fn certified_keys(
        &self,
        ca: &[CertificateDer<'static>],
        provider: &CryptoProvider,
    ) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
        if self.certs.is_empty() {
            return Err(TlsError::Certificate("there is none".to_owned()));
        }
        let passphrase = self.passphrase.as_deref();
        let keys = self.keys.iter().map(|pem| parse_key(pem, passphrase)).collect::<Result<Vec<_>, _>>();
        let mut keys = keys?;
        if keys.is_empty() {
            return Err(TlsError::Key("there is none".to_owned()));
        }
        let mut certified = Vec::new();
        for pem in &self.certs {
            let mut chain = parse_certificates(pem, TlsError::Certificate)?;
            complete(&mut chain, ca)?;
            certified.push(Arc::new(take_key(chain, &mut keys, provider)?));
        }
        if keys.is_empty() { Ok(certified) } else { Err(TlsError::Mismatch) }
    }
}

/// Removes the key of a certificate chain from `keys`, and returns both.
fn take_key(
    chain: Vec<CertificateDer<'static>>,
    keys: &mut Vec<PrivateKeyDer<'static>>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    for (index, key) in keys.iter().enumerate() {
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), provider) {
            Ok(certified) => {
                keys.remove(index);
                return Ok(certified);
            }
            Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {}
            Err(RustlsError::InvalidCertificate(error)) => {
                return Err(TlsError::Certificate(error.to_string()));
            }
            Err(error) => return Err(TlsError::Key(error.to_string())),
        }
    }
    Err(TlsError::Mismatch)
}

fn parse_certificates(
    pem: &[u8],
    wrong: fn(String) -> TlsError,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("no certificate in PEM format was found".to_owned()));
    }
    for certificate in &found {
        webpki::EndEntityCert::try_from(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(found)
}

/// Adds the missing intermediate certificates to a chain, as OpenSSL does. Clients have the root.
fn complete(
    chain: &mut Vec<CertificateDer<'static>>,
    ca: &[CertificateDer<'static>],
) -> Result<(), TlsError> {
    // Each authority at most once, even if they have signed each other.
    for _ in ca {
        let Some(last) = chain.last() else { return Ok(()) };
        let issuer = parse(last)?.issuer().to_vec();
        let mut next = None;
        for authority in ca {
            let authority_names = parse(authority)?;
            if authority_names.subject() == issuer && authority_names.issuer() != issuer {
                next = Some(authority.clone());
                break;
            }
        }
        match next {
            Some(next) if !chain.contains(&next) => chain.push(next),
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<webpki::EndEntityCert<'a>, TlsError> {
    webpki::EndEntityCert::try_from(certificate).map_err(|error| TlsError::Certificate(error.to_string()))
}
