//! Drives a tracer in real time: one thread for radio and store, one for servers. The only place of the library that waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Event, Tracer, TracerError, lock};

/// After a failure of the store the next step comes this much later.
const RETRY: Duration = Duration::from_secs(30);

/// After a panic a thread does its work again this much later: soon enough that nobody is missed, and not so soon that it would empty the battery.
const RESTART: Duration = if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(5) };

/// How often is looked whether the thread for servers has ended, or waits for one.
const LOOK: Duration = Duration::from_millis(1);

/// One of the threads of a [`Driver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Radio and store.
    Tracing,
    /// Servers.
    Correspondence,
}

/// Two running threads; where one panics it is told, and the thread does its work again: tracing never stands still in silence.
///
/// Dropping it ends them after the step that they are at, and silences the radio. A request that waits for its server is not
/// waited for: its answer is taken when it comes, or the request is repeated another time.
#[derive(Debug)]
pub struct Driver {
    tracer: Arc<Tracer>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    courier: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`TracerError::Thread`] where the system gives none.
    pub fn spawn(tracer: Arc<Tracer>) -> Result<Self, TracerError> {
        let ends = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("vigie".into())
            .spawn({
                let (tracer, ends) = (Arc::clone(&tracer), Arc::clone(&ends));
                move || run(&tracer, &ends)
            })
            .map_err(TracerError::Thread)?;
        // Where there is no second thread, this ends the first.
        let mut driver = Self { tracer, ends, thread: Some(thread), courier: None };
        let courier = std::thread::Builder::new().name("vigie-courier".into()).spawn({
            let (tracer, ends) = (Arc::downgrade(&driver.tracer), Arc::clone(&driver.ends));
            move || correspond(&tracer, &ends)
        });
        driver.courier = Some(courier.map_err(TracerError::Thread)?);
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        self.tracer.wake();
        // An app may let go of it in what the thread itself calls: that one ends a moment later.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the thread was told by the panic hook; nothing is left to do with it here.
            let _ = thread.join();
        }
        let Some(courier) = self.courier.take() else { return };
        while !courier.is_finished() && !self.tracer.waits_for_server.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
    }
}

fn run(tracer: &Tracer, ends: &AtomicBool) {
    while !ends.load(Ordering::Acquire) {
        let wait = tracer.survive(Task::Tracing, || {
            tracer.step().unwrap_or_else(|error| {
                tracing::warn!(%error, "a step failed and is tried again");
                RETRY
            })
        });
        tracer.sleep(wait);
    }
    // Without its thread, nobody would change the identifier.
    let _ = catch_unwind(AssertUnwindSafe(|| tracer.silence()));
}

/// A thread that waits for a server is not waited for, so it asks each time whether there is still a tracer; not after the end, when another thread
/// may be the last that has it.
fn correspond(tracer: &Weak<Tracer>, ends: &AtomicBool) {
    while !ends.load(Ordering::Acquire) {
        let Some(tracer) = tracer.upgrade() else { break };
        let wait = tracer.survive(Task::Correspondence, || {
            tracer.correspond().unwrap_or_else(|error| {
                tracing::warn!(%error, "what was to be sent is tried again");
                RETRY
            })
        });
        tracer.sleep_until_correspondence(wait);
    }
}

impl Tracer {
    /// Does `work`, and says after what time there is more of it. A panic ends here: the app is told, and the next call takes up what is in the store, where
    /// every change is complete or was not made.
    fn survive(&self, task: Task, work: impl FnOnce() -> Duration) -> Duration {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            if task == Task::Tracing {
                // Until it goes on, nobody would change the identifier. What panics once may do so again.
                let _ = catch_unwind(AssertUnwindSafe(|| self.silence()));
            }
            self.waits_for_server.store(false, Ordering::Release);
            self.restarts.fetch_add(1, Ordering::Relaxed);
            self.tell(Event::Restarted(task));
            RESTART
        })
    }

    /// Has a [`Driver`] look at once what is due: for a device that woke up, or whose clock was set.
    pub fn wake(&self) {
        *lock(&self.awake) = true;
        self.woken.notify_all();
        self.wake_correspondence();
    }

    fn sleep(&self, wait: Duration) {
        let awake = lock(&self.awake);
        let (mut awake, _) = self.woken.wait_timeout_while(awake, wait, |awake| !*awake).unwrap_or_else(PoisonError::into_inner);
        *awake = false;
    }
}
