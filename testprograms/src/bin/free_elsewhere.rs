//! Every block is freed, resized or checked on another thread than its own.

use std::sync::mpsc;
use testprograms::{Block, Random, layout};

fn main() {
    let (to_second, from_first) = mpsc::sync_channel::<Block>(256);
    let (to_third, from_second) = mpsc::sync_channel::<Block>(256);
    let second = std::thread::spawn(move || {
        for mut block in from_first {
            block.resize(1 + (&raw const block as usize) % 3000);
            if to_third.send(block).is_err() {
                break;
            }
        }
    });
    let third = std::thread::spawn(move || from_second.into_iter().map(drop).count());
    let mut random = Random::new(42);
    for i in 0..60_000 {
        let block = Block::new(layout(&mut random), i as u8).expect("memory");
        to_second.send(block).expect("the second thread listens");
    }
    drop(to_second);
    second.join().expect("the second thread");
    assert_eq!(third.join().expect("the third thread"), 60_000);
    testprograms::ok();
}
