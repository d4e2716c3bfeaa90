//! An edition as one worker uses it, with what it worked out for it.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use strait_policy::{Principal, Traits};
use strait_table::bound::ArchivedShelf;
use strait_table::catalog::{Announced, FreshUntil};
use strait_table::window::Windows;
use strait_table::{Kind, Snapshot, View};

use crate::allowance::Metering;
use crate::changes::{self, Outline};
use crate::edition::{Edition, digest};
use crate::exchange::identify::Token;
use crate::exchange::identify::strangers::Strangers;
use crate::figures::generations::Tally;
use crate::figures::labels::CallerKind;
use crate::figures::places::Place;
use crate::fold::Fold;
use crate::handle::KeyRing;
use crate::known::{self, Known, TraitSets, TraitsId, names};
use crate::limits::VIEWS_PER_CORE_MAX;
use crate::trace::Watching;
use crate::trial::Side;
use crate::trust::{Names, Trust};
use crate::upstream::Upstream;
use crate::upstream::statement::Statements;

/// An edition as this worker uses it, with what it worked out for it.
pub struct Adopted {
    pub snapshot: Arc<Snapshot>,
    pub keys: Arc<KeyRing>,
    pub trust: Arc<Trust>,
    /// `None`: nothing is limited.
    pub metering: Option<Arc<Metering>>,
    /// By upstream of the table. Weak, so that an exchange which outlives its generation holds the one
    /// upstream it needs and lets the others go.
    upstreams: Rc<[Weak<Upstream>]>,
    servers: Arc<[u64]>,
    server_places: Arc<[Place]>,
    fresh_until: Arc<[FreshUntil]>,
    announced: Arc<[Announced]>,
    /// The generation's 12 hex digits.
    pub generation: [u8; 12],
    /// Those of the catalog that it is bound to.
    pub catalog: [u8; 12],
    /// Counts what this worker adopted: what was decided under another serial is decided again.
    pub serial: u64,
    pub side: Side,
    /// Where its exchanges are counted.
    pub tally: Arc<Tally>,
    /// What is told of them beside.
    pub watching: Watching,
    /// Windows of time that hold; when one turns, the edition is adopted again.
    pub windows: Windows,
    known: RefCell<Vec<Option<Known>>>,
    pub(super) strangers: Strangers<Known>,
    /// What upstreams were told of callers.
    pub statements: Statements,
    traits: RefCell<TraitSets>,
    views: RefCell<HashMap<(u16, TraitsId), Rc<View>, Fold>>,
    outlines: RefCell<HashMap<(u16, TraitsId), Outline, Fold>>,
    prints: OnceCell<Box<[u64]>>,
    /// Where tools and principals are counted: see [`Adopted::place`].
    places: RefCell<HashMap<u64, u16, Fold>>,
    /// By digest.
    principals: OnceCell<HashMap<u64, u32, Fold>>,
}

impl Adopted {
    pub(super) fn new(
        edition: &Edition,
        side: Side,
        upstreams: Rc<[Weak<Upstream>]>,
        serial: u64,
        now_unix_s: i64,
    ) -> Rc<Adopted> {
        let (snapshot, keys) = (edition.snapshot.clone(), edition.keys.clone());
        let known = RefCell::new(vec![None; keys.principals.len()]);
        let (generation, catalog) = (snapshot.generation().short(), snapshot.catalog().short());
        let (servers, fresh_until) = (edition.servers.clone(), edition.fresh_until.clone());
        let (announced, server_places) = (edition.announced.clone(), edition.server_places.clone());
        let windows = snapshot.windows_at(now_unix_s);
        let watching = Watching::of(snapshot.rules());
        Rc::new(Adopted {
            windows,
            snapshot,
            keys,
            trust: edition.trust.clone(),
            metering: edition.metering.clone(),
            upstreams,
            servers,
            server_places,
            fresh_until,
            announced,
            generation,
            catalog,
            serial,
            side,
            tally: edition.tally.clone(),
            watching,
            known,
            strangers: Strangers::default(),
            statements: Statements::default(),
            traits: RefCell::default(),
            views: RefCell::default(),
            outlines: RefCell::default(),
            prints: OnceCell::new(),
            places: RefCell::default(),
            principals: OnceCell::new(),
        })
    }

    /// An upstream of this edition, by its place in the table.
    pub fn upstream(&self, index: usize) -> Option<Rc<Upstream>> {
        self.upstreams.get(index)?.upgrade()
    }

    /// The principal of this number: those with keys first, then those that tokens told of.
    pub fn principal(&self, number: u32) -> Option<&Principal> {
        let number = number as usize;
        match number.checked_sub(self.keys.principals.len()) {
            None => self.keys.principals.get(number),
            Some(stranger) => Some(&self.strangers.get(stranger)?.token.verified.principal),
        }
    }

    /// The token that told of this principal.
    pub fn token(&self, number: u32) -> Option<&Rc<Token>> {
        let stranger = (number as usize).checked_sub(self.keys.principals.len())?;
        Some(&self.strangers.get(stranger)?.token)
    }

    /// The number of a token's principal; `None`: there are too many.
    pub fn number(&self, token: &Rc<Token>) -> Option<u32> {
        if let (serial, number) = token.met.get()
            && serial == self.serial
        {
            return Some(number);
        }
        let number = (self.keys.principals.len() + self.strangers.number(token)?) as u32;
        token.met.set((self.serial, number));
        Some(number)
    }

