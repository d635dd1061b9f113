//! The HTTP side of the port: upgrades WebSocket requests and answers all others.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::limits::Limits;

/// Answers the connection's one request. When it is a WebSocket upgrade: the stream, with nothing of HTTP around
/// it, and the bytes that came behind the request.
pub async fn upgrade(stream: TcpStream, limits: &Limits) -> Option<(TcpStream, Bytes)> {
    let pending = Arc::new(Mutex::new(None::<OnUpgrade>));
    let service = service_fn(|mut request: Request<hyper::body::Incoming>| {
        let response = respond(&request);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
        }
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(Limits::MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    timeout(limits.headers_timeout, connection).await.ok()?.ok()?;
    let pending = pending.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    let parts = pending.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

type Answer = Response<String>;

/// 101 to a WebSocket upgrade, or what else to answer.
fn respond<B>(request: &Request<B>) -> Answer {
    if !request.headers().contains_key(header::UPGRADE) {
        return upgrade_required("This is a WebSocket server.\n");
    }
    let mut response = match create_response_with_body(request, String::new) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            return upgrade_required("Only version 13 of WebSocket is spoken here.\n");
        }
        Err(error) => return answer(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    // Whoever asks for subprotocols must get one; which one means nothing here.
    if let Some(protocol) = first_protocol(request.headers()) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn upgrade_required(text: &str) -> Answer {
    let mut response = answer(StatusCode::UPGRADE_REQUIRED, text.to_owned());
    let headers: [(HeaderName, &'static str); 3] = [
        (header::CONNECTION, "upgrade, close"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn answer(status: StatusCode, text: String) -> Answer {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    // One request a connection: whoever wants another connects again.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}
