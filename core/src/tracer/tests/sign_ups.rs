//! The waiting list through the front door.

use std::sync::mpsc::{Sender, channel};

use super::*;
use crate::courier::waitlist::{Form, OpeningKey, RecoveryCode, SignUpChange, SignUpError, SignUpState};
use crate::courier::{Request, Response, Servers, Transport, TransportError};

/// Keeps what was sent, and has no network.
struct Absent(Sender<Vec<u8>>);

impl Transport for Absent {
    fn exchange(&mut self, request: &Request) -> Result<Response, TransportError> {
        self.0.send(request.body.clone().unwrap_or_default()).unwrap();
        Err(TransportError::Offline)
    }
}

fn servers() -> Servers {
    let key = OpeningKey::generate("v1", &mut ChaCha20Rng::seed_from_u64(1)).public_text();
    let json = format!(
        r#"{{"verification_url":"https://a","api_key":"k","publish_url":"https://b","health_authority_id":"h","key_lists":[],"public_keys":[],
        "waitlist":{{"url":"https://list.example","key_id":"v1","public_key":"{key}","receipt_keys":[{{"key_id":"v1","public_key":"{key}"}}],
        "form":{{"name":"absent","birth_year":"absent"}}}}}}"#
    );
    Servers::from_json(json.as_bytes()).unwrap()
}

fn form() -> Form {
    Form { national_number: "1234".into(), contact: "a@example.org".into(), consent: true, ..Form::default() }
}

fn bytes_on_disk(device: &Device) -> Vec<u8> {
    let files = std::fs::read_dir(device.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn a_sign_up_waits_for_a_network_as_long_as_it_takes_and_is_erased_with_everything() {
    let mut device = Device::new();
    let code = RecoveryCode::generate(&mut ChaCha20Rng::seed_from_u64(2));
    let nowhere = device.tracer().sign_up(&form(), &code).unwrap_err();
    assert!(matches!(nowhere, TracerError::SignUp(SignUpError::NoWaitlist)));

    let (sent, was_sent) = channel();
    let connect = |device: &Device| {
        device.tracer().connect(servers(), Box::new(Absent(sent.clone())), device.dir.path().join("downloads"));
    };
    connect(&device);
    let id = device.tracer().sign_up(&form(), &code).unwrap();
    device.tracer().correspond().unwrap();
    device.run(20 * DAY);
    device.tracer = None;
    device.clock.advance(20 * DAY);
    device.restart();
    connect(&device);
    device.run(2 * DAY);

    let status = device.tracer().sign_ups().unwrap().remove(0);
    assert_eq!((status.id, status.state, status.change), (id, SignUpState::WaitingForNetwork, Some(SignUpChange::SignUp)));
    device.tracer().correspond().unwrap();
    let (first, last) = (was_sent.recv().unwrap(), was_sent.try_iter().last().unwrap());
    assert_eq!(first, last, "the same bytes, six weeks later");
    assert_eq!(device.tracer().sign_up_papers(id).unwrap().unwrap().recovery_code, code);

    let holds = |device: &Device| bytes_on_disk(device).windows(21).any(|bytes| bytes == code.as_str().as_bytes());
    assert!(holds(&device));
    assert_eq!(device.tracer().erase_everything().unwrap(), Erasure::Done);
    assert!(!holds(&device) && device.tracer().sign_ups().unwrap().is_empty());
}
