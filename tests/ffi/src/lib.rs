//! A library that gives a topic as a table over DataFusion's foreign function interface.

use std::ffi::{CStr, c_char};
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::TaskContextProvider;
use datafusion::prelude::SessionContext;
use datafusion_ffi::table_provider::FFI_TableProvider;
use datafusion_kafka::KafkaTable;
use tokio::runtime::Runtime;

/// Where tables are built, and where their streams run.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The session in which the library reads filters and plans scans.
static SESSION: LazyLock<Arc<SessionContext>> = LazyLock::new(Arc::default);

/// All records of the topic, with the columns `v` and `_partition`.
///
/// # Safety
/// Both arguments are strings that end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn records_of(
    servers: *const c_char,
    topic: *const c_char,
) -> FFI_TableProvider {
    let text = |text| unsafe { CStr::from_ptr(text) }.to_str().unwrap();
    let table = KafkaTable::builder(text(topic))
        .with_schema(Schema::new(vec![
            Field::new("v", DataType::Int64, true),
            Field::new("_partition", DataType::Int32, false),
        ]))
        .with_option("kafka.bootstrap.servers", text(servers))
        .with_option("kafka.mode", "append")
        .build();
    let table = RUNTIME.block_on(table).unwrap();
    let session = Arc::clone(&SESSION) as Arc<dyn TaskContextProvider>;
    let runtime = Some(RUNTIME.handle().clone());
    FFI_TableProvider::new(Arc::new(table), true, runtime, &session, None)
}
