//! A connection's handshake: reads its one request, responds, and returns it if it is a WebSocket from then on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::admission::{Admission, RemoteClient};
use super::request;
use super::service::{HttpService, Reply, Upgrade};
use super::upgrade::UpgradeError;
use super::verify_request::{Verdict, VerdictReceiver, VerifyRequest, rejection_response};
use crate::access::AddressKey;
use crate::limits::Limits;
use crate::metrics::Rejection;
use crate::session::Shared;
use crate::wire::{self, Turn};

/// A connection that is a WebSocket from now on.
#[derive(Debug)]
pub struct Upgraded<C> {
    /// The connection.
    pub connection: C,
    /// Bytes received after the request.
    pub early: Vec<u8>,
    /// The client.
    pub client: RemoteClient,
}

/// A connection whose request another server has read.
#[derive(Debug)]
pub struct Handover<C> {
    /// The connection.
    pub connection: C,
    /// The response to the request.
    pub response: Vec<u8>,
    /// Bytes received after the request.
    pub early: Vec<u8>,
    /// The client.
    pub client: RemoteClient,
}

/// Serves the one request of a connection, unless the relay is closed before.
pub async fn upgrade<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    admission: Admission,
    service: Arc<HttpService>,
) -> Option<Upgraded<C>> {
    let mut serving = pin!(serve_request(connecting, admission, &service));
    tokio::select! {
        biased;
        upgraded = &mut serving => upgraded,
        // Polled once more: the relay may have closed during the last poll, and a client that waits for a verdict gets a
        // response.
        () = service.shared.stop.cancelled() => serving.now_or_never().flatten(),
    }
}

/// Serves the one request of a connection that is rejected whatever it asks for.
pub async fn reject<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    admission: Admission,
    service: Arc<HttpService>,
) {
    serve_request(connecting, admission, &service).await;
}

/// Sends the response to a request that another server has read, unless the relay is closed before.
pub async fn complete<C: AsyncWrite + Unpin>(handover: Handover<C>, shared: &Shared) -> Option<Upgraded<C>> {
    let Handover { mut connection, response, early, client } = handover;
    tokio::select! {
        biased;
        written = timeout(shared.limits.headers_timeout, connection.write_all(&response)) => written.ok()?.ok()?,
        () = shared.stop.cancelled() => return None,
    }
    Some(Upgraded { connection, early, client })
}

/// Sends a response to a request that another server has read, and closes the connection.
pub async fn respond_and_close<C: AsyncRead + AsyncWrite + Unpin>(
    mut connection: C,
    response: Vec<u8>,
    shared: Arc<Shared>,
) {
    let written = timeout(shared.limits.headers_timeout, connection.write_all(&response)).await;
    if matches!(written, Ok(Ok(()))) {
        close(connection, shared.limits.close_timeout).await;
    }
}

/// Waits for the connection, serves its request within the time limit, and closes it unless it was upgraded.
async fn serve_request<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    admission: Admission,
    service: &HttpService,
) -> Option<Upgraded<C>> {
    let limits = &service.shared.limits;
    // The verifier has as long again as the request.
    let patience = limits.headers_timeout * if service.verify_queue.has_verifier() { 2 } else { 1 };
    // Boxed: an open connection needs no room for its handshake.
    let responding = Box::pin(respond(connecting, &admission, service));
    let Ok(responded) = timeout(patience, responding).await else {
        service.shared.metrics.connection_rejected(Rejection::HeadersTimeout);
        return None;
    };
    let rejected = match responded? {
        (connection, Outcome::Upgraded { client, early }) => {
            let client = client.or(admission.into_client()).unwrap_or_default();
            return Some(Upgraded { connection, early, client });
        }
        (connection, Outcome::Rejected) => connection,
    };
    close(rejected, limits.close_timeout).await;
    None
}

/// How a request was responded to.
enum Outcome {
    /// The connection is a WebSocket. `client` is `Some` if the request identified it.
    Upgraded { client: Option<RemoteClient>, early: Vec<u8> },
    /// The connection is to be closed.
    Rejected,
}

impl Outcome {
    /// Returns the response that opens a WebSocket, and the outcome once it is sent.
    fn upgraded(Upgrade { response, client }: Upgrade, early: Vec<u8>) -> (Vec<u8>, Self) {
        (response, Self::Upgraded { client, early })
    }
}

