//! The thread that owns the link to the system's Bluetooth, and what it is told to do.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Options;
use super::shared::Shared;
use crate::beacon::{Frame, ServiceUuid};
use crate::radio::RadioError;
use crate::time::Clock;

#[cfg(target_os = "linux")]
use super::bluez::Link;
#[cfg(not(target_os = "linux"))]
use super::listener::Link;

/// Where the answer to a command goes.
pub(super) type Answer = SyncSender<Result<(), RadioError>>;

/// What the worker is told to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Listen.
    Listen(Answer),
    /// Stop listening.
    Rest(Answer),
    /// Send this frame in the place of the one before.
    Advertise(Frame, Answer),
    /// Stop sending.
    Silence(Answer),
    /// Hear these services.
    Hear(Vec<ServiceUuid>, Answer),
    /// Send under this service from the next frame on.
    SendUnder(ServiceUuid, Answer),
}

/// Under which service is sent, and which ones are heard.
#[derive(Debug, Clone)]
pub(super) struct Services {
    pub(super) sent: ServiceUuid,
    pub(super) heard: Vec<ServiceUuid>,
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It was refused; the link goes on.
    Refused(RadioError),
    /// The link is of no use any more.
    Broken(RadioError),
    /// Nobody knows whether it was carried out, and the link is of no use any more.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only sending can end so"))]
    Uncertain(RadioError),
}

/// A runtime that does not end within this time is left to itself: some call into the system hangs.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Starts the thread. It ends when nobody is left to command it.
pub(super) fn spawn(
    options: Options,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
) -> Result<UnboundedSender<Command>, RadioError> {
    let (sender, commands) = unbounded_channel();
    std::thread::Builder::new()
        .name("vigie-ble".into())
        .spawn(move || {
            let services = Services { sent: options.service, heard: vec![options.service] };
            Worker { options, services, clock, shared, commands }.run();
        })
        .map_err(|error| RadioError::Failed { reason: format!("no thread: {error}") })?;
    Ok(sender)
}

struct Worker {
    options: Options,
    /// Also while there is no link.
    services: Services,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    commands: UnboundedReceiver<Command>,
}

impl Worker {
    fn run(mut self) {
        while let Some(command) = self.commands.blocking_recv() {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    answer(command, &RadioError::Failed { reason: format!("no runtime: {error}") });
                    continue;
                }
            };
            let ended = runtime.block_on(self.serve(command));
            // A link lives in a runtime of its own: with it end all tasks and connections that the link has left behind, and with the
            // connections all that the Bluetooth service does for them.
            Runtime::shutdown_timeout(runtime, SHUTDOWN);
            if ended.is_break() {
                return;
            }
        }
    }

    /// Makes a link, and uses it until it breaks. Breaks off where nobody commands any more.
    async fn serve(&mut self, first: Command) -> ControlFlow<()> {
        self.services.follow(&first);
        if let Command::Rest(answer) | Command::Silence(answer) | Command::Hear(_, answer) | Command::SendUnder(_, answer) = first
        {
            let _ = answer.send(Ok(()));
            return ControlFlow::Continue(());
        }
        let services = self.services.clone();
        let mut link = match Link::connect(&self.options, services, Arc::clone(&self.clock), Arc::clone(&self.shared)).await {
            Ok(link) => link,
            Err(problem) => {
                answer(first, &problem);
                return ControlFlow::Continue(());
            }
        };
        let mut problem = obey(&mut link, first).await;
        while problem.is_none() {
            // Only waiting is broken off by a command, never an action.
            problem = tokio::select! {
                biased;
                happening = link.next() => link.act(happening).await.err(),
                command = self.commands.recv() => match command {
                    Some(command) => {
                        self.services.follow(&command);
                        obey(&mut link, command).await
                    }
                    None => {
                        link.close().await;
                        return ControlFlow::Break(());
                    }
                },
            };
        }
        if let Some(problem) = problem {
            tracing::info!(%problem, "the link to the Bluetooth service broke");
            link.give_up(&problem);
        }
        ControlFlow::Continue(())
    }
}

impl Services {
    fn follow(&mut self, command: &Command) {
        match command {
            Command::Hear(services, _) => self.heard.clone_from(services),
            Command::SendUnder(service, _) => self.sent = *service,
            _ => {}
        }
    }
}

/// Does what a command says. Returns why the link is of no use any more, if it is not.
async fn obey(link: &mut Link, command: Command) -> Option<RadioError> {
    let (done, answer) = match command {
        Command::Listen(answer) => (link.listen().await, answer),
        Command::Rest(answer) => (link.rest().await, answer),
        Command::Advertise(frame, answer) => (link.advertise(frame).await, answer),
        Command::Silence(answer) => (link.silence().await, answer),
        Command::Hear(services, answer) => (link.hear_services(services).await, answer),
        Command::SendUnder(service, answer) => {
            link.send_under(service);
            (Ok(()), answer)
        }
    };
    let (said, broken) = match done {
        Ok(()) => (Ok(()), None),
        Err(Trouble::Refused(problem)) => (Err(problem), None),
        Err(Trouble::Broken(problem)) => (Err(problem.clone()), Some(problem)),
        // A frame that may have been sent counts as sent, and as lost at once.
        Err(Trouble::Uncertain(problem)) => (Ok(()), Some(problem)),
    };
    // Before the answer, so that whoever asks next is told.
    if let Some(problem) = &broken {
        link.give_up(problem);
    }
    // Whoever asked may have waited too long and gone.
    let _ = answer.send(said);
    broken
}

fn answer(command: Command, problem: &RadioError) {
    let (Command::Listen(answer)
    | Command::Rest(answer)
    | Command::Advertise(_, answer)
    | Command::Silence(answer)
    | Command::Hear(_, answer)
    | Command::SendUnder(_, answer)) = command;
    let _ = answer.send(Err(problem.clone()));
}
