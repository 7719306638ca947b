#![doc = include_str!("../README.md")]
#![allow(
    unsafe_code,
    reason = "each module but `record` calls librdkafka's C interface"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod bootstrap;
mod broker_config;
mod create_topic;
mod ffi;
mod flush;
mod group;
mod message_queue;
mod messages;
mod partition_reader;
mod partitioner;
mod record;
mod request;
mod topic;
mod topic_description;
mod transaction;

pub use bootstrap::rebootstrap;
pub use create_topic::CreateTopicError;
pub use flush::flush;
pub use group::{GroupOffset, group_member_count, group_offsets};
pub use message_queue::MessageQueue;
pub use messages::{Message, Messages, Run};
pub use partition_reader::PartitionReader;
pub use partitioner::{crc32_partition, murmur2_partition};
pub use record::{Record, VisitHeader};
pub use topic::TopicHandle;
pub use topic_description::{TopicDescription, TopicId};
pub use transaction::failed_transaction_error;