/// Reads the request and sends the response. Returns `None` if the client closes the connection before.
async fn respond<C: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = Option<C>>,
    admission: &Admission,
    service: &HttpService,
) -> Option<(C, Outcome)> {
    let mut connection = connecting.await?;
    crate::faults::point("handshake");
    let limits = &service.shared.limits;
    let read = request::read(&mut connection, limits, |request| service.reply(admission, request)).await;
    let (reply, mut early) = read.ok()?;
    let (response, outcome) = match reply {
        Reply::Respond(response) => (response, Outcome::Rejected),
        Reply::Upgrade(upgrade) => Outcome::upgraded(upgrade, early),
        Reply::Verify(upgrade, question) => {
            let client = admission.client().or(upgrade.client.as_ref());
            let address = client.and_then(|client| client.address_key);
            // Boxed: without a verifier this needs no room.
            match Box::pin(verify(question, address, &mut connection, &mut early, service)).await? {
                Ok(()) => Outcome::upgraded(upgrade, early),
                Err(rejection) => (rejection, Outcome::Rejected),
            }
        }
    };
    connection.write_all(&response).await.ok()?;
    connection.flush().await.ok()?;
    Some((connection, outcome))
}

/// Asks the verifier about a request, as long as its client waits; adds what the client sends to `early`. Returns the
/// response if the request is rejected, `None` if the client has gone.
async fn verify<C: AsyncRead + Unpin>(
    question: Box<(VerifyRequest, VerdictReceiver)>,
    address: Option<AddressKey>,
    connection: &mut C,
    early: &mut Vec<u8>,
    service: &HttpService,
) -> Option<Result<(), Vec<u8>>> {
    tokio::select! {
        biased;
        verdict = wait_for_verdict(question, address, service) => Some(verdict),
        () = client_gone(connection, early) => None,
    }
}

/// Waits for the verifier's verdict. A request without one in time is rejected.
async fn wait_for_verdict(
    question: Box<(VerifyRequest, VerdictReceiver)>,
    address: Option<AddressKey>,
    service: &HttpService,
) -> Result<(), Vec<u8>> {
    let (request, receiver) = *question;
    let HttpService { shared, verify_queue, .. } = service;
    let reject = |why, response: super::response::Response<'_>| {
        shared.metrics.connection_rejected(why);
        Err(response.to_bytes(true))
    };
    let _queued = verify_queue.add(address, request);
    let verdict = tokio::select! {
        verdict = timeout(shared.limits.headers_timeout, receiver) => verdict.ok().and_then(Result::ok),
        () = shared.stop.cancelled() => return reject(Rejection::Closing, UpgradeError::Closing.response()),
    };
    match verdict {
        Some(Verdict::Admitted) => Ok(()),
        Some(Verdict::Rejected { why, status, text, headers }) => {
            reject(why, rejection_response(status, text.as_deref(), &headers))
        }
        None => reject(Rejection::Undecided, UpgradeError::NoVerdict.response()),
    }
}

/// Waits until the client closes its side of the connection, or exceeds [`Limits::MAX_EARLY_BYTES`]. What it sends is added
/// to `early`.
async fn client_gone<C: AsyncRead + Unpin>(connection: &mut C, early: &mut Vec<u8>) {
    let mut turn = Turn::default();
    let mut is_open = |bytes: &[u8]| {
        early.extend_from_slice(bytes);
        !bytes.is_empty() && early.len() <= Limits::MAX_EARLY_BYTES
    };
    poll_fn(|cx| {
        while matches!(ready!(wire::poll_read(connection, &mut turn, cx, &mut is_open)), Ok(true)) {}
        Poll::Ready(())
    })
    .await;
}

/// Closes a connection after its response.
async fn close<C: AsyncRead + AsyncWrite + Unpin>(mut connection: C, patience: Duration) {
    let closing = async {
        connection.shutdown().await?;
        // Closing with unread bytes would reset the connection, and the client might miss the response.
        wire::discard(&mut connection, &mut Turn::default(), Limits::MAX_DISCARDED_BYTES).await
    };
    // Any outcome ends the connection. Boxed: an open connection needs no room for this.
    timeout(patience, Box::pin(closing)).await.ok();
}
