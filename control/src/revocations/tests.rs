//! Lists of revocations: changed, ended, read back, and broken.

use serde_json::json;
use strait_engine::digest;
use strait_engine::trust::Names;

use super::*;
use crate::test_support::Folder;

fn revoke(ids: &[&str]) -> Change {
    Change { ids: ids.iter().map(|id| (*id).to_owned()).collect(), ..Change::default() }
}

fn undo(ids: &[&str], only: Option<Only>) -> Change {
    Change { only, undo: true, ..revoke(ids) }
}

fn goes_by(principal: &str, user: &str, agent: &str) -> Names {
    Names { principal: digest(principal), user: digest(user), agent: digest(agent), token: None }
}

#[test]
fn an_id_is_revoked_in_every_role_or_in_one() {
    let mut list = List::default();
    list.change(&revoke(&["ada"]), &json!({}), 100).unwrap();
    list.change(&Change { only: Some(Only::User), ..revoke(&["bob"]) }, &json!({}), 100).unwrap();
    let (revoked, count, ends) = list.in_force(100);
    assert_eq!((count, ends), (2, None));
    assert!(revoked.has(&goes_by("ada", "", "")) && revoked.has(&goes_by("x", "ada", "")));
    assert!(revoked.has(&goes_by("x", "y", "ada")) && revoked.has(&goes_by("x", "bob", "")));
    assert!(!revoked.has(&goes_by("bob", "x", "y")));
}

#[test]
fn what_ends_by_itself_ends_and_goes_a_day_later() {
    let mut list = List::default();
    let hour = Change { for_s: Some(3_600), ..revoke(&["ada"]) };
    list.change(&hour, &json!({}), 0).unwrap();
    assert_eq!((list.in_force(3_599).1, list.in_force(3_599).2), (1, Some(3_600)));
    assert_eq!((list.in_force(3_600).1, list.in_force(3_600).2), (0, None));
    // Nobody is let in sooner by being revoked again, and for longer it may be.
    let minute = Change { for_s: Some(60), ..revoke(&["ada"]) };
    assert_eq!(list.change(&minute, &json!({}), 0).unwrap().already, ["ada"]);
    assert_eq!(list.change(&revoke(&["ada"]), &json!({}), 0).unwrap().ids, ["ada"]);
    assert_eq!(list.change(&hour, &json!({}), 0).unwrap().already, ["ada"]);
    list.change(&undo(&["ada"], None), &json!({}), 0).unwrap();
    list.change(&hour, &json!({}), 0).unwrap();
    list.change(&revoke(&["eve"]), &json!({}), 3_600 + REVOCATIONS_KEPT_S - 1).unwrap();
    assert_eq!(list.revoked.len(), 2);
    list.change(&revoke(&["eve"]), &json!({}), 3_600 + REVOCATIONS_KEPT_S).unwrap();
    assert_eq!(list.revoked.len(), 1);
}

#[test]
fn what_was_not_revoked_cannot_be_undone_and_nothing_changes() {
    let mut list = List::default();
    list.change(&revoke(&["ada"]), &json!({}), 0).unwrap();
    for change in [undo(&["ada", "bob"], None), undo(&["ada"], Some(Only::User))] {
        assert!(matches!(list.change(&change, &json!({}), 0), Err(Fault::Unknown(_))), "{change:?}");
        assert_eq!(list.revoked.len(), 1);
    }
    list.change(&undo(&["ada"], None), &json!({}), 0).unwrap();
    assert_eq!(list, List::default());
}

#[test]
fn nonsense_is_refused_before_anything_is_written() {
    let folder = Folder::new();
    let long = "x".repeat(REVOKED_ID_BYTES_MAX + 1);
    let reason = |text: String| Change { reason: Some(text), ..revoke(&["ada"]) };
    for nonsense in [
        revoke(&[]),
        revoke(&[""]),
        revoke(&["anonymous"]),
        revoke(&["a\nb"]),
        revoke(&["\u{1b}[31m"]),
        revoke(&[&long]),
        reason("x".repeat(REVOCATION_REASON_BYTES_MAX + 1)),
        reason("a\u{7}b".to_owned()),
        Change { for_s: Some(0), ..revoke(&["ada"]) },
        Change { for_s: Some(1), ..undo(&["ada"], None) },
    ] {
        assert!(matches!(change(folder.path(), &nonsense, &json!({})), Err(Fault::Usage(_))), "{nonsense:?}");
    }
    assert!(!folder.path().join("revoked.json").exists());
    let most: Vec<String> = (0..=REVOCATIONS_MAX).map(|n| n.to_string()).collect();
    let most: Vec<&str> = most.iter().map(String::as_str).collect();
    assert!(matches!(change(folder.path(), &revoke(&most), &json!({})), Err(Fault::Usage(_))));
    change(folder.path(), &revoke(&most[1..]), &json!({})).unwrap();
    assert!(matches!(change(folder.path(), &revoke(&["one more"]), &json!({})), Err(Fault::Usage(_))));
}

#[test]
fn a_list_that_cannot_be_read_takes_nothing_back() {
    let folder = Folder::new();
    let path = folder.path().join("revoked.json");
    let mut file = File::open(folder.path()).unwrap();
    assert_eq!(file.look(), Ok(false));
    change(folder.path(), &revoke(&["ada"]), &json!({})).unwrap();
    assert_eq!(file.look(), Ok(true));
    for broken in ["", "{", "{\"revoked\":[{\"id\":\"\",\"at_unix_s\":0,\"by\":{}}]}", "{\"revokt\":[]}"] {
        std::fs::write(&path, broken).unwrap();
        assert!(File::open(folder.path()).is_err(), "{broken}");
        assert!(file.look().is_err(), "{broken}");
        assert!(matches!(change(folder.path(), &revoke(&["eve"]), &json!({})), Err(Fault::Unfit(_))));
        assert_eq!(file.list.revoked.len(), 1);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(file.look().is_err());
    assert_eq!((file.look(), file.list.revoked.len()), (Ok(false), 1));
    change(folder.path(), &revoke(&["eve"]), &json!({})).unwrap();
    assert_eq!(file.look(), Ok(true));
    assert_eq!(file.list.revoked[0].id, "eve");
}
