//! A child that a threaded process forks.

/// Forks, and asserts that `child` holds there. The child starts no thread: another of the
/// parent's may have been starting one, in the midst of a lock of std's, which stays locked in
/// the child.
pub fn assert_in_child(child: impl FnOnce() -> bool) {
    // SAFETY: glibc and musl keep their own heaps usable in the child of a threaded process;
    // the child uses locks of its own only, and exits.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let status = i32::from(!child());
        // SAFETY: ends the child at once, as a forked child should.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` is writable.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {}
    assert_eq!(status, 0, "a child ended with status {status:#x}");
}
