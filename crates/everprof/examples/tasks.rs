//! What tasks await: a queue, its worker, and one that nobody will ever wake.
//!
//! `cargo run -p everprof --features tokio --example tasks`

use std::time::Duration;

use everprof::Watch;
use everprof::tasks::Leak;
use tokio::sync::{mpsc, oneshot};

#[everprof::watched]
async fn answer(job: u32) -> u32 {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        // Whoever asked may be gone.
        _ = tell.send(job * 2);
    });
    told.await.unwrap_or(0)
}

async fn work(mut jobs: mpsc::Receiver<u32>) {
    while let Some(job) = jobs.recv().await {
        println!("{job}: {}", answer(job).await);
    }
}

/// Its sender was lost: nobody can ever send.
async fn forgotten() {
    std::future::pending::<()>().watched().await;
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()?;
    let _inside = runtime.enter();
    let (send, jobs) = mpsc::channel(8);
    let worker = {
        let _labels = everprof::labels! { "tenant" => "blue" };
        everprof::task::spawn(work(jobs))
    };
    everprof::task::spawn(forgotten());
    runtime.block_on(async {
        send.send(21).await?;
        Ok::<(), mpsc::error::SendError<u32>>(())
    })?;
    std::thread::sleep(Duration::from_millis(100));

    println!("{:?}\n", everprof::tasks::counts());
    if let Some(profile) = everprof::profile::lookup("tasks") {
        profile.write_text(&mut std::io::stdout(), 2)?;
    }
    for task in everprof::tasks::records() {
        if task.leak == Leak::Certain {
            println!("\ntask {} ({}) never runs again", task.id, task.name);
        }
    }
    drop(send);
    runtime.block_on(worker)?;
    Ok(())
}
