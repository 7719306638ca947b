//! A broker's settings.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;

use crate::ffi::{Owned, check, text};
use crate::request::request;
use crate::topic::TopicHandle;

impl<C: ConsumerContext> TopicHandle<C> {
    /// Asks a broker for the value of one of its settings, such as
    /// `transaction.max.timeout.ms`; `None` where it has no such setting or no value for it.
    ///
    /// Needs the right `DESCRIBE_CONFIGS` on the cluster. Blocks up to `timeout`, and cannot be
    /// cancelled.
    ///
    /// # Errors
    /// [`RDKafkaErrorCode::OperationTimedOut`] when no answer came,
    /// [`RDKafkaErrorCode::InvalidArgument`] for a name with a zero byte, otherwise the broker's
    /// code, such as [`RDKafkaErrorCode::ClusterAuthorizationFailed`].
    pub fn broker_config(
        &self,
        broker: i32,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<String>, RDKafkaErrorCode> {
        let invalid = RDKafkaErrorCode::InvalidArgument;
        let id = CString::new(broker.to_string()).map_err(|_| invalid)?;
        let c_name = CString::new(name).map_err(|_| invalid)?;
        // SAFETY: the id is a C string, which is copied. The resource is new, and destroyed by
        // `Owned` alone.
        let resource = unsafe {
            let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER;
            let resource = sys::rd_kafka_ConfigResource_new(kind, id.as_ptr());
            Owned::new(resource, sys::rd_kafka_ConfigResource_destroy).ok_or(invalid)?
        };
        // The broker returns only the settings that the resource names.
        // SAFETY: the resource is alive. Both are C strings, which are copied.
        check(unsafe {
            let value = c"".as_ptr();
            sys::rd_kafka_ConfigResource_set_config(resource.as_ptr(), c_name.as_ptr(), value)
        })?;
        let describe = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let event = request(
            self.consumer(),
            describe,
            timeout,
            |client, options, queue| {
                // SAFETY: all are alive. The list of one resource is copied.
                unsafe {
                    let mut resource = resource.as_ptr();
                    sys::rd_kafka_DescribeConfigs(client, &mut resource, 1, options, queue);
                }
            },
        )?;
        let (mut count, mut entries) = (0, 0);
        // SAFETY: the event is alive. Its result is null or a list of `count` resources, each
        // with a list of `entries` settings, which live as long.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
            if result.is_null() {
                return Ok(None);
            }
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
            if resources.is_null() || count == 0 || (*resources).is_null() {
                return Ok(None);
            }
            check(sys::rd_kafka_ConfigResource_error(*resources))?;
            let configs = sys::rd_kafka_ConfigResource_configs(*resources, &mut entries);
            if configs.is_null() {
                return Ok(None);
            }
            let entry = (0..entries).map(|n| *configs.add(n)).find(|entry| {
                text(sys::rd_kafka_ConfigEntry_name(*entry)).as_deref() == Some(name)
            });
            Ok(entry.and_then(|entry| text(sys::rd_kafka_ConfigEntry_value(entry))))
        }
    }
}
