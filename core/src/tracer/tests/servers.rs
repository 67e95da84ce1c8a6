//! Who asks the tracer waits for no server.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::courier::pacer::Network;
use crate::courier::{Request, Response, Servers, Transport, TransportError};

fn servers(host: &str) -> Servers {
    let json = format!(
        r#"{{"verification_url":"https://{host}","api_key":"k","publish_url":"https://{host}/publish","health_authority_id":"h",
        "key_lists":[{{"index_url":"https://{host}/index.txt","base_url":"https://{host}"}}],"public_keys":[]}}"#
    );
    Servers::from_json(json.as_bytes()).unwrap()
}

/// So long is waited for what comes at once, so that this test fails and does not hang.
const ONLY_WHERE_IT_FAILS: Duration = Duration::from_secs(20);

/// Says what it was asked for, and answers 200 with what it is given then.
struct Slow(Sender<String>, Receiver<&'static [u8]>);

impl Transport for Slow {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        self.0.send(request.url.clone()).unwrap();
        Ok(Response { status: 200, body: self.1.recv().unwrap().to_vec(), ..Response::default() })
    }
}

/// Connects to a slow server, and says how to see its requests and how to answer them.
fn connect(device: &Device, host: &str) -> (Receiver<String>, Sender<&'static [u8]>) {
    let ((asked, was_asked), (answer, answers)) = (channel(), channel());
    device.tracer().connect(servers(host), Box::new(Slow(asked, answers)), device.dir.path().join("downloads"));
    (was_asked, answer)
}

fn lists(tracer: &Tracer) -> Vec<(String, bool, usize)> {
    let lists = tracer.key_lists().unwrap();
    lists.into_iter().map(|list| (list.index_url, list.seen_at.is_some(), list.waiting)).collect()
}

#[test]
fn who_asks_how_it_stands_does_not_wait_for_a_server() {
    let device = Device::new();
    let (was_asked, answer) = connect(&device, "a.example");
    let tracer = device.tracer();
    tracer.sync_now().unwrap();
    std::thread::scope(|scope| {
        let correspondence = scope.spawn(|| tracer.correspond().unwrap());
        assert_eq!(was_asked.recv().unwrap(), "https://a.example/index.txt");
        let (told, returned) = channel();
        scope.spawn(move || {
            tracer.sync_now().unwrap();
            tracer.set_network(Network::Quiet);
            told.send(lists(tracer)).unwrap();
        });
        let returned = returned.recv_timeout(ONLY_WHERE_IT_FAILS);
        answer.send(b"1.zip\n").unwrap();
        assert_eq!(correspondence.join().unwrap(), Duration::ZERO);
        let before = returned.expect("they returned before the server answered");
        assert_eq!(before, [("https://a.example/index.txt".to_string(), false, 0)]);
    });
    assert_eq!(lists(tracer), [("https://a.example/index.txt".to_string(), true, 1)]);
}

#[test]
fn an_answer_that_comes_after_a_reconnection_belongs_to_the_old_servers() {
    let device = Device::new();
    let (was_asked, answer) = connect(&device, "a.example");
    let tracer = device.tracer();
    tracer.sync_now().unwrap();
    let (now_asked, now_answer) = std::thread::scope(|scope| {
        let correspondence = scope.spawn(|| tracer.correspond().unwrap());
        was_asked.recv().unwrap();
        let connected = connect(&device, "b.example");
        tracer.sync_now().unwrap();
        answer.send(b"1.zip\n2.zip\n").unwrap();
        correspondence.join().unwrap();
        connected
    });
    assert_eq!(lists(tracer), [("https://b.example/index.txt".to_string(), false, 0)], "nothing of a.example is in it");
    now_answer.send(b"3.zip\n").unwrap();
    tracer.correspond().unwrap();
    assert_eq!(now_asked.recv().unwrap(), "https://b.example/index.txt");
    assert_eq!(lists(tracer), [("https://b.example/index.txt".to_string(), true, 1)]);
    let _nobody_answers = connect(&device, "a.example");
    assert_eq!(lists(tracer), [("https://a.example/index.txt".to_string(), true, 2)], "and nothing of it is lost");
}
