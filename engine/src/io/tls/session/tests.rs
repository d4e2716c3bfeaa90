//! Two sessions that speak to each other in memory, whatever the network does to the bytes between them.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

type Both = (ServerTls, ClientTls);

/// How both sides speak, of TLS 1.2 and of 1.3.
fn configured(is_old: bool) -> &'static Both {
    static BOTH: OnceLock<[Both; 2]> = OnceLock::new();
    let both = BOTH.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        [&TLS13, &TLS12].map(|version| {
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            let server = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .unwrap();
            let client = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            (ServerTls { config: server.into(), believed: None }, ClientTls { config: client.into(), name })
        })
    });
    &both[usize::from(is_old)]
}

/// What a session reads of these bytes, that come in pieces, into a buffer of a reader with so much room.
fn hear(session: &mut Session, bytes: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, Error> {
    let mut heard = Vec::new();
    for mut piece in bytes.chunks(piece) {
        while !piece.is_empty() {
            let mut incoming = session.room(0);
            let (now, rest) = piece.split_at(incoming.room().min(piece.len()));
            assert!(!now.is_empty(), "no room is an end that nobody said");
            incoming.extend_from_slice(now);
            piece = rest;
            let mut reader = Buf::with_capacity(room);
            session.took_in(incoming, &mut reader)?;
            heard.extend_from_slice(&reader);
            while session.has_plain() {
                let mut reader = Buf::with_capacity(room);
                session.take_plain(&mut reader);
                heard.extend_from_slice(&reader);
            }
        }
    }
    Ok(heard)
}

/// Both sides, when they have agreed.
fn shaken(is_old: bool, piece: usize) -> (Session, Session) {
    let (server, client) = configured(is_old);
    let (mut server, mut client) = (Session::server(server).unwrap(), Session::client(client).unwrap());
    client.advance().unwrap();
    for _ in 0..8 {
        if let Some(said) = client.take_outgoing() {
            assert!(hear(&mut server, &said, piece, 1_024).unwrap().is_empty());
        }
        if let Some(said) = server.take_outgoing() {
            assert!(hear(&mut client, &said, piece, 1_024).unwrap().is_empty());
        }
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    (server, client)
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + at / 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_said_is_heard_however_it_is_cut(
        is_old: bool,
        piece in prop_oneof![1usize..64, 1_000usize..40_000],
        room in 1usize..40_000,
        messages in proptest::collection::vec(0usize..50_000, 1..4),
    ) {
        let (mut server, mut client) = shaken(is_old, piece);
        for bytes in messages {
            let said = text(bytes);
            let sealed = client.seal(&said).unwrap();
            prop_assert_eq!(&hear(&mut server, &sealed, piece, room).unwrap(), &said);
            let answer = server.seal(&said).unwrap();
            prop_assert_eq!(&hear(&mut client, &answer, piece, room).unwrap(), &said);
        }
        prop_assert!(!server.is_ended());
        let end = client.seal_end();
        prop_assert!(hear(&mut server, &end, piece, room).unwrap().is_empty());
        prop_assert!(server.is_ended() && client.seal(b"more").is_err());
    }

    /// Nothing is heard that was not said: of what is tampered with, a beginning at most.
    #[test]
    fn a_changed_bit_ends_it(
        is_old: bool,
        bytes in 1usize..40_000,
        place: prop::sample::Index,
        bit in 0u8..8,
        piece in 1usize..20_000,
    ) {
        let (mut server, mut client) = shaken(is_old, 2_048);
        let said = text(bytes);
        let mut sealed = client.seal(&said).unwrap().to_vec();
        let at = place.index(sealed.len());
        sealed[at] ^= 1 << bit;
        // A record that has become longer waits for the rest of it.
        if let Ok(heard) = hear(&mut server, &sealed, piece, 4_096) {
            prop_assert!(heard.len() < said.len() && said.starts_with(&heard));
            prop_assert!(server.holds_part() || !server.is_ended());
        } else {
            prop_assert!(server.seal(b"answer").is_err());
        }
    }

    /// The first thing that anybody can say to a listener.
    #[test]
    fn a_hello_that_is_none_is_an_error_or_waited_for(
        is_old: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut: prop::sample::Index,
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        piece in 1usize..600,
    ) {
        let (server, client) = configured(is_old);
        let mut client = Session::client(client).unwrap();
        client.advance().unwrap();
        let mut hello = client.take_outgoing().unwrap().to_vec();
        for (place, byte) in changes {
            let at = place.index(hello.len());
            hello[at] = byte;
        }
        hello.truncate(cut.index(hello.len() + 1));
        hello.extend_from_slice(&tail);
        let mut server = Session::server(server).unwrap();
        match hear(&mut server, &hello, piece, 1_024) {
            Ok(heard) => prop_assert!(heard.is_empty() && server.is_handshaking()),
            Err(_) => prop_assert!(server.seal(b"answer").is_err()),
        }
        prop_assert!(server.incoming.len() <= INCOMING_BYTES_MAX);
    }
}

#[test]
fn a_record_that_does_not_end_is_not_gathered_for_ever() {
    let mut server = Session::server(&configured(false).0).unwrap();
    // Handshake messages in records of the largest size, of one that announces 16 MiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    record.resize(HEADER_BYTES + RECORD_BYTES, 0);
    let mut given = 0;
    while hear(&mut server, &record, RECORD_BYTES, 1_024).is_ok() {
        given += record.len();
        assert!(given < 4 * INCOMING_BYTES_MAX, "it goes on taking");
    }
}
