//! `nginx.conf` as it is, but for paths, ports and the certificate: nginx takes it, speaks TLS and HTTP/2, serves what is published from the disk, and
//! lets nobody say who else is asking.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use reqwest::{Certificate, StatusCode, Version, header, redirect};
use serde_json::{Value, json};
use tempfile::TempDir;
use vigie::courier::VerificationCode;

use crate::common::{free_port, skipped};
use crate::phone::{Backend, keys};
use crate::place::Place;

/// The name in `nginx.conf`.
const NAME: &str = "tracing.example.org";

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// nginx before a backend, ended when dropped.
struct Nginx {
    process: Child,
    plain_port: u16,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// Where it is installed.
    async fn start(backend: &Backend) -> Option<Self> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            skipped("there is no `nginx` (Debian: nginx-light)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (plain_port, port) = (free_port(), free_port());
        certify(folder.path());
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, configured(folder.path(), plain_port, port, backend)).unwrap();
        let nginx = || {
            let mut nginx = Command::new("nginx");
            // Its workers would be another user, who may not look into a temporary folder.
            let main = format!("user root; daemon off; pid {};", folder.path().join("pid").display());
            nginx.arg("-p").arg(folder.path()).arg("-c").arg(&configuration).args(["-e", "stderr", "-g", &main]);
            nginx.stdin(Stdio::null()).stdout(Stdio::null());
            nginx
        };
        done(nginx().arg("-t"));
        let process = nginx().stderr(fs::File::create(folder.path().join("stderr")).unwrap()).spawn().unwrap();
        let mut nginx = Self { process, plain_port, port, folder };
        let client = nginx.client(V4);
        while client.get(nginx.url("/health")).send().await.is_err() {
            assert!(nginx.process.try_wait().unwrap().is_none(), "nginx has ended: {}", nginx.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(nginx)
    }

    /// Somebody at this address.
    fn client(&self, address: IpAddr) -> reqwest::Client {
        let certificate = Certificate::from_pem(&fs::read(self.folder.path().join("certificate.pem")).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).redirect(redirect::Policy::none());
        client.no_proxy().resolve(NAME, SocketAddr::new(address, self.port)).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{NAME}:{}{path}", self.port)
    }

    fn last_words(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked, it takes its workers with it.
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A certificate that is its own authority.
fn certify(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={NAME}"), "-addext", &format!("subjectAltName=DNS:{NAME}")]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    done(openssl.arg("-keyout").arg(folder.join("certificate.key")).arg("-out").arg(folder.join("certificate.pem")));
}

/// `nginx.conf` with the places of this test. Each of them must be there to be replaced.
fn configured(folder: &Path, plain_port: u16, port: u16, backend: &Backend) -> String {
    let within = |name: &str| folder.join(name).display().to_string();
    let v6 = |port: u16, rest: &str| if has_v6() { format!("listen [::1]:{port}{rest};") } else { String::new() };
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!(" {what}_temp_path {};", within(what))).concat();
    let changes = [
        ("include mime.types;", format!("include {};{temporary}", mime_types().display())),
        ("/var/log/nginx/error.log", within("error.log")),
        ("server 127.0.0.1:8080;", format!("server {};", backend.url("").trim_start_matches("http://"))),
        ("listen 80;", format!("listen 127.0.0.1:{plain_port};")),
        ("listen [::]:80;", v6(plain_port, "")),
        ("listen 443 ssl http2;", format!("listen 127.0.0.1:{port} ssl http2;")),
        ("listen [::]:443 ssl http2;", v6(port, " ssl http2")),
        ("/etc/ssl/tracing.example.org.pem", within("certificate.pem")),
        ("/etc/ssl/tracing.example.org.key", within("certificate.key")),
        ("/var/lib/vigie/public", backend.data.path().join("public").display().to_string()),
    ];
    let ours = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("nginx.conf")).unwrap();
    changes.iter().fold(ours, |text, (from, to)| {
        assert!(text.contains(from), "nginx.conf has no {from}");
        text.replace(from, to)
    })
}

/// The file that comes with nginx.
fn mime_types() -> PathBuf {
    let known = ["/etc/nginx/mime.types", "/usr/local/etc/nginx/mime.types", "/opt/homebrew/etc/nginx/mime.types"];
    known.iter().map(PathBuf::from).find(|path| path.is_file()).unwrap()
}

fn has_v6() -> bool {
    TcpListener::bind((V6, 0)).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nginx_configuration_serves_files_itself_and_passes_reports_on() {
    let mut backend = Backend::start(&Place::sqlite()).await;
    let Some(nginx) = Nginx::start(&backend).await else { return };
    let client = nginx.client(V4);
    let get = async |path: &str| client.get(nginx.url(path)).send().await.unwrap();

    let request = backend.report("confirmed", &keys(1, 4, &backend.clock), &[7; 32], "").await;
    let report = client.post(nginx.url("/v1/publish")).body(request.to_string()).send().await.unwrap();
    assert_eq!((report.status(), report.version()), (StatusCode::OK, Version::HTTP_2));
    let answer: Value = serde_json::from_slice(&report.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["insertedExposures"], 4, "{answer}");
    assert_eq!(get("/client.json").await.status(), StatusCode::OK);
    let too_long = client.post(nginx.url("/v1/publish")).body(vec![b' '; 70_000]).send().await.unwrap();
    assert_eq!(too_long.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get("/api/issue").await.status(), StatusCode::NOT_FOUND, "administration is not for the world");

    backend.publish_now().await;
    backend.stop().await;
    assert_eq!(get("/health").await.status(), StatusCode::BAD_GATEWAY, "the backend is gone, and files are served all the same");
    let index = get("/index.txt").await;
    assert_eq!((index.status(), index.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(index.headers()[header::CACHE_CONTROL], "public, max-age=300");
    let etag = index.headers()[header::ETAG].clone();
    let unchanged = client.get(nginx.url("/index.txt")).header(header::IF_NONE_MATCH, etag).send().await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    let path = format!("/{}", index.text().await.unwrap().trim());
    let file = get(&path).await;
    assert_eq!(file.headers()[header::CACHE_CONTROL], "public, max-age=1209600, immutable");
    assert_eq!(file.headers()[header::CONTENT_TYPE], "application/zip");
    let file = file.bytes().await.unwrap();
    assert_eq!(file, fs::read(backend.data.path().join("public").join(&path[1..])).unwrap());
    let rest = client.get(nginx.url(&path)).header(header::RANGE, "bytes=100-").send().await.unwrap();
    assert_eq!(
        (rest.status(), rest.bytes().await.unwrap()),
        (StatusCode::PARTIAL_CONTENT, file.slice(100..)),
        "a download is resumed"
    );

    let plain = format!("http://127.0.0.1:{}/index.txt", nginx.plain_port);
    let plain = client.get(plain).send().await.unwrap();
    assert_eq!(plain.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(plain.headers()[header::LOCATION], "https://127.0.0.1/index.txt");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_nobody_says_for_whom_he_asks() {
    let backend = Backend::with(&Place::sqlite(), |config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.wrong_codes.by_address = NonZeroU32::new(2).unwrap();
    })
    .await;
    let Some(nginx) = Nginx::start(&backend).await else { return };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut guess = || json!({ "code": VerificationCode::generate(&mut rng).as_str() }).to_string();
    let others = (1..4).map(|other| format!("for=203.0.113.{other}"));
    for other in others.clone() {
        let answer = backend.post("/api/verify", &[("forwarded", &other)], guess()).await;
        assert_eq!(answer.code(), "code_not_found", "the backend believes whom it trusts, so nginx must not pass lies on");
    }
    let addresses = if has_v6() { vec![V4, V6] } else { vec![V4] };
    for address in addresses {
        let client = nginx.client(address);
        let mut codes = Vec::new();
        for other in others.clone() {
            let request = client.post(nginx.url("/api/verify")).header("x-api-key", backend.secret("api-key"));
            let request = request.header("forwarded", &other).header("x-forwarded-for", other.trim_start_matches("for="));
            let answer = request.body(guess()).send().await.unwrap().bytes().await.unwrap();
            codes.push(serde_json::from_slice::<Value>(&answer).unwrap()["errorCode"].as_str().unwrap().to_owned());
        }
        assert_eq!(codes, ["code_not_found", "code_not_found", "quota_exceeded"], "{address}: the third guess of one address");
    }
}
