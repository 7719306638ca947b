//! [`KeptClients`]: the clients that a session keeps for its next statements.
//!
//! To connect takes longer than a small query does. A client whose statement has ended well
//! therefore stays connected for `kafka.keep_clients`, and the next statement with the same
//! settings takes it. A client is used by one statement at a time.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::execution::config::SessionConfig;
use rdkafka::ClientConfig;

use super::threads;
use crate::options::TableOptions;

/// The most idle clients that a session keeps.
const MOST: usize = 16;

/// The idle clients of a session, for its statements. The default keeps none.
///
/// The session owns the clients: those that use this value do not prolong their life.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptClients(Weak<IdleClients>);

impl KeptClients {
    /// Lets a session keep clients.
    pub(crate) fn register(config: &mut SessionConfig) {
        if config.get_extension::<IdleClients>().is_none() {
            config.set_extension(Arc::new(IdleClients::default()));
        }
    }

    /// The clients of a session. A session that is not prepared for Kafka keeps none.
    pub(crate) fn of(config: &SessionConfig) -> Self {
        let idle = config.get_extension::<IdleClients>();
        KeptClients(idle.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// The place of a client for this topic, or for no topic, which is created from `config`.
    /// `None` where it is not kept.
    pub(crate) fn place(
        &self,
        topic: Option<&str>,
        config: &ClientConfig,
        options: &TableOptions,
    ) -> Option<Place> {
        let keeps = !options.keep_clients.is_zero() && self.0.strong_count() > 0;
        keeps.then(|| Place {
            clients: self.0.clone(),
            settings: Settings::new(topic, config, options.timeout),
            time: options.keep_clients,
        })
    }
}

/// A client that another statement can use after the one that created it.
pub(crate) trait Reuse: Send + 'static {
    /// Forgets what the client has heard in earlier statements. False if it heard of a failure
    /// since the last success, such as a closed connection: a new client takes its place.
    fn renew(&self) -> bool;
}

/// Where a client goes when its statement has ended well.
pub(crate) struct Place {
    clients: Weak<IdleClients>,
    settings: Settings,
    time: Duration,
}

impl Place {
    /// Takes the idle client that was used last, if there is one with these settings.
    pub(crate) fn take<C: Reuse>(&self) -> Option<C> {
        loop {
            let client = self.clients.upgrade()?.take::<C>(&self.settings)?;
            if client.renew() {
                return Some(client);
            }
        }
    }

    /// Keeps a client. A session that has ended meanwhile does not: the client is dropped.
    pub(crate) fn give_back<C: Reuse>(self, client: C) {
        if let Some(clients) = self.clients.upgrade() {
            clients.add(Idle {
                settings: self.settings,
                client: Box::new(client),
                until: Instant::now() + self.time,
            });
        }
    }
}

/// All that makes one client different from another. Holds secrets.
#[derive(PartialEq, Eq)]
struct Settings {
    topic: Option<String>,
    timeout: Duration,
    log_level: i32,
    properties: BTreeMap<String, String>,
}

impl Settings {
    fn new(topic: Option<&str>, config: &ClientConfig, timeout: Duration) -> Self {
        // The values of the map hide secrets, which have to be compared too.
        let names = config.config_map().into_keys();
        let properties = names.filter_map(|name| {
            let value = config.get(name)?;
            Some((name.to_owned(), value.to_owned()))
        });
        Settings {
            topic: topic.map(str::to_owned),
            timeout,
            log_level: config.log_level as i32,
            properties: properties.collect(),
        }
    }
}

/// The idle clients of a session: an extension of its configuration.
#[derive(Default)]
struct IdleClients(Mutex<State>);

#[derive(Default)]
struct State {
    /// The client that was used last comes last.
    idle: Vec<Idle>,
    /// The other end is the thread that closes clients when their time is over. The thread ends
    /// when this end is dropped.
    timer: Option<Sender<()>>,
}

struct Idle {
    settings: Settings,
    client: Box<dyn Any + Send>,
    until: Instant,
}

impl IdleClients {
    fn take<C: Reuse>(&self, settings: &Settings) -> Option<C> {
        let mut state = self.state();
        let fits = |idle: &Idle| idle.client.is::<C>() && idle.settings == *settings;
        let place = state.idle.iter().rposition(fits)?;
        let client = state.idle.remove(place).client;
        client.downcast().ok().map(|client| *client)
    }

    fn add(self: &Arc<Self>, idle: Idle) {
        let mut state = self.state();
        let next = state.idle.iter().map(|idle| idle.until).min();
        let until = idle.until;
        state.idle.push(idle);
        let mut closed = Vec::new();
        if state.idle.len() > MOST {
            closed.push(state.idle.remove(0));
        }
        match &state.timer {
            // A failure to send means that the thread has died.
            Some(timer) if next.is_some_and(|next| next <= until) || timer.send(()).is_ok() => {}
            _ => match self.start_timer(until) {
                Ok(timer) => state.timer = Some(timer),
                Err(error) => {
                    log::warn!("Kafka clients are not kept: {error}");
                    closed.append(&mut state.idle);
                }
            },
        }
        drop(state);
        drop(closed);
    }

    fn start_timer(self: &Arc<Self>, first: Instant) -> std::io::Result<Sender<()>> {
        let clients = Arc::downgrade(self);
        let (timer, woken) = channel();
        threads::spawn("kafka-kept-clients".to_owned(), move || {
            close_in_time(&clients, &woken, first);
        })?;
        Ok(timer)
    }

    /// Closes the clients whose time is over, and returns when the next one is due. `None` if
    /// no client is left, and the thread that asks ends.
    fn close_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let due: Vec<_> = state
            .idle
            .extract_if(.., |idle| idle.until <= now)
            .collect();
        let next = state.idle.iter().map(|idle| idle.until).min();
        if next.is_none() {
            state.timer = None;
        }
        drop(state);
        drop(due);
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes clients when their time is over, until none is kept or the session is dropped.
fn close_in_time(clients: &Weak<IdleClients>, woken: &Receiver<()>, first: Instant) {
    let mut next = first;
    loop {
        match woken.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match clients.upgrade().and_then(|clients| clients.close_due()) {
            Some(due) => next = due,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests;
