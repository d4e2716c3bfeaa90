//! From the claims of a token to a principal: what must be true of them, and which says what by configuration.

use serde_json::Value;
use strait_engine::digest;
use strait_engine::trust::{Doubt, Verified};
use strait_policy::Principal;
use strait_table::rules::{ArchivedAccepted, ArchivedPrincipalClaims};

use crate::limits::{PRINCIPAL_BYTES_MAX, PRINCIPAL_GROUPS_MAX};

/// The claims of one identity that matter.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Of the identity, which its principals are told apart by.
    pub name: String,
    audiences: Vec<String>,
    pub scopes: Vec<String>,
    id: Vec<String>,
    user: Vec<String>,
    agent: Vec<String>,
    tenant: Vec<String>,
    groups: Vec<String>,
}

/// When and where a token is looked at.
pub struct Moment<'a> {
    pub now_unix_ms: u64,
    pub skew_s: i64,
    /// The URL of the endpoint it was presented to.
    pub resource: &'a str,
}

impl Accepted {
    pub fn of(name: &str, accepted: &ArchivedAccepted) -> Accepted {
        let ArchivedPrincipalClaims { id, user, agent, tenant, groups } = &accepted.principal;
        Accepted {
            name: name.to_owned(),
            audiences: texts(&accepted.audiences),
            scopes: texts(&accepted.scopes),
            id: texts(id),
            user: texts(user),
            agent: texts(agent),
            tenant: texts(tenant),
            groups: texts(groups),
        }
    }

    /// Of whom a token tells, when it may be believed. What only its kind knows (issuer, key, how long it is kept) is for the
    /// caller to add.
    pub fn read(&self, claims: &Value, at: &Moment<'_>) -> Result<Verified, Doubt> {
        let ends_s = number(claims, "exp").ok_or(Doubt::Invalid("it has no end"))?;
        let now_s = (at.now_unix_ms / 1_000) as i64;
        let ends_s = ends_s.saturating_add(at.skew_s);
        if ends_s <= now_s {
            return Err(Doubt::Invalid("it has expired"));
        }
        let issued_s = number(claims, "iat");
        let begins_s = number(claims, "nbf").unwrap_or(i64::MIN).max(issued_s.unwrap_or(i64::MIN));
        if begins_s > now_s.saturating_add(at.skew_s) {
            return Err(Doubt::Invalid("it is not valid yet"));
        }
        self.audience(claims, at.resource)?;
        let certificate = bound(claims)?;
        let principal = self.principal(claims)?;
        if !self.scopes.iter().all(|scope| has_scope(claims, scope)) {
            return Err(Doubt::Scope);
        }
        Ok(Verified {
            digest: digest(&format!("{}\0{}", self.name, principal.id)),
            principal,
            id: claims.get("jti").and_then(Value::as_str).map(digest),
            ends_unix_ms: u64::try_from(ends_s).unwrap_or(0).saturating_mul(1_000),
            keep_ms: u64::MAX,
            certificate,
            ..Verified::default()
        })
    }

    fn audience(&self, claims: &Value, resource: &str) -> Result<(), Doubt> {
        let wanted = |text: &str| match self.audiences.is_empty() {
            true => text == resource,
            false => self.audiences.iter().any(|audience| audience == text),
        };
        let is_for_us = match claims.get("aud") {
            Some(Value::String(text)) => wanted(text),
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(wanted),
            _ => false,
        };
        if is_for_us { Ok(()) } else { Err(Doubt::Invalid("it is for another audience")) }
    }

    fn principal(&self, claims: &Value) -> Result<Principal, Doubt> {
        let text = |names: &[String]| -> Result<String, Doubt> {
            let found = names.iter().filter_map(|name| claim(claims, name)).find_map(Value::as_str);
            let found = found.unwrap_or_default();
            let fits = found.len() <= PRINCIPAL_BYTES_MAX && !found.contains(char::is_control);
            if fits { Ok(found.to_owned()) } else { Err(Doubt::Invalid("a name in it is none")) }
        };
        let id = text(&self.id)?;
        // Nobody shall be taken for whoever comes without a credential.
        if id.is_empty() || id == Principal::anonymous().id {
            return Err(Doubt::Invalid("it does not say whose it is"));
        }
        let groups = self.groups.iter().find_map(|name| claim(claims, name));
        let groups: Vec<String> = match groups {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(text)) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if groups.len() > PRINCIPAL_GROUPS_MAX {
            return Err(Doubt::Invalid("it names too many groups"));
        }
        Ok(Principal {
            id,
            user: text(&self.user)?,
            agent: text(&self.agent)?,
            tenant: text(&self.tenant)?,
            groups,
            claims: claims.to_string(),
        })
    }
}

fn texts(texts: &[impl AsRef<str>]) -> Vec<String> {
    texts.iter().map(|text| text.as_ref().to_owned()).collect()
}

