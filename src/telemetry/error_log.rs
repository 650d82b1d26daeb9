//! The error log: what the node itself has to say, one line per event on standard error.
//!
//! Ours from the set level on, that of every other crate (Pingora's `log` records among them) from `warn` on.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    str::FromStr,
};
use tracing::Subscriber;
use tracing_log::{LogTracer, log};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
};

/// From which level on Lectern's own events are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Something does not work and someone must look.
    Error,
    /// Something was refused, lost or retried.
    Warn,
    /// Starts, reloads, stops as well.
    #[default]
    Info,
    /// Decisions of single connections and fills as well; not for every day.
    Debug,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// A word that is neither a level nor a format: says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWordError(&'static str);

impl FromStr for LogLevel {
    type Err = LogWordError;
    fn from_str(text: &str) -> Result<LogLevel, LogWordError> {
        match text {
            "error" => Ok(LogLevel::Error),
            "warn" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            _ => Err(LogWordError("a log level is \"error\", \"warn\", \"info\" or \"debug\"")),
        }
    }
}

impl FromStr for LogFormat {
    type Err = LogWordError;
    fn from_str(text: &str) -> Result<LogFormat, LogWordError> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(LogWordError("a log format is \"text\" or \"json\"")),
        }
    }
}

impl fmt::Display for LogWordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for LogWordError {}

/// Starts the error log of the process. A second call changes nothing: a process has one, however many nodes a test starts.
pub fn init_log(level: LogLevel, format: LogFormat) {
    let first = tracing::subscriber::set_global_default(subscriber(level, format, io::stderr)).is_ok();
    if first {
        // Fails only where another logger was installed first; ours goes on without those records.
        let _ = LogTracer::builder().with_max_level(log::LevelFilter::Warn).init();
    }
}

fn subscriber<W>(level: LogLevel, format: LogFormat, to: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let filter = Targets::new()
        .with_target("lectern", level)
        // Says "error" of a pooled connection that two threads wanted at once; one of them opens another.
        .with_target("pingora_core::connectors", LevelFilter::OFF)
        // Says "error" while one process waits for the other at an upgrade; what fails is told by `node`.
        .with_target("pingora_core::server::transfer_fd", LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(OneLine(to));
    match format {
        LogFormat::Text => Box::new(registry.with(layer)),
        LogFormat::Json => Box::new(registry.with(layer.json().flatten_event(true).with_ansi(false))),
    }
}

/// Writes each event as one line: what an origin or a client put into an error text must not look like an event of its own.
struct OneLine<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLine<W::Writer>;
    fn make_writer(&'w self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Is handed an event whole, with its line feed.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let inner = event.strip_suffix(b"\n").unwrap_or(event);
        if inner.iter().any(|b| matches!(b, b'\n' | b'\r')) {
            let mut line = Vec::with_capacity(event.len() + 16);
            for b in inner {
                match b {
                    b'\n' => line.extend_from_slice(b"\\n"),
                    b'\r' => line.extend_from_slice(b"\\r"),
                    _ => line.push(*b),
                }
            }
            line.push(b'\n');
            self.0.write_all(&line)?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{LogFormat, LogLevel, subscriber};
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that some events become.
    fn lines(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        tracing::subscriber::with_default(subscriber(level, format, move || writer.clone()), events);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_one_line_whatever_stands_in_it() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = lines(LogLevel::Info, format, || {
                tracing::warn!(reason = %"bad\r\n2026 ERROR lectern: forged", "an origin\nanswered");
            });
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("forged") && !lines[0].contains('\r'), "{lines:?}");
        }
    }

    #[test]
    fn json_events_are_json() {
        let lines = lines(LogLevel::Info, LogFormat::Json, || tracing::info!(port = 8443, "listening"));
        let event: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&event["level"], &event["port"]), (&"INFO".into(), &8443.into()), "{event}");
        assert_eq!(event["message"], "listening", "{event}");
    }

    #[test]
    fn the_level_is_for_our_events_and_others_speak_from_warn_on() {
        let events = || {
            tracing::error!("our error");
            tracing::info!("our info");
            tracing::debug!("our debug");
            tracing::info!(target: "pingora_core::server", "their info");
            tracing::warn!(target: "pingora_core::server", "their warning");
        };
        let table = [
            (LogLevel::Error, vec!["our error"]),
            (LogLevel::Warn, vec!["our error", "their warning"]),
            (LogLevel::Info, vec!["our error", "our info", "their warning"]),
            (LogLevel::Debug, vec!["our error", "our info", "our debug", "their warning"]),
        ];
        for (level, expected) in table {
            let lines = lines(level, LogFormat::Text, events);
            let said = |what: &&str| lines.iter().any(|l| l.contains(*what));
            assert_eq!(lines.len(), expected.len(), "{level:?}: {lines:?}");
            assert!(expected.iter().all(said), "{level:?}: {lines:?}");
        }
    }

    #[test]
    fn a_wrong_word_says_which_are_right() {
        assert_eq!("info".parse(), Ok(LogLevel::Info));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("INFO".parse::<LogLevel>().unwrap_err().to_string().contains("\"info\""));
        assert!("xml".parse::<LogFormat>().unwrap_err().to_string().contains("\"json\""));
    }
}