    /// What is derived from a principal, worked out once per generation.
    pub fn known(&self, principal: u32) -> Known {
        let index = principal as usize;
        if let Some(stranger) =
            index.checked_sub(self.keys.principals.len()).and_then(|at| self.strangers.get(at))
        {
            return *stranger.facts.get_or_init(|| {
                let verified = &stranger.token.verified;
                let kind = known::kind_of(verified, &self.trust, &self.snapshot);
                Known { digest: verified.digest, kind, ..self.facts_of(&verified.principal, verified.id) }
            });
        }
        let mut known = self.known.borrow_mut();
        match (known.get_mut(index), self.keys.principals.get(index)) {
            (Some(known), Some(principal)) => *known.get_or_insert_with(|| Known {
                kind: if index == 0 { CallerKind::Anonymous } else { CallerKind::Key },
                ..self.facts_of(principal, None)
            }),
            // A number nobody was given: a digest no session is bound to.
            _ => Known {
                traits: self.traits.borrow_mut().number(Traits::default()),
                digest: u64::MAX,
                user: 0,
                agent: 0,
                tenant: 0,
                kind: CallerKind::Unknown,
                is_revoked: true,
            },
        }
    }

    /// `token`: the digest of the id of the token that it has brought.
    fn facts_of(&self, principal: &Principal, token: Option<u64>) -> Known {
        let names = names(principal, token);
        Known {
            traits: self.traits.borrow_mut().number(self.snapshot.traits_of(principal)),
            digest: names.principal,
            user: names.user,
            agent: names.agent,
            tenant: digest(&principal.tenant),
            kind: CallerKind::Unknown,
            is_revoked: self.trust.revoked.has(&names),
        }
    }

    /// What this caller goes by where it may be revoked.
    pub fn names(&self, principal: u32) -> Names {
        let token = self.token(principal).and_then(|token| token.verified.id);
        self.principal(principal).map(|principal| names(principal, token)).unwrap_or_default()
    }

    /// The principal that has this digest, if there is one still.
    pub fn principal_of(&self, wanted: u64) -> Option<u32> {
        let principals = self.principals.get_or_init(|| {
            // By their names alone: what is true of each is worked out when it is there.
            let known = self.keys.principals.iter().zip(0..);
            known.map(|(principal, number)| (digest(&principal.id), number)).collect()
        });
        let stranger =
            || self.strangers.of_principal(wanted).map(|at| (self.keys.principals.len() + at) as u32);
        principals.get(&wanted).copied().or_else(stranger)
    }

    pub fn traits(&self, id: TraitsId) -> Option<Rc<Traits>> {
        self.traits.borrow().get(id)
    }

    /// What sessions of a server are bound to.
    pub fn server_digest(&self, server: usize) -> Option<u64> {
        self.servers.get(server).copied()
    }

    /// Where requests to it are counted.
    pub fn server_place(&self, server: usize) -> Option<Place> {
        self.server_places.get(server).copied()
    }

    /// The server that has this digest.
    pub fn server_of(&self, digest: u64) -> Option<usize> {
        self.servers.iter().position(|server| *server == digest)
    }

    /// Until when what an upstream listed may be kept.
    pub fn fresh_until(&self, upstream: usize) -> FreshUntil {
        self.fresh_until.get(upstream).copied().unwrap_or_default()
    }

    /// The items of one kind under a server.
    pub fn shelf(&self, server: usize, kind: Kind) -> Option<&ArchivedShelf> {
        Some(self.snapshot.bound().servers.get(server)?.shelf(kind))
    }

    /// Where something is counted, by a number that nobody else has; `met` says so for the first time.
    pub fn place(&self, number: u64, met: impl FnOnce() -> Option<u16>) -> Option<u16> {
        if let Some(place) = self.places.borrow().get(&number) {
            return Some(*place);
        }
        let place = met()?;
        self.places.borrow_mut().insert(number, place);
        Some(place)
    }

    /// What principals with these traits see of a server, worked out once.
    pub fn view(&self, server: usize, traits: TraitsId) -> Option<Rc<View>> {
        let key = (server as u16, traits);
        if let Some(view) = self.views.borrow().get(&key) {
            return Some(view.clone());
        }
        let traits = self.traits(traits)?;
        let view = Rc::new(View::of(&self.snapshot, server, &traits, &self.windows.bits)?);
        let mut views = self.views.borrow_mut();
        if views.len() >= VIEWS_PER_CORE_MAX {
            views.clear();
        }
        views.insert(key, view.clone());
        Some(view)
    }

    /// The outline of such a view, worked out once per edition.
    pub fn outline(&self, server: usize, traits: TraitsId) -> Option<Outline> {
        let key = (server as u16, traits);
        if let Some(outline) = self.outlines.borrow().get(&key) {
            return Some(*outline);
        }
        let view = self.view(server, traits)?;
        let prints = self.prints.get_or_init(|| changes::prints(&self.snapshot));
        let outline = Outline::of(&self.snapshot, server, &view, prints, &self.announced);
        let mut outlines = self.outlines.borrow_mut();
        if outlines.len() >= VIEWS_PER_CORE_MAX {
            outlines.clear();
        }
        outlines.insert(key, outline);
        Some(outline)
    }
}
