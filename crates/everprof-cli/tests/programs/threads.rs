//! Ten threads, each with its own known allocations, half of them freed on
//! another thread; some allocate in the destructor of a thread-local.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::mpsc::channel;
use std::thread;

struct Last(RefCell<Vec<Vec<u8>>>);

impl Drop for Last {
    fn drop(&mut self) {
        std::mem::forget(in_destructor());
    }
}

thread_local! {
    static LAST: Last = const { Last(RefCell::new(Vec::new())) };
}

#[inline(never)]
fn in_destructor() -> Vec<u8> {
    black_box(Vec::with_capacity(3000))
}

#[inline(never)]
fn kept() -> Vec<u8> {
    black_box(Vec::with_capacity(1000))
}

#[inline(never)]
fn freed_elsewhere() -> Vec<u8> {
    black_box(Vec::with_capacity(2000))
}

#[inline(never)]
fn grown() {
    let mut bytes: Vec<u8> = Vec::with_capacity(100);
    bytes.reserve_exact(black_box(1000));
    std::mem::forget(black_box(bytes));
}

fn main() {
    let (send, receive) = channel();
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let send = send.clone();
            thread::spawn(move || {
                LAST.with(|last| last.0.borrow_mut().len());
                for _ in 0..1000 {
                    std::mem::forget(kept());
                    send.send(freed_elsewhere()).expect("the receiver lives");
                }
                grown();
            })
        })
        .collect();
    drop(send);
    let received = receive.iter().count();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    println!("{received}");
}
