//! Private keys in PEM, also encrypted ones.

use std::fmt;

use pkcs8::EncryptedPrivateKeyInfo;
use pkcs8::der::SecretDocument;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::TlsError;

const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const ENCRYPTED_END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
/// What OpenSSL writes into encrypted keys that are not in PKCS#8.
const LEGACY_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// Parses a private key, decrypting it if necessary.
pub fn parse_key(pem: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = String::from_utf8_lossy(pem);
    if text.contains(LEGACY_ENCRYPTION) {
        return Err(TlsError::OldEncryption);
    }
    if let Some(start) = text.find(ENCRYPTED) {
        let passphrase = passphrase.ok_or(TlsError::PassphraseMissing)?;
        let end = text.find(ENCRYPTED_END).unwrap_or(text.len()) + ENCRYPTED_END.len();
        let block = text.get(start..end).ok_or_else(|| TlsError::Key("its PEM has no end".to_owned()))?;
        return decrypt(&block.replace('\r', ""), passphrase);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::Key("no private key in PEM format was found".to_owned()),
        error => TlsError::Key(error.to_string()),
    })
}

fn decrypt(block: &str, passphrase: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |error: &dyn fmt::Display| TlsError::Key(error.to_string());
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| wrong(&error))?;
    let info = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|error| wrong(&error))?;
    if info.encryption_algorithm.pbes2().is_none() {
        return Err(TlsError::OldEncryption);
    }
    let key = info.decrypt(passphrase).map_err(|_| TlsError::PassphraseWrong)?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}
