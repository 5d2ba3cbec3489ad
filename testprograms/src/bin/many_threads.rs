//! Ten thousand threads alive at once, each with a 64 KiB stack and a sample
//! or two. Fewer where the kernel refuses; the program says how many it had.

use std::sync::{Arc, Barrier};

fn main() {
    let wanted = 10_000;
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let mut threads = Vec::with_capacity(wanted);
    for i in 0..wanted {
        let gate = Arc::clone(&gate);
        let built = std::thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(move || {
                let mine = vec![i as u8; 3000];
                let (open, bell) = &*gate;
                let mut open = open.lock().expect("nobody panics with the gate");
                while !*open {
                    open = bell.wait(open).expect("nobody panics with the gate");
                }
                drop(open);
                let more = vec![1u8; 2000];
                mine.len() + more.len()
            });
        match built {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                eprintln!("thread {i} of {wanted}: {error}");
                break;
            }
        }
    }
    assert!(
        threads.len() >= 1000,
        "only {} threads could be had",
        threads.len()
    );
    *gate.0.lock().expect("nobody panics with the gate") = true;
    gate.1.notify_all();
    let count = threads.len();
    let bytes: usize = threads
        .into_iter()
        .map(|t| t.join().expect("a waiting thread"))
        .sum();
    assert_eq!(bytes, count * 5000);
    // A last wave that starts and ends together.
    let together = Arc::new(Barrier::new(64));
    let wave: Vec<_> = (0..64)
        .map(|_| {
            let together = Arc::clone(&together);
            std::thread::spawn(move || together.wait())
        })
        .collect();
    for thread in wave {
        thread.join().expect("a thread of the wave");
    }
    eprintln!("{count} threads at once");
    testprograms::ok();
}
