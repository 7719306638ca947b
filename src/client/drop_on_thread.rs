//! Destroys clients off the runtime's workers.

use std::ops::Deref;

use super::threads;

/// A librdkafka client that is destroyed on a thread of its own: destroying a client waits for
/// librdkafka's threads, which a Tokio worker must not do.
pub(crate) struct DropOnThread<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> DropOnThread<T> {
    pub(crate) fn new(client: T) -> Self {
        threads::client_was_made();
        DropOnThread(Some(client))
    }

    /// Takes the client out of a value that is being dropped.
    pub(crate) fn take(&mut self) -> Self {
        DropOnThread(self.0.take())
    }
}

impl<T: Send + 'static> Deref for DropOnThread<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("only empty while it is dropped"),
        }
    }
}

impl<T: Send + 'static> Drop for DropOnThread<T> {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else {
            return;
        };
        let spawned = threads::spawn("kafka-client-drop".to_owned(), move || drop(client));
        if let Err(error) = spawned {
            log::warn!("a Kafka client was destroyed in place: {error}");
        }
        threads::client_was_dropped();
    }
}
