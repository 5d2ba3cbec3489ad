//! A Unix socket that is its user's own from its first moment.
//!
//! Context: cold. Twin of `own_socket_noop.rs`. Invariant: at no time may anybody connect to it but
//! its user and root. So it has a file: an address without one is open to all of its network
//! namespace.
//!
//! `bind` makes the file with what the process's umask leaves of all rights, so that a `chmod`
//! behind it comes too late for whoever connects in between. Linux makes it with the mode of
//! the socket itself, less the umask, which `fchmod` sets before there is a file.
//! Source: `unix_bind_bsd` in Linux's net/unix/af_unix.c.

use std::fs::{File, Permissions};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

/// Listens at `path`, where nothing may be yet.
///
/// # Errors
///
/// As `UnixListener::bind`.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    // What std says of a path that has no place in an address, it is to say of this one.
    SocketAddr::from_pathname(path)?;
    if path.as_os_str().is_empty() {
        let why = "a socket without a path would be open to others";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; SUN_PATH_BYTES],
    };
    let bytes = path.as_os_str().as_bytes();
    for (to, byte) in address.sun_path.iter_mut().zip(bytes) {
        *to = byte.cast_signed() as libc::c_char;
    }
    // With the zero behind it.
    let len = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;

    // SAFETY: takes numbers; the result is checked.
    let fd = checked(unsafe { libc::socket(libc::AF_UNIX, STREAM, 0) })?;
    // SAFETY: made above, and nobody else's.
    let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    socket.set_permissions(Permissions::from_mode(OWN))?;
    let at = (&raw const address).cast();
    // SAFETY: `address` has `len` bytes, as std has found that the path has room there.
    checked(unsafe { libc::bind(socket.as_raw_fd(), at, len as libc::socklen_t) })?;
    // SAFETY: takes numbers; the result is checked.
    checked(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) })?;
    Ok(OwnedFd::from(socket).into())
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Its user reads and writes.
const OWN: u32 = 0o600;
const STREAM: libc::c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
/// Connections that wait to be accepted: as many as std lets.
const BACKLOG: libc::c_int = 128;
const SUN_PATH_BYTES: usize =
    size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn socket_is_its_users_own_without_a_chmod_behind_it() {
        let path = env::temp_dir().join(format!("everprof-own-socket-{}", process::id()));
        let listener = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWN);
        assert_eq!(listen(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        let mut near = UnixStream::connect(&path).unwrap();
        near.write_all(b"?").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"?");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn path_that_has_no_room_in_an_address_is_refused_and_the_longest_is_not() {
        let folder = env::temp_dir().join(format!("everprof-own-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        let of_len = |len: usize| {
            let rest = len - folder.as_os_str().len() - 1;
            folder.join("s".repeat(rest))
        };
        let longest = of_len(SUN_PATH_BYTES - 1);
        let listener = listen(&longest).unwrap();
        assert_eq!(
            listener.local_addr().unwrap().as_pathname(),
            Some(&*longest)
        );
        let longer = listen(&of_len(SUN_PATH_BYTES)).unwrap_err();
        assert_eq!(longer.kind(), ErrorKind::InvalidInput);
        let with_zero = listen(Path::new("a\0b")).unwrap_err();
        assert_eq!(with_zero.kind(), ErrorKind::InvalidInput);
        // Else the kernel would give it a name that anybody may connect to.
        let without = listen(Path::new("")).unwrap_err();
        assert_eq!(without.kind(), ErrorKind::InvalidInput);
        fs::remove_dir_all(&folder).unwrap();
    }
}
