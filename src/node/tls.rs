//! Certificates and keys as JavaScript passes them.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use crate::relay::Credentials;

/// TLS credentials, all in PEM.
#[napi(object)]
pub struct NativeCredentials {
    /// Certificate chains.
    pub certs: Vec<Buffer>,
    /// Private keys.
    pub keys: Vec<Buffer>,
    /// The passphrase of encrypted keys.
    pub passphrase: Option<String>,
    /// Certificate authorities that client certificates are checked against.
    pub ca: Vec<Buffer>,
    /// Whether clients must present a certificate.
    pub request_cert: bool,
}

impl From<NativeCredentials> for Credentials {
    fn from(native: NativeCredentials) -> Self {
        let copy = |pems: Vec<Buffer>| pems.into_iter().map(Vec::from).collect();
        let NativeCredentials { certs, keys, passphrase, ca, request_cert } = native;
        let (certs, keys, ca) = (copy(certs), copy(keys), copy(ca));
        Self { certs, keys, passphrase: passphrase.map(String::into_bytes), ca, request_cert }
    }
}
