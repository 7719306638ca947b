//! A small HTTP server for metrics and probes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// The response to a path.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Page {
    pub(crate) fn plain(status: StatusCode, text: &str) -> Self {
        Page {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{text}\n"),
        }
    }
}

/// The page at a path; `None` for a path without a page.
type Pages = dyn Fn(&str) -> Option<Page> + Send + Sync;

/// A server that runs until it is closed.
pub(crate) struct Server {
    address: SocketAddr,
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// The time limit of a connection, which carries one request and its response.
const PATIENCE: Duration = Duration::from_secs(10);

/// The maximum number of open connections. Others wait to be accepted.
const CONNECTIONS: usize = 64;

/// The maximum size of a request's head.
const REQUEST_BYTES: usize = 16 * 1024;

/// The pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_secs(1);

impl Server {
    /// Serves these pages at `HOST:PORT`; port 0 is any free port.
    ///
    /// # Errors
    /// An I/O error when the address cannot be listened on, for example because the port is in use.
    pub(crate) async fn start(
        address: &str,
        pages: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (close, closed) = oneshot::channel();
        let task = tokio::spawn(serve(listener, Arc::new(pages), closed));
        Ok(Server {
            address,
            close,
            task,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and all connections.
    pub(crate) async fn close(self) {
        // Both calls fail only when the server has already ended.
        let _ = self.close.send(());
        let _ = self.task.await;
    }
}

async fn serve(listener: TcpListener, pages: Arc<Pages>, mut closed: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut closed => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(timeout(PATIENCE, answer(stream, Arc::clone(&pages))));
                }
                Err(error) => {
                    log::warn!("a connection for metrics could not be accepted: {error}");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

/// Answers the only request of a connection.
async fn answer(stream: TcpStream, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        std::future::ready(Ok::<_, Infallible>(response(&request, &*pages)))
    });
    let served = http1::Builder::new()
        // No client can hold a connection open.
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        log::debug!("a connection for metrics failed: {error}");
    }
}

fn response(request: &Request<Incoming>, pages: &Pages) -> Response<Full<Bytes>> {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let page = match pages(request.uri().path()) {
        None => Page::plain(StatusCode::NOT_FOUND, "there is no such page"),
        Some(_) if !reads => Page::plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"),
        Some(page) => page,
    };
    let mut response = Response::new(Full::from(page.body));
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    if page.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
