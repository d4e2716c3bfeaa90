//! Files that are as they should be, and files that are not.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::files;

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_key_of_another_certificate_is_told_by_both_names_and_files_without_any_by_theirs() {
    let folder = std::env::temp_dir().join(format!("strait-certificates-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let make = || -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap()
    };
    let (one, other) = (make(), make());
    let cert = write(&folder, "one.pem", &one.cert.pem());
    let key = write(&folder, "one.key", &one.signing_key.serialize_pem());
    let foreign = write(&folder, "other.key", &other.signing_key.serialize_pem());
    let garbage = write(&folder, "garbage.pem", "-----BEGIN NOTHING-----");
    let pair = |cert: &Path, key: &Path| {
        let pair = files::pair(cert, key, &mut blake3::Hasher::new());
        pair.map(drop).map_err(|why| why.replace(&format!("{}/", folder.display()), ""))
    };
    assert_eq!(pair(&cert, &key), Ok(()));
    let said = |result: Result<(), String>| result.unwrap_err();
    assert_eq!(said(pair(&cert, &foreign)), "key `other.key` does not belong to certificate `one.pem`");
    assert_eq!(said(pair(&garbage, &key)), "`garbage.pem` holds no certificate in PEM that can be read");
    assert_eq!(said(pair(&cert, &garbage)), "`garbage.pem` holds no private key in PEM that can be read");
    assert!(said(pair(&folder.join("none.pem"), &key)).starts_with("cannot read `none.pem`"));
    std::fs::remove_dir_all(&folder).unwrap();
}
