//! Keys as text.

use super::*;

#[test]
fn private_keys_of_openssl_sign_and_others_are_refused() {
    let signing = SigningKey::from_pkcs8_pem(OPENSSL_PRIVATE).unwrap();
    let zip = write_export(&header(), &diagnosis_keys(1), &[], &signing).unwrap();
    assert!(read_and_verify(&zip, signing.public_key()).is_ok());
    assert_eq!(&*signing.to_pkcs8_pem().unwrap(), OPENSSL_PRIVATE);
    assert!(!format!("{signing:?}").contains("document"));

    let other_label = OPENSSL_PRIVATE.replace("PRIVATE KEY", "EC PRIVATE KEY");
    let other_point = OPENSSL_PRIVATE.replace("ct83", "ct84");
    for bad in ["", "-----BEGIN", &other_label, &other_point, &OPENSSL_PRIVATE.repeat(20), &OPENSSL_PRIVATE[..150]] {
        let refused = SigningKey::from_pkcs8_pem(bad).unwrap_err().to_string();
        assert!(!refused.contains("MIGH"), "{refused}");
    }
}

#[test]
fn public_keys_are_read_as_pem_and_as_base64_and_others_are_refused() {
    let key = SigningKey::from_pkcs8_pem(OPENSSL_PRIVATE).unwrap().public_key().clone();
    let base64 = key.to_string();
    assert!(base64.starts_with("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"), "{base64}");
    let wrapped = format!("{}\n{}", &base64[..64], &base64[64..]);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{wrapped}\n-----END PUBLIC KEY-----");
    let crlf = pem.replace('\n', "\r\n");
    for text in [&base64, &format!(" {base64}\n"), &wrapped, &pem, &format!("\n{pem}\n\n"), &crlf] {
        assert_eq!(text.parse::<PublicKey>().unwrap(), key, "{text}");
    }
    let p_384 = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE".to_string() + &"A".repeat(128);
    let compressed = "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgAD".to_string() + &"A".repeat(44);
    let trailing = format!("{}AAAA", base64.trim_end_matches('='));
    for text in ["", "?", &base64[..80], &p_384, &compressed, &trailing, &pem.replace("PUBLIC", "PRIVATE"), &pem[..100]] {
        let refused = text.parse::<PublicKey>().unwrap_err();
        assert!(matches!(refused, ExportError::PublicKey { .. }), "{refused}");
    }
    assert!(matches!(" ".repeat(5_000).parse::<PublicKey>(), Err(ExportError::Limit { .. })));
}
