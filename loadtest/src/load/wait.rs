//! Waiting for what another program comes to, with a deadline.

use std::time::Duration;

use loadtest::clock;

/// Asks again and again, until there is something or the time is over.
pub(crate) async fn until<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let end = clock::now() + patience;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        if clock::now() >= end {
            return Err(format!("{what}: not ready within {} s", patience.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
