//! Bootstrapping a client again.

use std::ptr;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;

/// Makes a client connect to its bootstrap servers again, if it knows of no brokers.
///
/// A broker that the controller has lost sight of, as after a pause of its process, may briefly
/// return an empty broker list. librdkafka then drops every broker and never bootstraps again.
/// Call this from time to time while requests are not answered: it does nothing for a client
/// that knows brokers. Does not block.
///
/// ```
/// use rdkafka::ClientConfig;
/// use rdkafka::consumer::{BaseConsumer, Consumer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let consumer: BaseConsumer = ClientConfig::new()
///     .set("bootstrap.servers", "localhost:9092")
///     .create()?;
/// rdkafka_extra::rebootstrap(consumer.client());
/// # Ok(()) }
/// ```
pub fn rebootstrap<C: ClientContext>(client: &Client<C>) {
    let client = client.native_ptr();
    // An answer with brokers names the controller, too; an empty one does not.
    // SAFETY: the client is alive. With a timeout of 0 the call returns what is known.
    if unsafe { sys::rd_kafka_controllerid(client, 0) } >= 0 {
        return;
    }
    let name = c"bootstrap.servers";
    let mut length = 0;
    // SAFETY: the configuration lives as long as the client. Without a buffer the call only
    // writes the value's length, with the zero at its end.
    let known = unsafe {
        let config = sys::rd_kafka_conf(client);
        sys::rd_kafka_conf_get(config, name.as_ptr(), ptr::null_mut(), &mut length)
    };
    let mut servers: Vec<u8> = vec![0; length];
    if known != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK || servers.is_empty() {
        return;
    }
    // SAFETY: as above, and the buffer has `length` bytes. It holds a C string then, which
    // librdkafka copies.
    unsafe {
        let (config, buffer) = (sys::rd_kafka_conf(client), servers.as_mut_ptr().cast());
        sys::rd_kafka_conf_get(config, name.as_ptr(), buffer, &mut length);
        sys::rd_kafka_brokers_add(client, buffer);
    }
}
