//! nginx before the backend, as `examples/backend/nginx.conf` has it: published files from the disk, everything else passed on. Without TLS, on a free
//! port of this machine, and everything it writes in one folder.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::connection::Connection;
use crate::process::Process;

/// How long it may take to start.
const START_TIME: Duration = Duration::from_secs(10);

/// A running nginx.
pub(super) struct Nginx {
    pub(super) address: SocketAddr,
    /// Ends it when dropped.
    _process: Process,
}

impl Nginx {
    /// Starts it, with a folder of its own and the folder of published files. `None` where there is no such program.
    ///
    /// # Errors
    /// Where it does not start, with its own words.
    pub(super) async fn start(program: &Path, folder: &Path, public: &Path, backend: SocketAddr) -> anyhow::Result<Option<Self>> {
        fs::create_dir(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        // Between this look for a free port and nginx another program may take it: nginx says so then.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).context("there is no free port")?;
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration(folder, public, address, backend))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", "stderr"]).stdout(Stdio::null());
        let process = match Process::start(&mut command, &folder.join("log")) {
            Err(e) if is_missing(&e) => return Ok(None),
            started => started?,
        };
        let begun = Instant::now();
        let mut connection = Connection::new(address)?;
        while let Err(e) = connection.download("/health").await {
            if begun.elapsed() > START_TIME {
                bail!("nginx does not answer ({e:#}); its last words:\n{}", process.last_words());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Some(Self { address, _process: process }))
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound)
}

/// One process, so that nothing is left of it when it is ended, and it reads what its user may read.
fn configuration(folder: &Path, public: &Path, address: SocketAddr, backend: SocketAddr) -> String {
    let (folder, public) = (folder.display(), public.display());
    format!(
        r#"daemon off;
master_process off;
pid "{folder}/pid";
error_log stderr crit;
events {{
    worker_connections 4096;
}}
http {{
    types {{
        text/plain txt;
        application/zip zip;
    }}
    access_log off;
    server_tokens off;
    sendfile on;
    keepalive_timeout 30s;
    client_body_temp_path "{folder}/body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    upstream vigie_backend {{
        server {backend};
        keepalive 64;
    }}
    server {{
        listen {address};
        location /keys/ {{
            root "{public}";
            add_header Cache-Control "public, max-age=1209600, immutable";
        }}
        location = /index.txt {{
            root "{public}";
            add_header Cache-Control "public, max-age=300";
        }}
        location / {{
            proxy_pass http://vigie_backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"#
    )
}
