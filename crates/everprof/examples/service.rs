//! A small service that can be asked where its memory is, while it serves.
//!
//! It takes in readings, keeps the last of each sensor in a cache that is never
//! swept (the leak to find), and answers with a summary.
//!
//! ```text
//! cargo run --release --example service
//! go tool pprof -top http://127.0.0.1:6060/debug/pprof/heap
//! ```
//!
//! `service 3` ends by itself after three rounds and prints the profile as text.

use std::collections::HashMap;
use std::io::stdout;
use std::thread::sleep;
use std::time::Duration;

#[global_allocator]
static ALLOC: everprof::Alloc = everprof::Alloc::system();

struct Reading {
    sensor: String,
    samples: Vec<f64>,
}

#[derive(Default)]
struct Cache {
    last: HashMap<String, Reading>,
}

impl Cache {
    /// Every round brings new sensors, and none is ever forgotten.
    fn remember(&mut self, reading: Reading) {
        self.last.insert(reading.sensor.clone(), reading);
    }

    fn summary(&self) -> String {
        let mut lines: Vec<String> = self
            .last
            .values()
            .map(|reading| {
                let mean = reading.samples.iter().sum::<f64>() / reading.samples.len() as f64;
                format!("{}: {mean:.3}", reading.sensor)
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

fn receive(round: usize, sensor: usize) -> Reading {
    let samples = (0..512)
        .map(|i| ((round * 31 + sensor * 7 + i) as f64).sin())
        .collect();
    Reading {
        sensor: format!("round-{round}/sensor-{sensor}"),
        samples,
    }
}

fn main() -> Result<(), everprof::Error> {
    let rounds: Option<usize> = std::env::args()
        .nth(1)
        .and_then(|rounds| rounds.parse().ok());
    let address = if rounds.is_some() {
        "127.0.0.1:0"
    } else {
        "127.0.0.1:6060"
    };
    let server = everprof::serve(address)?;
    eprintln!(
        "go tool pprof -top http://{}/debug/pprof/heap",
        server.address()
    );

    let mut cache = Cache::default();
    for round in 0..rounds.unwrap_or(usize::MAX) {
        for sensor in 0..1_000 {
            cache.remember(receive(round, sensor));
        }
        eprintln!("round {round}: {} bytes of summary", cache.summary().len());
        if rounds.is_none() {
            sleep(Duration::from_secs(1));
        }
    }

    if let Some(heap) = everprof::profile::lookup("heap") {
        heap.write_text(&mut stdout(), 1)?;
    }
    Ok(())
}
