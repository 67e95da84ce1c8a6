//! A radio that is simulated: what it sends is looked at, and what it hears is handed to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vigie_ffi::{Advertisement, Radio, RadioError, RadioProblem, RadioSink, ScanResult};

const OFF: RadioError = RadioError::Problem { problem: RadioProblem::PoweredOff };

#[derive(Default)]
pub(crate) struct SimulatedRadio(Mutex<State>);

#[derive(Default)]
pub(crate) struct State {
    sink: Option<Arc<RadioSink>>,
    pub(crate) sent: Option<Advertisement>,
    pub(crate) is_scanning: bool,
    /// How often it was told to scan.
    pub(crate) scans: u32,
    is_off: bool,
}

impl SimulatedRadio {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others sent comes to it.
    pub(crate) fn hear(&self, results: Vec<ScanResult>) {
        let sink = self.lock().sink.clone();
        if let Some(sink) = sink {
            sink.heard(results);
        }
    }

    /// The user switches it off, or on again.
    pub(crate) fn switch(&self, is_off: bool) {
        let sink = {
            let mut state = self.lock();
            state.is_off = is_off;
            if is_off {
                (state.sent, state.is_scanning) = (None, false);
            }
            state.sink.clone()
        };
        if let Some(sink) = sink.filter(|_| is_off) {
            sink.scanning_failed(RadioProblem::PoweredOff);
            sink.advertising_failed(RadioProblem::PoweredOff);
        }
    }
}

impl Radio for SimulatedRadio {
    fn attach(&self, sink: Arc<RadioSink>) {
        self.lock().sink = Some(sink);
    }

    fn detach(&self) {
        self.lock().sink = None;
    }

    fn start_scanning(&self, _: Vec<u16>) -> Result<(), RadioError> {
        let mut state = self.lock();
        if state.is_off {
            return Err(OFF);
        }
        (state.is_scanning, state.scans) = (true, state.scans + 1);
        Ok(())
    }

    fn stop_scanning(&self) {
        self.lock().is_scanning = false;
    }

    fn advertise(&self, advertisement: Advertisement) -> Result<(), RadioError> {
        let mut state = self.lock();
        state.sent = (!state.is_off).then_some(advertisement);
        if state.is_off { Err(OFF) } else { Ok(()) }
    }

    fn stop_advertising(&self) {
        self.lock().sent = None;
    }

    fn exchange(&self, _: String, _: u16, _: Vec<u8>) -> Result<Vec<u8>, RadioError> {
        Err(RadioError::Problem { problem: RadioProblem::Unsupported })
    }
}
