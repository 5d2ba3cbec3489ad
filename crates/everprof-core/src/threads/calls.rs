//! System calls: which go on after a signal, and which end with EINTR.
//!
//! Context: cold. Invariant: a call is only said to go on if it does, with SA_RESTART,
//! whatever it was given. What is not known does not.
//!
//! Source: signal(7), "Interruption of system calls and library functions by signal
//! handlers"; for futexes with a timeout `kernel/futex/waitwake.c`, where they return
//! ERESTART_RESTARTBLOCK, which a handler turns into EINTR (`arch/x86/kernel/signal.c`).
//!
//! | goes on | ends with EINTR |
//! |---|---|
//! | futex without timeout: locks, parking, joins, `sem_wait` | futex with timeout |
//! | read, write and the like on pipes, terminals, files | the same on sockets with a timeout, and whatever cannot be asked |
//! | accept, recv, send, connect on sockets without timeout | recvmmsg with one |
//! | wait4, waitid, flock, fcntl locks | poll, select, epoll_wait, io_getevents, pause |
//! | getrandom | nanosleep, clock_nanosleep, sigwait, System V messages and semaphores |

use core::ffi::{c_int, c_long};

use crate::threads::State;

/// Whether a thread in this state comes through a signal as if nothing had been.
pub(super) fn goes_on(state: State) -> bool {
    let State::InCall { number, arguments } = state else {
        // A page fault is none of the program's business; what is unknown cannot be spared.
        return true;
    };
    let [first, second, _, fourth, ..] = arguments;
    match c_long::from(number) {
        libc::SYS_futex => futex_goes_on(second as c_int, fourth),
        libc::SYS_wait4
        | libc::SYS_waitid
        | libc::SYS_flock
        | libc::SYS_fcntl
        | libc::SYS_getrandom => true,
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_accept
        | libc::SYS_accept4
        | libc::SYS_connect => !may_time_out(first as c_int),
        _ => false,
    }
}

fn futex_goes_on(operation: c_int, timeout: u64) -> bool {
    let operation = operation & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    match operation {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => timeout == 0,
        _ => false,
    }
}

/// Whether a call on the descriptor may have a timeout, as sockets can.
fn may_time_out(descriptor: c_int) -> bool {
    [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO]
        .into_iter()
        .any(|option| match socket_timeout(descriptor, option) {
            Ok(is_set) => is_set,
            // Not a socket, then: pipes, terminals and files have no timeouts.
            Err(error) => error != libc::ENOTSOCK,
        })
}

fn socket_timeout(descriptor: c_int, option: c_int) -> Result<bool, c_int> {
    let mut timeout = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut length = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes.
    let failed = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            option,
            (&raw mut timeout).cast(),
            &raw mut length,
        )
    };
    if failed == 0 {
        Ok(timeout.tv_sec != 0 || timeout.tv_usec != 0)
    } else {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::*;

    fn call(number: c_long, arguments: [u64; 6]) -> State {
        State::InCall {
            number: u32::try_from(number).unwrap(),
            arguments,
        }
    }

    #[test]
    fn futexes_go_on_without_a_timeout_only() {
        for (operation, timeout, expected) in [
            (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, true),
            (libc::FUTEX_WAIT_BITSET, 0, true),
            (libc::FUTEX_WAIT_BITSET, 0x1000, false),
            (libc::FUTEX_WAIT, 0x1000, false),
            (libc::FUTEX_WAIT_REQUEUE_PI, 0, false),
        ] {
            let state = call(libc::SYS_futex, [0, operation as u64, 0, timeout, 0, 0]);
            assert_eq!(goes_on(state), expected, "{operation} {timeout}");
        }
    }

    #[test]
    fn sockets_go_on_without_a_timeout_only() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let state = call(
            libc::SYS_recvfrom,
            [socket.as_raw_fd() as u64, 0, 0, 0, 0, 0],
        );
        assert!(goes_on(state));
        let second = Some(Duration::from_secs(1));
        socket.set_read_timeout(second).unwrap();
        assert!(!goes_on(state));
        socket.set_read_timeout(None).unwrap();
        socket.set_write_timeout(second).unwrap();
        assert!(!goes_on(state));
    }

    #[test]
    fn pipes_go_on_and_closed_descriptors_are_not_trusted() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let read =
            |descriptor: c_int| goes_on(call(libc::SYS_read, [descriptor as u64, 0, 0, 0, 0, 0]));
        assert!(read(reader.as_raw_fd()));
        assert!(!read(-1));
    }

    #[test]
    fn sleeping_and_polling_do_not_go_on() {
        for number in [
            libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep,
            libc::SYS_ppoll,
            libc::SYS_epoll_pwait,
            libc::SYS_rt_sigtimedwait,
        ] {
            assert!(!goes_on(call(number, [0; 6])));
        }
    }
}
