//! console-subscriber: tokio tells it by `tracing`. To be built with `--cfg tokio_unstable`.

struct Console;

impl work::Peer for Console {
    fn start() {
        console_subscriber::init();
    }
}

fn main() {
    work::main::<Console>();
}
