//! Published files as others read them: OpenSSL verifies the signature, and `protoc` decodes both parts from the published schema.

use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;

use crate::common::skipped;
use crate::phone::{Backend, keys};
use crate::place::Place;

/// Stands before the message in `export.bin`.
const MAGIC: &[u8] = b"EK Export v1    ";

#[tokio::test(flavor = "multi_thread")]
async fn a_published_file_verifies_with_openssl_and_decodes_with_protoc() {
    if !["openssl", "protoc"].iter().all(|tool| is_installed(tool)) {
        return;
    }
    let backend = Backend::start(&Place::sqlite()).await;
    let reported = keys(1, 4, &backend.clock);
    let likely = backend.publish(&backend.report("likely", &reported, &[7; 32], "").await).await;
    backend.publish_now().await;
    let revised = backend.report("confirmed", &reported[1..], &[8; 32], likely.text("revisionToken")).await;
    assert_eq!(backend.publish(&revised).await.status, 200);
    backend.publish_now().await;

    let client: Value = serde_json::from_slice(&fs::read(backend.data.path().join("client.json")).unwrap()).unwrap();
    let index = backend.http.get(backend.url("/index.txt")).send().await.unwrap().text().await.unwrap();
    for (name, list) in index.lines().zip(["keys", "revised_keys"]) {
        let zip = backend.http.get(backend.url(&format!("/{name}"))).send().await.unwrap().bytes().await.unwrap();
        let [export, signatures] = ["export.bin", "export.sig"].map(|entry| part(&zip, entry));
        let message = export.strip_prefix(MAGIC).unwrap();

        let said = decoded("TemporaryExposureKeyExport", message);
        let found = messages(&said, list);
        for key in &reported[1..] {
            let is_key = |found: &&Vec<&str>| bytes(value(found, "key_data")) == BASE64_STANDARD.decode(&key.key).unwrap();
            let found = found.iter().find(is_key).unwrap();
            assert_eq!(value(found, "rolling_start_interval_number"), key.rolling_start_number.to_string());
            let report_type = if list == "keys" { "CONFIRMED_CLINICAL_DIAGNOSIS" } else { "CONFIRMED_TEST" };
            assert_eq!(value(found, "report_type"), report_type);
        }
        assert_eq!(value(&said, "region"), "\"ZZ\"");
        assert_eq!((value(&said, "batch_num"), value(&said, "batch_size")), ("1", "1"));

        let signed = decoded("TEKSignatureList", &signatures);
        let public = &client["public_keys"][0];
        for said in [&said, &signed] {
            assert_eq!(value(said, "verification_key_id"), public["key_id"].to_string());
            assert_eq!(value(said, "verification_key_version"), public["key_version"].to_string());
            assert_eq!(value(said, "signature_algorithm"), "\"1.2.840.10045.4.3.2\"");
        }
        let signature = bytes(value(&signed, "signature"));
        assert!(is_signed(&export, &signature, public["pem"].as_str().unwrap()));
        let mut flipped = export.clone();
        flipped[40] ^= 1;
        assert!(!is_signed(&flipped, &signature, public["pem"].as_str().unwrap()), "a bit is another");
    }
    assert_eq!(index.lines().count(), 2);
}

fn is_installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped(&format!("there is no `{tool}` (Debian: openssl, protobuf-compiler)"));
    }
    found
}

fn part(zip: &[u8], entry: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut content = Vec::new();
    archive.by_name(entry).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// The lines in which `protoc` shows a message of the schema beside this file.
fn decoded(message: &str, content: &[u8]) -> Vec<String> {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), content).unwrap();
    let mut protoc = Command::new("protoc");
    protoc.arg(format!("--decode={message}")).arg("-I").arg(&schema).arg(schema.join("export.proto"));
    let text = done(protoc.stdin(fs::File::open(input.path()).unwrap()));
    let lines: Vec<String> = String::from_utf8(text.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect();
    // A field that the schema does not know is shown by its number.
    assert!(lines.iter().all(|line| !line.starts_with(|c: char| c.is_ascii_digit())), "{message}: an unknown field");
    lines
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The lines of each message of a list.
fn messages<'a>(lines: &'a [String], list: &str) -> Vec<Vec<&'a str>> {
    let begins = format!("{list} {{");
    let starts = lines.iter().enumerate().filter(|(_, line)| **line == begins);
    starts.map(|(at, _)| lines[at + 1..].iter().map(String::as_str).take_while(|line| *line != "}").collect()).collect()
}

/// What stands behind the first field of this name.
fn value<'a>(lines: &'a [impl AsRef<str>], field: &str) -> &'a str {
    let begins = format!("{field}: ");
    lines.iter().find_map(|line| line.as_ref().strip_prefix(&begins)).unwrap_or_else(|| panic!("there is no {field}"))
}

/// Bytes as `protoc` writes them: in quotation marks, with escapes of C, numbers in three octal digits.
fn bytes(quoted: &str) -> Vec<u8> {
    let mut rest = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap().as_bytes();
    let mut bytes = Vec::new();
    while let Some((&first, more)) = rest.split_first() {
        let (byte, length) = match (first, more) {
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [a @ b'0'..=b'3', b, c, ..]) => ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 4),
            (b'\\', [other, ..]) => (*other, 2),
            (plain, _) => (plain, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

fn is_signed(content: &[u8], signature: &[u8], public_key: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-verify"]).arg(file("public.pem", public_key.as_bytes()));
    openssl.arg("-signature").arg(file("signature.der", signature)).arg(file("export.bin", content));
    let output = openssl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Verified OK") || said.contains("Verification failure"), "{output:?}");
    output.status.success()
}
