//! Who is in a consumer group, and all the offsets that it has committed.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::admin::{Owned, no_error, request, text};

/// An offset that a group has committed, of any topic.
pub struct GroupOffset {
    /// The topic.
    pub topic: String,
    /// What was committed with it.
    pub metadata: String,
}

/// How many members a group has; none where brokers do not know the group.
pub fn group_members<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    timeout: Duration,
) -> Result<usize, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = request(consumer, operation, timeout, |client, options, queue| {
        let mut names = [name.as_ptr()];
        // SAFETY: all are alive; the one name is copied.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options, queue);
        }
    })?;
    let mut count = 0;
    // SAFETY: the event is alive and the answer to the only request that has this queue: a
    // list of `count` descriptions, which live as long as the event. The code of no error
    // is that of success.
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
        match no_error(sys::rd_kafka_error_code(error)) {
            Ok(()) => Ok(sys::rd_kafka_ConsumerGroupDescription_member_count(*groups)),
            // So brokers answer of a group that is not there, or of another kind.
            Err(RDKafkaErrorCode::GroupIdNotFound | RDKafkaErrorCode::InvalidGroupId) => Ok(0),
            Err(code) => Err(code),
        }
    }
}

/// All offsets that a group has committed.
pub fn group_offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    timeout: Duration,
) -> Result<Vec<GroupOffset>, RDKafkaErrorCode> {
    let name = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    // SAFETY: the name is a C string, which is copied; no list of partitions is all of them.
    let list = unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null()) };
    let list = Owned::new(list, sys::rd_kafka_ListConsumerGroupOffsets_destroy)?;
    let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let event = request(consumer, operation, timeout, |client, options, queue| {
        let mut lists = [list.as_ptr()];
        // SAFETY: all are alive; the one list is copied.
        unsafe {
            sys::rd_kafka_ListConsumerGroupOffsets(client, lists.as_mut_ptr(), 1, options, queue);
        }
    })?;
    let mut count = 0;
    let mut found = Vec::new();
    // SAFETY: the event is alive and the answer to the only request that has this queue: a
    // list of `count` groups with lists of `cnt` offsets, which live as long as the event.
    // Metadata are so many bytes.
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
        match no_error(sys::rd_kafka_error_code(error)) {
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
            let metadata: &[u8] = match element.metadata.is_null() {
                true => &[],
                false => {
                    std::slice::from_raw_parts(element.metadata.cast::<u8>(), element.metadata_size)
                }
            };
            found.push(GroupOffset {
                topic: text(element.topic).unwrap_or_default(),
                metadata: String::from_utf8_lossy(metadata).into_owned(),
            });
        }
    }
    Ok(found)
}
