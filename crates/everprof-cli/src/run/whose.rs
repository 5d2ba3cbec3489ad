//! Of which processes profiles are kept: the command line decides, saving and the summary ask.

/// Whose profiles are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The program's own.
    Program,
    /// Also those of the test binaries that it runs.
    Tests,
    /// Also those of all processes that it starts.
    All,
}
