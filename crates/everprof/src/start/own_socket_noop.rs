//! A Unix socket that is its user's own, a moment after it is made.
//!
//! Context: cold. Twin of `own_socket.rs`. Invariant: when `listen` returns, nobody may connect
//! but its user and root. Until then whoever the umask and the directory let may: only Linux
//! takes a mode before there is a file.

use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Listens at `path`, where nothing may be yet.
///
/// # Errors
///
/// As `UnixListener::bind`.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}
