//! Lines on standard error: the program's messages, and the log of the program and its libraries.

use std::fmt::Arguments;
use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use log::Level;
use serde_json::Value;

/// The format of lines on standard error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object a line: time, level, target and message
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Sets the format of lines, and enables notes unless `quiet`.
pub(crate) fn init(format: LogFormat, quiet: bool) {
    let format = *FORMAT.get_or_init(|| format);
    let notes = if quiet {
        "off"
    } else {
        "datafusion_kafka=warn"
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(notes))
        .format(move |f, record| match format {
            LogFormat::Text => writeln!(f, "note: {}", record.args()),
            LogFormat::Json => {
                let line = json(record.level(), record.target(), *record.args());
                writeln!(f, "{line}")
            }
        })
        .init();
}

/// Writes a line as `eprintln!` does. If standard error cannot be written, as with a closed pipe or
/// a full disk, the program continues; `eprintln!` would panic.
macro_rules! to_stderr {
    ($($text:tt)*) => {
        $crate::stderr::write(log::Level::Info, module_path!(), format_args!($($text)*))
    };
}

/// Writes a line about an error, in the same way.
macro_rules! error_to_stderr {
    ($($text:tt)*) => {
        $crate::stderr::write(log::Level::Error, module_path!(), format_args!($($text)*))
    };
}

pub(crate) use {error_to_stderr, to_stderr};

/// The function behind the macros.
pub(crate) fn write(level: Level, target: &str, text: Arguments<'_>) {
    let line = match FORMAT.get() {
        Some(LogFormat::Json) => json(level, target, text),
        _ if level == Level::Error => format!("Error: {text}"),
        _ => text.to_string(),
    };
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn json(level: Level, target: &str, text: Arguments<'_>) -> String {
    let time = DateTime::<Utc>::from(SystemTime::now());
    let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let [time, level, target, message] =
        [&time, level.as_str(), target, &text.to_string()].map(Value::from);
    // Formatted by hand, so that a person who reads the lines finds the fields in this order.
    format!(r#"{{"time":{time},"level":{level},"target":{target},"message":{message}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_one_line_whatever_is_said() {
        let line = json(Level::Warn, "target", format_args!("\"one\"\ntwo\u{1b}[0m"));
        assert_eq!(line.lines().count(), 1, "{line}");
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "\"one\"\ntwo\u{1b}[0m");
        assert_eq!(
            (&object["level"], &object["target"]),
            (&"WARN".into(), &"target".into())
        );
        let time = object["time"].as_str().unwrap();
        assert!(DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
        assert!(time.ends_with('Z'), "{time}");
        assert_eq!(object.as_object().unwrap().len(), 4, "{line}");
    }
}
