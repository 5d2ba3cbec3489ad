//! The workloads of `locks` with the locks that hotpath wraps.

use std::sync::{Mutex, RwLock};

use locks::{on_all, step};

fn main() {
    let (name, rounds) = locks::asked();
    let _guard = hotpath::HotpathGuardBuilder::new("main").build();
    workloads::timed(|| match name.as_str() {
        "mutex" => {
            let lock = hotpath::mutex!(Mutex::new(0_u64));
            on_all(rounds, |_| {
                let mut held = lock.lock().expect("nobody panics");
                step(&mut held);
            });
        }
        "parking_lot" => {
            let lock = hotpath::mutex!(parking_lot::Mutex::new(0_u64));
            on_all(rounds, |_| step(&mut lock.lock()));
        }
        "rwlock" => {
            let lock = hotpath::rw_lock!(RwLock::new(0_u64));
            on_all(rounds, |round| {
                if round % 4 == 0 {
                    step(&mut lock.write().expect("nobody panics"));
                } else {
                    step(&mut { *lock.read().expect("nobody panics") });
                }
            });
        }
        "parking_lot_rwlock" => {
            let lock = hotpath::rw_lock!(parking_lot::RwLock::new(0_u64));
            on_all(rounds, |round| {
                if round % 4 == 0 {
                    step(&mut lock.write());
                } else {
                    step(&mut { *lock.read() });
                }
            });
        }
        _ => panic!("{name}: not one of mutex rwlock parking_lot parking_lot_rwlock"),
    });
}
