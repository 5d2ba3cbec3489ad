//! Smol's reactor, executor and locks.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use async_io::{Async, Timer};
use async_lock::{Barrier, Mutex, OnceCell, RwLock, Semaphore};
use futures_lite::{AsyncReadExt, FutureExt, StreamExt};

use super::{Here, cases};

cases!(
    waits_in_smol_timer,
    waits_in_smol_interval,
    waits_in_smol_accept,
    waits_in_smol_read,
    waits_in_smol_readable,
    waits_in_smol_udp,
    waits_in_smol_task,
    waits_in_smol_executor,
    waits_in_smol_unblock,
    waits_in_smol_or in 2,
    waits_in_smol_zip in 2,
    waits_in_async_lock_mutex,
    waits_in_async_lock_rwlock_read,
    waits_in_async_lock_rwlock_write,
    waits_in_async_lock_upgradable,
    waits_in_async_lock_semaphore,
    waits_in_async_lock_barrier,
    waits_in_async_lock_once_cell,
);

const LONG: Duration = Duration::from_secs(100_000);
const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

async fn connected() -> (Async<TcpStream>, TcpStream) {
    let listener = TcpListener::bind(std::net::SocketAddr::from(LOOPBACK)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let other = TcpStream::connect(address).expect("it is listened to");
    let (stream, _) = listener.accept().expect("it comes");
    (Async::new(stream).expect("a socket"), other)
}

async fn waits_in_smol_timer(here: Here) {
    here.waits(Timer::after(LONG)).await;
}

async fn waits_in_smol_interval(here: Here) {
    here.waits(Timer::interval(LONG).next()).await;
}

async fn waits_in_smol_accept(here: Here) {
    let listener = Async::<TcpListener>::bind(LOOPBACK).expect("a port");
    assert!(here.waits(listener.accept()).await.is_ok());
}

async fn waits_in_smol_read(here: Here) {
    let (mut stream, _other) = connected().await;
    assert!(here.waits(stream.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_smol_readable(here: Here) {
    let (stream, _other) = connected().await;
    assert!(here.waits(stream.readable()).await.is_ok());
}

async fn waits_in_smol_udp(here: Here) {
    let socket = Async::<UdpSocket>::bind(LOOPBACK).expect("a port");
    assert!(here.waits(socket.recv(&mut [0; 8])).await.is_ok());
}

async fn waits_in_smol_task(here: Here) {
    let executor = async_executor::Executor::new();
    let task = executor.spawn(std::future::pending::<()>());
    here.waits(task).await;
}

async fn waits_in_smol_executor(here: Here) {
    let executor = async_executor::Executor::new();
    here.waits(executor.run(std::future::pending::<()>())).await;
}

/// The thread ends with the task, which has its channel's other end.
async fn waits_in_smol_unblock(here: Here) {
    let (_kept, told) = std::sync::mpsc::channel::<()>();
    here.waits(smol::unblock(move || told.recv().is_ok())).await;
}

async fn waits_in_smol_or(here: Here) {
    let (one, other) = (Semaphore::new(0), Semaphore::new(0));
    drop(here.waits(one.acquire().or(other.acquire())).await);
}

async fn waits_in_smol_zip(here: Here) {
    let (one, other) = (Semaphore::new(0), Semaphore::new(0));
    let both = futures_lite::future::zip(one.acquire(), other.acquire());
    drop(here.waits(both).await);
}

async fn waits_in_async_lock_mutex(here: Here) {
    let lock = Mutex::new(());
    let _held = lock.lock().await;
    drop(here.waits(lock.lock()).await);
}

async fn waits_in_async_lock_rwlock_read(here: Here) {
    let lock = RwLock::new(());
    let _held = lock.write().await;
    drop(here.waits(lock.read()).await);
}

async fn waits_in_async_lock_rwlock_write(here: Here) {
    let lock = RwLock::new(());
    let _held = lock.read().await;
    drop(here.waits(lock.write()).await);
}

async fn waits_in_async_lock_upgradable(here: Here) {
    let lock = RwLock::new(());
    let _held = lock.upgradable_read().await;
    drop(here.waits(lock.upgradable_read()).await);
}

async fn waits_in_async_lock_semaphore(here: Here) {
    let semaphore = Semaphore::new(0);
    drop(here.waits(semaphore.acquire()).await);
}

async fn waits_in_async_lock_barrier(here: Here) {
    let barrier = Barrier::new(2);
    here.waits(barrier.wait()).await;
}

async fn waits_in_async_lock_once_cell(here: Here) {
    let cell = OnceCell::<()>::new();
    let first = cell.get_or_init(std::future::pending);
    let second = here.waits(cell.get_or_init(std::future::pending));
    futures::join!(first, second);
}
