//! The members of a consumer group, and all offsets that it has committed.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, bytes, check, text};
use crate::request::request;

/// An offset that a consumer group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to be read.
    pub offset: i64,
    /// The text that was committed with it, often empty.
    pub metadata: String,
}

/// The number of members of a consumer group; 0 for a group that brokers do not know, or that
/// is of another kind.
///
/// The client need not be in the group, nor have a `group.id`. Needs the right `DESCRIBE` on
/// the group. Blocks up to `timeout`, and cannot be cancelled.
///
/// # Errors
/// [`RDKafkaErrorCode::OperationTimedOut`] when no answer came,
/// [`RDKafkaErrorCode::InvalidGroupId`] for a name with a zero byte, otherwise the broker's
/// code, such as [`RDKafkaErrorCode::GroupAuthorizationFailed`].
pub fn group_member_count<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    timeout: Duration,
) -> Result<usize, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = request(consumer, describe, timeout, |client, options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: all are alive. The one name is copied.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options, queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: the event is alive. Its result is null or a list of `count` descriptions, which
    // live as long. A null error has the code of no error.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.as_ptr());
        if result.is_null() {
            return Ok(0);
        }
        let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        if groups.is_null() || count == 0 || (*groups).is_null() {
            return Ok(0);
        }
        let error = sys::rd_kafka_ConsumerGroupDescription_error(*groups);
        match check(sys::rd_kafka_error_code(error)) {
            Ok(()) => Ok(sys::rd_kafka_ConsumerGroupDescription_member_count(*groups)),
            // The answers for a group that does not exist, and for one of another kind.
            Err(RDKafkaErrorCode::GroupIdNotFound | RDKafkaErrorCode::InvalidGroupId) => Ok(0),
            Err(code) => Err(code),
        }
    }
}

/// All offsets that a consumer group has committed, of any topic; empty for a group that
/// brokers do not know.
///
/// The client need not be in the group, nor have a `group.id`. Needs the right `DESCRIBE` on
/// the group, and on a topic for its offsets. Blocks up to `timeout`, and cannot be cancelled.
///
/// # Errors
/// As [`group_member_count`].
pub fn group_offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    timeout: Duration,
) -> Result<Vec<GroupOffset>, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    // SAFETY: the name is a C string, which is copied. A null list of partitions asks for all
    // of them. The request is new, and destroyed by `Owned` alone.
    let asked = unsafe {
        let asked = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null());
        Owned::new(asked, sys::rd_kafka_ListConsumerGroupOffsets_destroy)
    };
    let asked = asked.ok_or(RDKafkaErrorCode::InvalidGroupId)?;
    let list = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let event = request(consumer, list, timeout, |client, options, queue| {
        let mut groups = [asked.as_ptr()];
        // SAFETY: all are alive. The one request is copied.
        unsafe {
            sys::rd_kafka_ListConsumerGroupOffsets(client, groups.as_mut_ptr(), 1, options, queue);
        }
    })?;
    let mut count = 0;
    let mut found = Vec::new();
    // SAFETY: the event is alive. Its result is null or a list of `count` groups, each with a
    // list of `cnt` offsets, which live as long. An offset's metadata are null or
    // `metadata_size` bytes. A null error has the code of no error.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.as_ptr());
        if result.is_null() {
            return Ok(found);
        }
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        if groups.is_null() || count == 0 || (*groups).is_null() {
            return Ok(found);
        }
        let error = sys::rd_kafka_group_result_error(*groups);
        match check(sys::rd_kafka_error_code(error)) {
            Err(RDKafkaErrorCode::GroupIdNotFound) => return Ok(found),
            other => other?,
        }
        let offsets = sys::rd_kafka_group_result_partitions(*groups);
        if offsets.is_null() || (*offsets).elems.is_null() {
            return Ok(found);
        }
        let elements = usize::try_from((*offsets).cnt).unwrap_or_default();
        for index in 0..elements {
            let element = &*(*offsets).elems.add(index);
            if element.offset < 0 {
                continue;
            }
            let metadata = bytes(element.metadata, element.metadata_size).unwrap_or_default();
            found.push(GroupOffset {
                topic: text(element.topic).unwrap_or_default(),
                partition: element.partition,
                offset: element.offset,
                metadata: String::from_utf8_lossy(metadata).into_owned(),
            });
        }
    }
    Ok(found)
}
