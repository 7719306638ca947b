//! Tests the options as a whole.

mod client;
mod file;
mod guide;
mod own;
mod secret;
mod session;
mod sql;

use std::io::Write;

use tempfile::NamedTempFile;

use super::*;
use crate::error::{Error, Result};

const SECRET: &str = "hunter2";

fn given(options: &[(&str, &str)]) -> Options {
    options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn parse(options: &[(&str, &str)]) -> Result<TableOptions> {
    TableOptions::parse(&[&given(options)])
}

/// The message of the error, which must not hold the planted secret.
fn refused(options: &[(&str, &str)]) -> String {
    let error = parse(options).unwrap_err();
    message(&error)
}

fn message(error: &Error) -> String {
    let message = error.to_string();
    assert!(!message.contains(SECRET), "{message}");
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    message
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn parse_file(text: &str) -> Result<TableOptions> {
    let file = file(text);
    parse(&[
        ("kafka.bootstrap.servers", "a:1"),
        ("kafka.properties.file", file.path().to_str().unwrap()),
    ])
}

fn consumer(options: &TableOptions, name: &str) -> Option<String> {
    let config = options.client.consumer_config(options.isolation).unwrap();
    config.get(name).map(str::to_owned)
}

fn producer(options: &TableOptions, name: &str) -> Option<String> {
    let config = options.client.producer_config().unwrap();
    config.get(name).map(str::to_owned)
}

/// Whether librdkafka was built with TLS, without which it refuses `ssl.*`.
fn tls() -> bool {
    property::has_feature("ssl")
}