/// A claim by its whole name, or by the way to it.
fn claim<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |inside, part| inside.get(part)))
}

fn number(claims: &Value, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value.as_i64().or_else(|| value.as_f64().filter(|number| number.is_finite()).map(|number| number as i64))
}

fn has_scope(claims: &Value, wanted: &str) -> bool {
    let texts = |value: &Value| match value {
        Value::String(text) => text.split_ascii_whitespace().any(|scope| scope == wanted),
        Value::Array(all) => all.iter().any(|scope| scope == wanted),
        _ => false,
    };
    ["scope", "scp"].iter().filter_map(|name| claims.get(*name)).any(texts)
}

/// The certificate that a token is bound to. Of other bindings nothing is known here, so what has one is believed of nobody.
fn bound(claims: &Value) -> Result<Option<[u8; 32]>, Doubt> {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let Some(bound) = claims.get("cnf") else { return Ok(None) };
    let members = bound.as_object().ok_or(Doubt::Invalid("what it is bound to is not known here"))?;
    let hash = members.get("x5t#S256").and_then(Value::as_str).filter(|_| members.len() == 1);
    let hash = hash.and_then(|hash| URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok());
    hash.map(Some).ok_or(Doubt::Invalid("what it is bound to is not known here"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RESOURCE: &str = "https://gw.example/mcp";

    fn accepted() -> Accepted {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Accepted {
            name: "staff".into(),
            audiences: Vec::new(),
            scopes: names(&["mcp"]),
            id: names(&["sub"]),
            user: names(&["sub"]),
            agent: names(&["act.sub", "azp", "client_id"]),
            tenant: names(&["https://idp.example/org"]),
            groups: names(&["realm_access.roles", "groups"]),
        }
    }

    fn claims() -> Value {
        json!({"iss": "https://idp.example", "sub": "ada", "aud": RESOURCE, "exp": 2_000, "iat": 1_000, "scope": "mcp more"})
    }

    fn read(claims: &Value) -> Result<Verified, Doubt> {
        let at = Moment { now_unix_ms: 1_500_000, skew_s: 30, resource: RESOURCE };
        accepted().read(claims, &at)
    }

    #[test]
    fn claims_become_a_principal_with_the_chain_of_whom_it_acts_for() {
        let mut claims = claims();
        claims["act"] = json!({"sub": "ops-agent", "act": {"sub": "planner"}});
        claims["azp"] = "console".into();
        claims["https://idp.example/org"] = "acme".into();
        claims["realm_access"] = json!({"roles": ["admins", "staff"]});
        let verified = read(&claims).unwrap();
        let principal = &verified.principal;
        assert_eq!((principal.id.as_str(), principal.agent.as_str()), ("ada", "ops-agent"));
        assert_eq!(
            (principal.tenant.as_str(), principal.groups.join(" ")),
            ("acme", "admins staff".to_owned())
        );
        let kept: Value = serde_json::from_str(&principal.claims).unwrap();
        assert_eq!(kept["act"]["act"]["sub"], "planner");
        assert_eq!(verified.ends_unix_ms, 2_030_000);
        // Two issuers may call people the same.
        assert_ne!(verified.digest, digest("ada"));
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_in_a_word() {
        let check = |name: &str, value: Value, expected: Doubt| {
            let mut claims = claims();
            claims[name] = value;
            assert_eq!(read(&claims).err(), Some(expected), "{name}");
        };
        check("exp", 1_470.into(), Doubt::Invalid("it has expired"));
        check("exp", i64::MIN.into(), Doubt::Invalid("it has expired"));
        check("exp", "2000".into(), Doubt::Invalid("it has no end"));
        check("exp", Value::Null, Doubt::Invalid("it has no end"));
        check("nbf", 1_531.into(), Doubt::Invalid("it is not valid yet"));
        check("iat", 9_999.into(), Doubt::Invalid("it is not valid yet"));
        for audience in
            [json!("https://gw.example/mcp/"), json!("https://gw.example"), json!([]), Value::Null]
        {
            check("aud", audience, Doubt::Invalid("it is for another audience"));
        }
        check("sub", "".into(), Doubt::Invalid("it does not say whose it is"));
        check("sub", "anonymous".into(), Doubt::Invalid("it does not say whose it is"));
        check("sub", 7.into(), Doubt::Invalid("it does not say whose it is"));
        check("sub", "a\nb".into(), Doubt::Invalid("a name in it is none"));
        check("scope", "mcp2".into(), Doubt::Scope);
        check("cnf", json!({"jkt": "x"}), Doubt::Invalid("what it is bound to is not known here"));
        check("cnf", json!({"x5t#S256": "AAAA"}), Doubt::Invalid("what it is bound to is not known here"));
        let mut fine = claims();
        fine["aud"] = json!(["https://other.example", RESOURCE]);
        fine["exp"] = 1_471.into();
        assert!(read(&fine).is_ok());
    }
}
