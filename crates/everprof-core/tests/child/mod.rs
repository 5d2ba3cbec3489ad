//! A fork's child, on the forking thread alone.

/// Whether `child` holds in a forked child, which then ends with `_exit`.
pub fn holds_in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs on in this thread's copy and ends below.
    let process = unsafe { libc::fork() };
    assert!(process >= 0, "fork");
    if process == 0 {
        // Whoever waits for what will never come is ended.
        // SAFETY: no preconditions.
        unsafe { libc::alarm(20) };
        // A panic must not unwind into the parent's frames.
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        let status = i32::from(!held.unwrap_or(false));
        // SAFETY: ends the child without running anybody's destructors.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(process, &raw mut status, 0) };
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}
