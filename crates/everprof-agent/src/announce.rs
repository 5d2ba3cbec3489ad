//! Words to the command line, over its socket.
//!
//! Context: signal (`arena` runs in a fork's child): system calls and the
//! stack only. One connection a message, closed behind it. Its first byte says
//! what it is:
//!
//! | byte | carries | with |
//! |---|---|---|
//! | `A` | path of the executable | descriptors: the arena, this process |
//! | `I` | text for the user | |
//! | `E` | text for the user, about something that failed | |
//!
//! The socket is a stream in the abstract namespace: no file is left behind
//! and no path length or `TMPDIR` matters. The command line refuses peers of
//! other users by their kernel credentials.
//!
//! Invariant: no descriptor stays open behind a message.

use std::ffi::c_int;
use std::mem::{MaybeUninit, offset_of, size_of, zeroed};
use std::ptr;

/// Longest socket name that is kept: `sun_path` less the leading zero.
const NAME_MAX: usize = 107;

/// How to reach the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    name: [u8; NAME_MAX],
    len: usize,
}

impl Socket {
    /// The socket `name`, or `None` if no socket can have this name.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        let mut socket = Self {
            name: [0; NAME_MAX],
            len: name.len(),
        };
        socket.name.get_mut(..name.len())?.copy_from_slice(name);
        Some(socket)
    }

    /// Hands over the arena. False: nobody took it.
    pub(crate) fn arena(&self, arena: c_int) -> bool {
        // Room for a path of ordinary length; it only serves messages.
        let mut message = [0_u8; 1 + 1024];
        message[0] = b'A';
        let path = &mut message[1..];
        let link = c"/proc/self/exe".as_ptr();
        // SAFETY: writes into `path`, at most its length.
        let len = unsafe { libc::readlink(link, path.as_mut_ptr().cast(), path.len()) };
        let message = &message[..1 + usize::try_from(len).unwrap_or(0)];
        // SAFETY: no preconditions.
        let own_id = unsafe { libc::getpid() };
        // SAFETY: a plain system call. Before Linux 5.3 it fails, and one descriptor is sent.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, own_id, 0) } as c_int;
        let sent = if process < 0 {
            self.send(message, &[arena])
        } else {
            self.send(message, &[arena, process])
        };
        if process >= 0 {
            // SAFETY: ours, and the receiver has its own by now.
            unsafe { libc::close(process) };
        }
        sent
    }

    /// Tells the user something.
    pub(crate) fn inform(&self, text: &str) {
        self.say(b'I', text);
    }

    /// Tells the user what failed.
    pub(crate) fn complain(&self, text: &str) {
        self.say(b'E', text);
    }

    fn say(&self, kind: u8, text: &str) {
        let mut message = [0_u8; 2048];
        message[0] = kind;
        let len = text.len().min(message.len() - 1);
        message[1..=len].copy_from_slice(&text.as_bytes()[..len]);
        self.send(&message[..=len], &[]);
    }

    /// One connection with one message.
    fn send(&self, message: &[u8], descriptors: &[c_int]) -> bool {
        // SAFETY: a plain system call.
        let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return false;
        }
        let sent = self.connect(fd) && transmit(fd, message, descriptors);
        // SAFETY: ours.
        unsafe { libc::close(fd) };
        sent
    }

    fn connect(&self, fd: c_int) -> bool {
        // SAFETY: zero is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        // The abstract namespace: a leading zero, no terminator.
        for (to, from) in address.sun_path[1..].iter_mut().zip(&self.name[..self.len]) {
            *to = *from as libc::c_char;
        }
        let len = offset_of!(libc::sockaddr_un, sun_path) + 1 + self.len;
        // SAFETY: `address` holds `len` bytes; `fd` is a socket.
        until_uninterrupted(|| unsafe {
            libc::connect(fd, (&raw const address).cast(), len as libc::socklen_t) as isize
        }) == 0
    }
}

/// Sends `message` with at most two descriptors.
fn transmit(fd: c_int, message: &[u8], descriptors: &[c_int]) -> bool {
    let mut part = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    // SAFETY: zero is a valid msghdr.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    // A header and two descriptors need 24 bytes; u64 gives them its align.
    let mut control = [MaybeUninit::<u64>::zeroed(); 4];
    if !descriptors.is_empty() {
        let bytes = size_of::<c_int>() * descriptors.len().min(2);
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: arithmetic only.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(bytes as u32) } as _;
        // SAFETY: `control` has room for one header.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        // SAFETY: arithmetic only.
        let cmsg_len = unsafe { libc::CMSG_LEN(bytes as u32) };
        // SAFETY: zero is a valid cmsghdr; some C libraries pad it.
        let mut head: libc::cmsghdr = unsafe { zeroed() };
        head.cmsg_len = cmsg_len as _;
        head.cmsg_level = libc::SOL_SOCKET;
        head.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: `first` lies in `control`, which is aligned and large enough.
        unsafe { first.write(head) };
        // SAFETY: `first` lies in `control`.
        let data = unsafe { libc::CMSG_DATA(first) };
        let from = descriptors.as_ptr().cast::<u8>();
        // SAFETY: `bytes` is at most what `descriptors` and `control` hold.
        unsafe { ptr::copy_nonoverlapping(from, data, bytes) };
    }
    // SAFETY: `header` points to live values; MSG_NOSIGNAL keeps SIGPIPE away.
    let sent =
        until_uninterrupted(|| unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) });
    usize::try_from(sent) == Ok(message.len())
}

/// Repeats a call that a signal of the program's interrupted.
fn until_uninterrupted(mut call: impl FnMut() -> isize) -> isize {
    loop {
        let result = call();
        if result >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return result;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::multiple_unsafe_ops_per_block)]
    use super::*;
    use std::io::Read;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    fn listener(name: &str) -> (UnixListener, Socket) {
        let name = format!("everprof-test-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        (
            UnixListener::bind_addr(&address).unwrap(),
            Socket::new(name.as_bytes()).unwrap(),
        )
    }

    #[test]
    fn a_word_arrives_whole() {
        let (listener, socket) = listener("word");
        socket.complain("address in use");
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "Eaddress in use");
    }

    #[test]
    fn an_arena_arrives_with_the_executables_path() {
        let (listener, socket) = listener("arena");
        assert!(socket.arena(0));
        let mut message = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut message)
            .unwrap();
        assert_eq!(message[0], b'A');
        let exe = std::env::current_exe().unwrap();
        assert_eq!(&message[1..], exe.as_os_str().as_encoded_bytes());
    }

    #[test]
    fn nobody_there_is_no_error_but_false() {
        let socket = Socket::new(b"everprof-test-nobody-listens").unwrap();
        assert!(!socket.arena(0));
        socket.inform("unheard");
        assert!(Socket::new(&[b'x'; 200]).is_none());
    }
}
