//! Who acts. A principal is what an authentication method makes of a credential; policy never sees
//! the credential itself.

/// A verified caller. `groups` are the names a role's condition may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub id: String,
    pub groups: Vec<String>,
}

impl Principal {
    /// The principal of a server without `auth`: anyone who can reach the listener.
    pub fn anonymous() -> Principal {
        Principal { id: "anonymous".to_owned(), groups: Vec::new() }
    }
}
