//! Errors as JavaScript sees them.

use crate::error::Error;

/// The `code` of a JavaScript error.
pub type Code = String;

/// Converts an error of the engine.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn js_error(error: Error) -> napi::Error<Code> {
    napi::Error::new(error.code().to_owned(), error.to_string())
}

/// Converts an error of Node-API.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub fn system_error(error: napi::Error) -> napi::Error<Code> {
    napi::Error::new("ERR_SYSTEM".to_owned(), error.reason.clone())
}
