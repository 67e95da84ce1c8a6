//! A crowd of devices and the server that they ask, as discrete events: what is due first comes first, whatever the time between.
//!
//! Each device has a [`Pacer`] of the library and its own moment in the polling period. What people wait for comes up all the time, at devices drawn
//! by lot. Day and server are made up: the server answers at once or, while it is down, fails at once and says nothing of when to come again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vigie::courier::pacer::{Failure, Network, POLL_PERIOD, Pacer, Pacing, Period, Work};
use vigie::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

/// 10 November 2020, at midnight UTC.
const START: Timestamp = Timestamp::from_unix_s(1_604_966_400);

/// So long all is well: two polls of each device, so that its pacer knows a server that answers.
pub(crate) const BEFORE: Duration = Duration::from_secs(8 * 60 * 60);

/// So long it is watched after the server is back: everybody's next regular poll, and an hour.
pub(crate) const AFTER: Duration = Duration::from_secs(5 * 60 * 60);

const DOWN: Failure = Failure::Server(None);

/// What is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) devices: u32,
    /// For so many of what people wait for there are a hundred polls.
    pub(crate) people: u32,
    pub(crate) outage: Duration,
    pub(crate) pacing: Pacing,
    pub(crate) seed: u64,
}

impl Scene {
    /// When the server goes down.
    fn down(&self) -> Timestamp {
        START.after(BEFORE)
    }

    /// When it is back.
    fn up(&self) -> Timestamp {
        self.down().after(self.outage)
    }

    fn end(&self) -> Timestamp {
        self.up().after(AFTER)
    }

    fn is_down(&self, now: Timestamp) -> bool {
        (self.down()..self.up()).contains(&now)
    }

    /// How many minutes are played.
    pub(crate) fn minutes(&self) -> usize {
        minutes(BEFORE + self.outage + AFTER)
    }
}

/// Whole minutes.
pub(crate) fn minutes(time: Duration) -> usize {
    (time.as_secs() / MINUTE.as_secs()) as usize
}

/// What the server saw, and when what had failed was done.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Requests in each minute, answered or not.
    pub(crate) requests: Vec<u32>,
    /// Devices of which a poll failed or was held back.
    pub(crate) missed: u32,
    /// How long after the server was back each of them had an answer.
    pub(crate) caught_up: Vec<Duration>,
    /// People whose request failed, and who have no answer yet.
    pub(crate) waiting: u32,
    /// How long after the server was back the last of them had an answer.
    pub(crate) last_person: Duration,
}

struct Device {
    pacer: Pacer,
    period: Period,
    /// Of the poll that is due.
    attempts: u32,
    has_missed: bool,
}

/// Something that a person waits for.
struct Request {
    device: u32,
    attempts: u32,
}

/// What comes next, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Poll(u32),
    Person(u32),
}

/// Plays a scene. `on_minute` is told each minute that has passed.
pub(crate) fn play(scene: Scene, mut on_minute: impl FnMut(usize)) -> Course {
    let mut crowd = Crowd::new(scene);
    let mut minute = 0;
    while let Some(Reverse((now, task))) = crowd.due.pop().filter(|Reverse((now, _))| *now < scene.end()) {
        let passed = minutes(now.since(START));
        if passed > minute {
            minute = passed;
            on_minute(minute);
        }
        let next = match task {
            Task::Poll(number) => Some(crowd.poll(number, now)),
            Task::Person(number) => crowd.person(number, now),
        };
        crowd.due.extend(next.map(|at| Reverse((at, task))));
    }
    crowd.course
}

struct Crowd {
    scene: Scene,
    devices: Vec<Device>,
    requests: Vec<Request>,
    due: BinaryHeap<Reverse<(Timestamp, Task)>>,
    rng: ChaCha20Rng,
    course: Course,
}

impl Crowd {
    fn new(scene: Scene) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(scene.seed);
        let device = |_| Device {
            pacer: Pacer::new(scene.pacing),
            period: Period::new(POLL_PERIOD, rng.next_u64()),
            attempts: 0,
            has_missed: false,
        };
        let devices: Vec<Device> = (0..scene.devices).map(device).collect();
        let mut due: Vec<_> = (0..scene.devices)
            .zip(&devices)
            .map(|(number, device)| (Pacer::first(Work::Poll(device.period), START), Task::Poll(number)))
            .collect();

        // One in each such time, at any moment of it.
        let spacing = POLL_PERIOD * 100 / (scene.devices * scene.people);
        let mut requests = Vec::new();
        while START.after(spacing * requests.len() as u32) < scene.end() {
            let number = requests.len() as u32;
            let at = START.after(spacing * number + spacing.mul_f64(rng.random()));
            due.push((Pacer::first(Work::Person, at), Task::Person(number)));
            requests.push(Request { device: rng.random_range(0..scene.devices), attempts: 0 });
        }
        let due = due.into_iter().map(Reverse).collect();
        let course = Course { requests: vec![0; scene.minutes()], ..Course::default() };
        Self { scene, devices, requests, due, rng, course }
    }

    /// A poll is due. Says when the next one is.
    fn poll(&mut self, number: u32, now: Timestamp) -> Timestamp {
        let device = &mut self.devices[number as usize];
        let work = Work::Poll(device.period);
        let permit = device.pacer.permit(work, Network::Free, Duration::ZERO, now, &mut self.rng);
        if permit.is_ok() {
            self.course.requests[minutes(now.since(START))] += 1;
            if !self.scene.is_down(now) {
                device.pacer.answered(now);
                device.attempts = 0;
                if std::mem::take(&mut device.has_missed) {
                    self.course.caught_up.push(now.since(self.scene.up()));
                }
                return Pacer::first(work, now);
            }
        }
        if !std::mem::replace(&mut device.has_missed, true) {
            self.course.missed += 1;
        }
        if let Err(later) = permit {
            return later;
        }
        device.attempts += 1;
        device.pacer.failed(work, device.attempts, DOWN, now, &mut self.rng)
    }

    /// What a person waits for is due. Says when it is again, unless it has been answered.
    fn person(&mut self, number: u32, now: Timestamp) -> Option<Timestamp> {
        let request = &mut self.requests[number as usize];
        let pacer = &mut self.devices[request.device as usize].pacer;
        if let Err(later) = pacer.permit(Work::Person, Network::Free, Duration::ZERO, now, &mut self.rng) {
            return Some(later);
        }
        self.course.requests[minutes(now.since(START))] += 1;
        if !self.scene.is_down(now) {
            pacer.answered(now);
            if request.attempts > 0 {
                self.course.waiting -= 1;
                self.course.last_person = self.course.last_person.max(now.since(self.scene.up()));
            }
            return None;
        }
        if request.attempts == 0 {
            self.course.waiting += 1;
        }
        request.attempts += 1;
        Some(pacer.failed(Work::Person, request.attempts, DOWN, now, &mut self.rng))
    }
}
