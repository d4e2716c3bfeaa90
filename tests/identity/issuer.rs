//! An issuer of tokens that answers as it is told, and counts who asks.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// A key pair, and how its public half is told.
pub struct Pair {
    pub id: String,
    pub algorithm: Algorithm,
    private: EncodingKey,
    pub jwk: Value,
}

impl Pair {
    /// One on the curve P-256.
    pub fn es256(id: &str) -> Pair {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let private = pair.to_pkcs8v1().expect("PKCS #8");
        let point = pair.public_key().as_ref();
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])});
        let private = EncodingKey::from_ec_der(private.as_ref());
        Pair { id: id.to_owned(), algorithm: Algorithm::ES256, private, jwk }
    }

    pub fn ed25519(id: &str) -> Pair {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::generate().expect("a key");
        let private = pair.to_pkcs8v1().expect("PKCS #8");
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())});
        let private = EncodingKey::from_ed_der(private.as_ref());
        Pair { id: id.to_owned(), algorithm: Algorithm::EdDSA, private, jwk }
    }

    /// RSA of 2,048 bits; `jsonwebtoken` takes PKCS #1.
    pub fn rsa(id: &str, algorithm: Algorithm) -> Pair {
        use aws_lc_rs::encoding::AsDer;
        use aws_lc_rs::rsa::{KeyPair, KeySize};
        use aws_lc_rs::signature::KeyPair as _;
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).expect("PKCS #8");
        let public = pair.public_key();
        let coded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "RSA", "kid": id, "use": "sig",
            "n": coded(public.modulus().big_endian_without_leading_zero()),
            "e": coded(public.exponent().big_endian_without_leading_zero())});
        let private = EncodingKey::from_rsa_der(inner(private.as_ref()));
        Pair { id: id.to_owned(), algorithm, private, jwk }
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(claims, "at+jwt")
    }

    pub fn sign_as(&self, claims: &Value, kind: &str) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = Some(kind.to_owned());
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.private).expect("sign")
    }

    /// Under a head of one's own.
    pub fn sign_under(&self, head: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.private, self.algorithm);
        format!("{signed}.{}", signature.expect("sign"))
    }
}

/// The RSA key in a PKCS #8 document: the last OCTET STRING of it.
fn inner(pkcs8: &[u8]) -> &[u8] {
    // SEQUENCE { INTEGER 0, SEQUENCE { OID, NULL }, OCTET STRING }, all lengths in two bytes.
    let at = pkcs8.windows(2).position(|pair| pair == [0x04, 0x82]).expect("an OCTET STRING");
    &pkcs8[at + 4..]
}

pub fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64
}

/// What an issuer says at a path: status, further header lines, body.
pub type Said = (u16, String, Vec<u8>);

type Answers = Arc<Mutex<HashMap<String, Script>>>;

#[derive(Clone)]
pub enum Script {
    Says(Said),
    /// What it says hangs on the whole request, head and body.
    Does(Arc<dyn Fn(&str) -> Said + Send + Sync>),
    /// It takes the request and says nothing.
    Hangs,
    /// It sends without an end.
    Floods,
    /// It says this to whoever shows that header line, and 401 to others.
    Knows(String, Vec<u8>),
}

/// A process that speaks HTTP, and counts what it is asked; its copies are one.
#[derive(Clone)]
pub struct Issuer {
    pub address: SocketAddr,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Issuer {
    /// One with metadata of OpenID Connect Discovery, and these keys.
    pub fn start(pairs: &[&Pair]) -> Issuer {
        let issuer = Issuer::silent();
        let url = issuer.url();
        issuer.says_json(
            "/.well-known/openid-configuration",
            &json!({"issuer": url, "jwks_uri": format!("{url}/jwks")}),
        );
        issuer.has(pairs);
        issuer
    }

    /// One that knows no path.
    pub fn silent() -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("an address");
        let (answers, asked) = (Answers::default(), Arc::new(Mutex::new(Vec::new())));
        let (scripts, log) = (answers.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (scripts, log) = (scripts.clone(), log.clone());
                std::thread::spawn(move || answer(stream, &scripts, &log));
            }
        });
        Issuer { address, answers, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn has(&self, pairs: &[&Pair]) {
        let keys: Vec<&Value> = pairs.iter().map(|pair| &pair.jwk).collect();
        self.says_json("/jwks", &json!({ "keys": keys }));
    }

    pub fn says_json(&self, path: &str, value: &Value) {
        let body = value.to_string().into_bytes();
        self.says(path, Script::Says((200, "Content-Type: application/json\r\n".to_owned(), body)));
    }

    pub fn says(&self, path: &str, script: Script) {
        self.answers.lock().unwrap().insert(path.to_owned(), script);
    }

    /// What was asked for at a path, each as it came.
    pub fn heard(&self, path: &str) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).cloned().collect()
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).count()
    }
}

fn answer(mut stream: TcpStream, scripts: &Answers, log: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        body.len() >= length.unwrap_or(0)
    };
    while !whole(&request) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&piece[..read]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(format!("{path} {text}"));
    let script = scripts.lock().unwrap().get(&path).cloned();
    let script = match script.unwrap_or_else(|| Script::Says((404, String::new(), b"nothing".to_vec()))) {
        Script::Does(does) => Script::Says(does(&text)),
        other => other,
    };
    match script {
        // It was asked what to say already.
        Script::Does(_) => {}
        Script::Says((status, lines, body)) => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\n{lines}Content-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
        Script::Knows(line, body) => {
            let is_known = text.to_ascii_lowercase().contains(&line.to_ascii_lowercase());
            let (status, body) = if is_known { (200, body) } else { (401, b"{}".to_vec()) };
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
        Script::Hangs => {
            // Until the other side has had enough.
            let _ = stream.read(&mut piece);
        }
        Script::Floods => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"keys\":[");
            while stream.write_all(&[b' '; 4096]).is_ok() {}
        }
    }
}
