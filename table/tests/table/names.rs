//! Servers found by their path: the index from outside. How names are placed is tested beside `Names`.

use proptest::prelude::*;
use strait_table::names::Names;

use crate::support::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn servers_are_found_by_their_paths_and_by_nothing_else(
        paths in proptest::collection::hash_set("/[a-c]{0,3}", 1..40),
        asked in "/[a-d]{0,3}",
    ) {
        let paths: Vec<String> = paths.into_iter().collect();
        let mut rules = rules();
        rules.servers = paths.iter().map(|path| server(path, path, &["*"])).collect();
        rules.paths = Names::build(paths.iter().map(String::as_str));
        let snapshot = strait_table::snapshot::of_rules(&rules).unwrap();
        for (index, path) in paths.iter().enumerate() {
            prop_assert_eq!(snapshot.server_at(path.as_bytes()), Some(index));
        }
        prop_assert_eq!(snapshot.server_at(asked.as_bytes()), paths.iter().position(|path| *path == asked));
    }
}
