use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

const A_LONG_TIME: Duration = Duration::from_secs(60);

/// A server that holds so many connections.
async fn server(most: usize, sender_time: Duration) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ends) = watch::channel(false);
    let router = Router::new().route("/", get(|| async { "here" }));
    (address, end, tokio::spawn(serve(listener, router, most, sender_time, ends)))
}

async fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
}

/// The answer, to its last byte.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one_and_in_a_crowd_whoever_has_an_answer_makes_room() {
    let (address, _end, _served) = server(4, A_LONG_TIME).await;
    let connect = async || TcpStream::connect(address).await.unwrap();
    let mut first = connect().await;
    ask(&mut first).await;
    assert!(!answer(&mut first).await.contains("connection: close"));
    let mut held = [connect().await, connect().await, connect().await];
    let mut last = connect().await;
    ask(&mut last).await;
    let waits = tokio::time::timeout(Duration::from_millis(200), last.readable()).await;
    assert!(waits.is_err(), "there is no place");

    ask(&mut first).await;
    assert!(answer(&mut first).await.contains("connection: close"));
    assert_eq!(first.read(&mut [0]).await.unwrap(), 0, "its place is free");
    assert!(answer(&mut last).await.contains("connection: close"));
    for one in &mut held {
        ask(one).await;
        assert!(answer(one).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for_and_not_at_the_end_either() {
    let (address, _end, _served) = server(4, Duration::from_millis(50)).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);

    let (address, end, served) = server(1, A_LONG_TIME).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let _waits_for_a_place = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    end.send_replace(true);
    tokio::time::timeout(A_LONG_TIME / 2, served).await.unwrap().unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or_default(), 0);
}
