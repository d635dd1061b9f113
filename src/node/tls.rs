//! Certificates and keys as they come from JavaScript.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use crate::relay::Credentials;

/// What TLS is spoken with, everything in PEM.
#[napi(object)]
pub struct NativeCredentials {
    /// Certificate chains.
    pub certs: Vec<Buffer>,
    /// Private keys.
    pub keys: Vec<Buffer>,
    /// What keys are encrypted with.
    pub passphrase: Option<String>,
    /// Authorities.
    pub ca: Vec<Buffer>,
    /// Whether clients have to have a certificate.
    pub request_cert: bool,
}

impl From<NativeCredentials> for Credentials {
    fn from(native: NativeCredentials) -> Self {
        let copied = |pems: Vec<Buffer>| pems.into_iter().map(Vec::from).collect();
        let NativeCredentials { certs, keys, passphrase, ca, request_cert } = native;
        let (certs, keys, ca) = (copied(certs), copied(keys), copied(ca));
        Self { certs, keys, passphrase: passphrase.map(String::into_bytes), ca, request_cert }
    }
}
