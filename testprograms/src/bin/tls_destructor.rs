//! Threads whose TLS destructors allocate, free and start over: the recorder's
//! own thread state must outlive all of them.

use std::cell::RefCell;

struct Late(Vec<Vec<u8>>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.clear();
        for size in 1..200 {
            self.0.push(vec![1; size * 37]);
        }
        // A destructor may touch another thread-local for the first time.
        SECOND.with(|second| {
            second
                .borrow_mut()
                .push(String::from("made in a destructor"))
        });
    }
}

thread_local! {
    static FIRST: RefCell<Late> = const { RefCell::new(Late(Vec::new())) };
    static SECOND: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    for _ in 0..50 {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(|| FIRST.with(|first| first.borrow_mut().0.push(vec![0; 4096])))
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread with destructors");
        }
    }
    FIRST.with(|first| first.borrow_mut().0.push(vec![0; 4096]));
    testprograms::ok();
}
