//! Who acts. A principal is what an authentication method makes of a credential; policy never sees
//! the credential itself.
//!
//! What is not known is the empty text, not an absent field: a condition over it has one meaning, and
//! nothing is decided by whether somebody left a key out.

/// A verified caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// What it is called; sessions are bound to it.
    pub id: String,
    /// On whose behalf it acts.
    pub user: String,
    /// Which program it is.
    pub agent: String,
    /// To which customer, team or installation it belongs.
    pub tenant: String,
    /// The names a role's condition may ask for.
    pub groups: Vec<String>,
    /// The text of a JSON object, its names distinct; empty: none.
    pub claims: String,
}

impl Principal {
    /// The principal of a server without `auth`: anyone who can reach the listener.
    pub fn anonymous() -> Principal {
        Principal { id: "anonymous".to_owned(), ..Principal::default() }
    }
}
