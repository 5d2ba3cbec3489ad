//! A small service under load: each request is a line over TCP, counted under a lock, worked
//! on by another task, and answered.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::Peer;
use crate::figures::Begun;

const CLIENTS: usize = 32;
const WORKERS: usize = 4;
/// Of each client at scale 1: a second or so.
const REQUESTS: f64 = 2_000.0;

/// What is to be done, and who waits for it.
type Job = (String, oneshot::Sender<u64>);

struct Service {
    counts: Mutex<HashMap<String, u64>>,
    jobs: mpsc::Sender<Job>,
}

pub fn run<P: Peer>(scale: f64) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(P::task(serve::<P>(listener)));
        let begun = Begun::now();
        let mut clients = JoinSet::new();
        let requests = (REQUESTS * scale) as usize;
        for client in 0..CLIENTS {
            clients.spawn(P::task(async move {
                let stream = TcpStream::connect(address).await.expect("it is served");
                P::call("ask", ask(stream, client, requests)).await;
            }));
        }
        while let Some(client) = clients.join_next().await {
            assert!(client.is_ok());
        }
        begun.print();
    });
}

async fn ask(stream: TcpStream, client: usize, requests: usize) {
    stream.set_nodelay(true).expect("a socket");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    for request in 0..requests {
        let text = format!("{client} {}\n", request % 16);
        stream.write_all(text.as_bytes()).await.expect("it reads");
        line.clear();
        stream.read_line(&mut line).await.expect("it answers");
        assert!(line.ends_with('\n'));
    }
}

async fn serve<P: Peer>(listener: TcpListener) {
    let (jobs, queue) = mpsc::channel(16);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..WORKERS {
        let queue = queue.clone();
        tokio::spawn(P::task(async move { P::call("work", work(&queue)).await }));
    }
    let counts = Mutex::default();
    let service = Arc::new(Service { counts, jobs });
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(P::task(async move {
            P::call("connection", connection::<P>(&service, stream)).await;
        }));
    }
}

async fn connection<P: Peer>(service: &Service, stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = P::call("answer", answer::<P>(service, &line)).await;
        stream.write_all(answer.as_bytes()).await.expect("it reads");
        line.clear();
    }
}

async fn answer<P: Peer>(service: &Service, line: &str) -> String {
    *P::call("count", service.counts.lock())
        .await
        .entry(line.to_owned())
        .or_default() += 1;
    let (tell, told) = oneshot::channel();
    assert!(service.jobs.send((line.to_owned(), tell)).await.is_ok());
    format!(
        "{}\n",
        P::call("worked", told).await.expect("each is worked on")
    )
}

async fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().await.recv().await;
        let Some((text, tell)) = job else {
            break;
        };
        let sum = text
            .bytes()
            .fold(7_u64, |sum, byte| sum * 31 + u64::from(byte));
        // Whoever has gone does not want it.
        let _ = tell.send(sum);
    }
}
