//! Tables: no panic, whatever the bytes; and of what opens, everything a worker may read is there, what a list shows is
//! what a call finds and may do, and another catalog can be bound to it. Also with the checksums made right, so that
//! bytecheck and the invariants meet hostile bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use strait_policy::{Principal, Traits};
use strait_table::catalog::Catalog;
use strait_table::condition::{Moment, Workspace};
use strait_table::file::{HEADER_BYTES, Header};
use strait_table::signature::{KeyId, Signature};
use strait_table::view::Ruled;
use strait_table::{Kind, OpenError, Snapshot, View, bind};

const KINDS: [Kind; 4] = [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::Template];

fuzz_target!(|data: &[u8]| {
    if let Ok(snapshot) = Snapshot::from_bytes(data) {
        walk(&snapshot);
    }
    if let Some(forged) = forged(data) {
        match Snapshot::from_bytes(&forged) {
            Ok(snapshot) => {
                let said = Header::parse(&forged).expect("it opened").signature;
                assert_eq!(snapshot.signature(), said.as_ref());
                walk(&snapshot);
            }
            Err(OpenError::Layout { .. } | OpenError::Meaning { .. } | OpenError::Extent { .. }) => {}
            Err(error) => panic!("the checksums are right: {error}"),
        }
    }
});

/// The same sections under a header that is right: the bytes at 24 and 72 still choose how long the rules are.
fn forged(data: &[u8]) -> Option<Vec<u8>> {
    let mut header = Header::parse(&strait_table::file::write(&Default::default(), None)).ok()?;
    let length = data.len() as u64;
    let word = |at: usize| data.get(at..at + 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    header.length = length;
    (header.rules.offset, header.rules.length) = (word(24)?, word(32)?);
    (header.bound.offset, header.bound.length) = (word(72)?, word(80)?);
    for extent in [&mut header.rules, &mut header.bound] {
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= length);
        let bytes = end.and_then(|end| data.get(extent.offset as usize..end as usize)).unwrap_or_default();
        extent.blake3 = *blake3::hash(bytes).as_bytes();
    }
    let (key, sequence) = (KeyId(*data.get(120..128)?.first_chunk()?), word(128)?);
    header.signature = Some(Signature { key, sequence, bytes: *data.get(136..200)?.first_chunk()? });
    Some([&header.encode()[..], data.get(HEADER_BYTES..)?].concat())
}

fn walk(snapshot: &Snapshot) {
    let principal = Principal { id: "ann".into(), groups: vec!["staff".into()], ..Principal::default() };
    let count = snapshot.rules().traits.len();
    let mut all = Traits::none(count);
    (0..count).for_each(|bit| all.insert(bit));
    let windows = snapshot.windows_at(1_800_000_000);
    let sets = [Traits::none(count), snapshot.traits_of(&principal), all];
    for (server, rules) in snapshot.rules().servers.iter().enumerate() {
        assert_eq!(snapshot.server_at(rules.path.as_bytes()), Some(server));
        for traits in &sets {
            let view = View::of(snapshot, server, traits, &windows.bits).expect("a server of the rules is bound");
            let moment = Moment {
                traits: Some(traits),
                windows: Some(&windows.bits),
                principal: Some(&principal),
                thing: None,
                asked: None,
            };
            KINDS.iter().for_each(|kind| shelf(snapshot, server, *kind, &view, &moment));
        }
    }
    assert!(snapshot.server_at(b"nowhere").is_none());
    let (bound, _) = bind(snapshot.rules(), &Catalog::default());
    snapshot.with_bound(&bound).expect("what bind makes is sound");
}

fn shelf(snapshot: &Snapshot, server: usize, kind: Kind, view: &View, moment: &Moment<'_>) {
    let shelf = snapshot.bound().servers[server].shelf(kind);
    let shown: Vec<usize> = view.kind(kind).visible_from(0).collect();
    assert_eq!(shown.len(), view.kind(kind).visible_count());
    for (index, item) in shelf.items.iter().enumerate() {
        assert_eq!(shelf.find(item.exposed.as_bytes()), Some(index));
        assert_eq!(shown.contains(&index), view.kind(kind).shows(index));
        assert!(snapshot.bound().fragments.get(item.fragment.to_native() as usize).is_some());
        let upstream = usize::from(item.upstream.to_native());
        let _ = snapshot.decide_uri(server, upstream, &item.bare, moment, &mut Workspace::default());
        if let Ruled::Open { so_far, rules } = view.kind(kind).ruled(index) {
            let _ = snapshot.settle(so_far, rules, moment, &mut Workspace::default());
        }
    }
    shelf.find(b"nothing");
}
