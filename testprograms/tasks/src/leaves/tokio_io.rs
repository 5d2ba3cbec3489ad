//! Tokio's sockets, pipes, processes and signals.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy, duplex, simplex};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{Here, cases};

cases!(
    waits_in_tokio_tcp_accept,
    waits_in_tokio_tcp_read,
    waits_in_tokio_tcp_write,
    waits_in_tokio_tcp_readable,
    waits_in_tokio_tcp_peek,
    waits_in_tokio_split_read,
    waits_in_tokio_buffered_line,
    waits_in_tokio_copy,
    waits_in_tokio_udp_recv,
    waits_in_tokio_udp_recv_from,
    waits_in_tokio_unix_accept,
    waits_in_tokio_unix_read,
    waits_in_tokio_unix_datagram,
    waits_in_tokio_pipe,
    waits_in_tokio_duplex_read,
    waits_in_tokio_duplex_write,
    waits_in_tokio_simplex,
    waits_in_tokio_child,
    waits_in_tokio_child_output,
    waits_in_tokio_signal,
    waits_in_tokio_ctrl_c,
);

const LOOPBACK: &str = "127.0.0.1:0";

/// Two ends of a connection, the second not to be used.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.expect("it is listened to"), other.expect("it comes").0)
}

async fn waits_in_tokio_tcp_accept(here: Here) {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a port");
    assert!(here.waits(listener.accept()).await.is_ok());
}

async fn waits_in_tokio_tcp_read(here: Here) {
    let (mut stream, _other) = connected().await;
    assert!(here.waits(stream.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_tcp_write(here: Here) {
    let (mut stream, _other) = connected().await;
    // More than the system keeps for a reader who does not come.
    let much = vec![0; 64 << 20];
    assert!(here.waits(stream.write_all(&much)).await.is_ok());
}

async fn waits_in_tokio_tcp_readable(here: Here) {
    let (stream, _other) = connected().await;
    assert!(here.waits(stream.readable()).await.is_ok());
}

async fn waits_in_tokio_tcp_peek(here: Here) {
    let (stream, _other) = connected().await;
    assert!(here.waits(stream.peek(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_split_read(here: Here) {
    let (stream, _other) = connected().await;
    let (mut reader, _writer) = stream.into_split();
    assert!(here.waits(reader.read_u64()).await.is_ok());
}

async fn waits_in_tokio_buffered_line(here: Here) {
    let (stream, _other) = connected().await;
    let mut lines = BufReader::new(stream).lines();
    assert!(here.waits(lines.next_line()).await.is_ok());
}

async fn waits_in_tokio_copy(here: Here) {
    let (mut stream, _other) = connected().await;
    let mut nowhere = tokio::io::sink();
    assert!(here.waits(copy(&mut stream, &mut nowhere)).await.is_ok());
}

async fn waits_in_tokio_udp_recv(here: Here) {
    let socket = UdpSocket::bind(LOOPBACK).await.expect("a port");
    assert!(here.waits(socket.recv(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_udp_recv_from(here: Here) {
    let socket = UdpSocket::bind(LOOPBACK).await.expect("a port");
    assert!(here.waits(socket.recv_from(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_unix_accept(here: Here) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net;
    // A name of no file: the address of what is on this task's stack is nobody else's.
    let name = format!("everprof-{}-{:p}", std::process::id(), &raw const here);
    let address = net::SocketAddr::from_abstract_name(name).expect("a name");
    let listener = net::UnixListener::bind_addr(&address).expect("nobody has it");
    listener.set_nonblocking(true).expect("a socket can be so");
    let listener = UnixListener::from_std(listener).expect("a socket");
    assert!(here.waits(listener.accept()).await.is_ok());
}

async fn waits_in_tokio_unix_read(here: Here) {
    let (mut stream, _other) = UnixStream::pair().expect("a pair");
    assert!(here.waits(stream.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_unix_datagram(here: Here) {
    let (socket, _other) = UnixDatagram::pair().expect("a pair");
    assert!(here.waits(socket.recv(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_pipe(here: Here) {
    let (_sender, mut receiver) = tokio::net::unix::pipe::pipe().expect("a pipe");
    assert!(here.waits(receiver.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_duplex_read(here: Here) {
    let (mut stream, _other) = duplex(8);
    assert!(here.waits(stream.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_duplex_write(here: Here) {
    let (mut stream, _other) = duplex(8);
    assert!(here.waits(stream.write_all(&[0; 9])).await.is_ok());
}

async fn waits_in_tokio_simplex(here: Here) {
    let (mut reader, _writer) = simplex(8);
    assert!(here.waits(reader.read(&mut [0; 8])).await.is_ok());
}

/// Ends when its input does, which is when the child is dropped.
fn child() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("there is `cat`")
}

async fn waits_in_tokio_child(here: Here) {
    let mut child = child();
    // Waiting closes it otherwise.
    let _input = child.stdin.take();
    assert!(here.waits(child.wait()).await.is_ok());
}

async fn waits_in_tokio_child_output(here: Here) {
    let mut child = child();
    let mut output = child.stdout.take().expect("it is piped");
    assert!(here.waits(output.read(&mut [0; 8])).await.is_ok());
}

async fn waits_in_tokio_signal(here: Here) {
    let mut signal = signal(SignalKind::user_defined2()).expect("it can be handled");
    here.waits(signal.recv()).await;
}

async fn waits_in_tokio_ctrl_c(here: Here) {
    assert!(here.waits(tokio::signal::ctrl_c()).await.is_ok());
}
