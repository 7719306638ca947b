//! What a broker is configured with.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::TopicHandle;
use crate::admin::{Owned, no_error, text};

impl<C: ConsumerContext> TopicHandle<C> {
    /// Asks a broker for the value of one of its settings; `None` where it has none.
    pub fn broker_config(
        &self,
        broker: i32,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<String>, RDKafkaErrorCode> {
        let (Ok(id), Ok(name)) = (CString::new(broker.to_string()), CString::new(name)) else {
            return Err(RDKafkaErrorCode::InvalidArgument);
        };
        // SAFETY: the id is a C string, which is copied.
        let resource = unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER;
            sys::rd_kafka_ConfigResource_new(kind, id.as_ptr())
        };
        let resource = Owned::new(resource, sys::rd_kafka_ConfigResource_destroy)?;
        // Only what is named is told.
        // SAFETY: the resource is alive; both are C strings, which are copied.
        no_error(unsafe {
            let value = c"".as_ptr();
            sys::rd_kafka_ConfigResource_set_config(resource.as_ptr(), name.as_ptr(), value)
        })?;
        let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let event = self.request(describe, timeout, |client, options, queue| {
            // SAFETY: all are alive; the list of one resource is copied. The broker that it
            // names is asked.
            unsafe {
                sys::rd_kafka_DescribeConfigs(client, &mut resource.as_ptr(), 1, options, queue);
            }
        })?;
        let (mut count, mut entries) = (0, 0);
        // SAFETY: the event is alive and the answer to the only request that has this
        // queue: a list of `count` resources with lists of `entries` settings, which live
        // as long as the event.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
            if result.is_null() {
                return Ok(None);
            }
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
            if resources.is_null() || count == 0 || (*resources).is_null() {
                return Ok(None);
            }
            no_error(sys::rd_kafka_ConfigResource_error(*resources))?;
            let configs = sys::rd_kafka_ConfigResource_configs(*resources, &mut entries);
            if configs.is_null() {
                return Ok(None);
            }
            let entry = (0..entries).map(|n| *configs.add(n)).find(|entry| {
                text(sys::rd_kafka_ConfigEntry_name(*entry)).as_deref() == name.to_str().ok()
            });
            Ok(entry.and_then(|entry| text(sys::rd_kafka_ConfigEntry_value(entry))))
        }
    }
}
