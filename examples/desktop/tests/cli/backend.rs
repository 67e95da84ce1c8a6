//! The real backend, on addresses that are free, with its data in the folder of a desk.

use std::sync::Arc;

use tokio::runtime::Runtime;
use vigie::time::SystemClock;
use vigie_backend::Server;
use vigie_backend::config::Config;

use super::Desk;

/// A backend that ends in order when dropped.
pub(super) struct Backend {
    runtime: Runtime,
    server: Option<Server>,
}

impl Backend {
    pub(super) fn start(desk: &Desk) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut config = Config::new(desk.path("vigie-data"));
        config.listen.set_port(0);
        config.admin_listen.set_port(0);
        let server = runtime.block_on(Server::start(config, Arc::new(SystemClock))).unwrap();
        Self { runtime, server: Some(server) }
    }

    /// Where apps call.
    pub(super) fn public(&self) -> String {
        format!("http://{}", self.server.as_ref().unwrap().public_address())
    }

    /// Where administrators call.
    pub(super) fn admin(&self) -> String {
        format!("http://{}", self.server.as_ref().unwrap().admin_address())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.shutdown());
        }
    }
}
