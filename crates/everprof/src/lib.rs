//! Always-on profilers.
