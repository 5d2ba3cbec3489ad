//! Progress: that long work goes on, on a terminal only.

use super::printable::printable;

/// A sign of life for long work, on a terminal only.
#[derive(Debug)]
pub struct Progress(indicatif::ProgressBar);

impl Progress {
    /// Shows `what` until it is dropped.
    pub fn start(what: impl Into<String>) -> Progress {
        // indicatif draws nothing when standard error is no terminal.
        let bar = indicatif::ProgressBar::new_spinner();
        bar.set_message(printable(&what.into()));
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        Progress(bar)
    }

    /// Shows how much of so many bytes is done, or just how much if it is not known of how
    /// many.
    pub fn of_bytes(what: impl Into<String>, length: Option<u64>) -> Progress {
        let Some(length) = length else {
            return Progress::start(what);
        };
        let bar = indicatif::ProgressBar::new(length);
        let template = "{msg} {wide_bar} {percent}% {eta}";
        if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(printable(&what.into()));
        Progress(bar)
    }

    /// So many more are done.
    pub fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
