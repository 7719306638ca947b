//! Creates the topic of an INSERT (`kafka.create_topic`).

use std::time::{Duration, Instant};

use datafusion::error::Result as DataFusionResult;

use crate::client::{Client, KeptClients, blocking};
use crate::error::{Error, Result};
use crate::options::TableOptions;

/// Makes sure that the topic exists before records are sent to it.
///
/// # Errors
/// [`Error::TopicNotFound`] if the topic is missing and `kafka.create_topic` is not set,
/// [`Error::CreateTopic`] if the broker refuses to create it, [`Error::Denied`], and
/// [`Error::Connect`] after `kafka.timeout`.
pub(crate) async fn ensure_topic(
    topic: &str,
    options: &TableOptions,
    kept: &KeptClients,
) -> DataFusionResult<()> {
    match look_up(topic, options, Duration::ZERO, kept).await? {
        Ok(()) => Ok(()),
        Err(Error::TopicNotFound { topic, servers, .. }) if options.create_topic.is_none() => {
            let hint = "; create it, or set `kafka.create_topic` = `true`".to_owned();
            Err(Error::TopicNotFound {
                topic,
                servers,
                hint,
            }
            .into())
        }
        Err(Error::TopicNotFound { .. }) if options.dry_run => Ok(()),
        Err(Error::TopicNotFound { .. }) => {
            create_topic(topic, options).await?;
            // Not every broker knows a new topic immediately, so the look-up is repeated.
            Ok(look_up(topic, options, options.timeout, kept).await??)
        }
        Err(error) => Err(error.into()),
    }
}

async fn look_up(
    topic: &str,
    options: &TableOptions,
    wait: Duration,
    kept: &KeptClients,
) -> DataFusionResult<Result<()>> {
    let (topic, options, kept) = (topic.to_owned(), options.clone(), kept.clone());
    blocking(move |cancel| {
        let client = Client::kept(&topic, &options, &kept)?;
        let deadline = Instant::now() + wait;
        loop {
            match client.partitions(cancel) {
                Err(Error::TopicNotFound { .. })
                    if Instant::now() < deadline && !cancel.is_cancelled() =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                result => return Ok(result.map(|_| ())),
            }
        }
    })
    .await
}

async fn create_topic(topic: &str, options: &TableOptions) -> DataFusionResult<()> {
    let (topic, options) = (topic.to_owned(), options.clone());
    blocking(move |cancel| match &options.create_topic {
        Some(new) => Client::new(&topic, &options)?.create(new, cancel),
        None => Ok(()),
    })
    .await
}
