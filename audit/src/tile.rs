//! Where hashes lie: the tiles of C2SP tlog-tiles, 256 hashes each, and the names of their files.

use crate::hash::Hash;

pub const WIDTH: u64 = 256;
/// 256^8 leaves are more than a u64 can count.
pub const LEVELS_MAX: u8 = 8;
pub const HASH_BYTES: usize = 32;

/// Which tile: the hashes of whole subtrees with 256^level leaves each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    pub level: u8,
    pub index: u64,
    /// How many hashes are in it: fewer than 256 only at the right edge of a tree.
    pub width: u16,
}

impl Tile {
    /// The last tile of a level in a tree of that size, if it is begun and not full.
    pub fn partial(level: u8, size: u64) -> Option<Tile> {
        let hashes = hashes_at(level, size);
        let width = (hashes % WIDTH) as u16;
        (width > 0).then_some(Tile { level, index: hashes / WIDTH, width })
    }

    pub fn full(level: u8, index: u64) -> Tile {
        Tile { level, index, width: WIDTH as u16 }
    }

    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    pub fn bytes(&self) -> usize {
        usize::from(self.width) * HASH_BYTES
    }

    /// `tile/0/x001/x234/067`, or with `.p/5` behind it.
    pub fn path(&self) -> String {
        let mut path = format!("tile/{}/", self.level);
        let groups = std::iter::successors(Some(self.index / 1_000), |rest| Some(rest / 1_000));
        let groups: Vec<u64> = groups.take_while(|rest| *rest > 0).map(|rest| rest % 1_000).collect();
        groups.iter().rev().for_each(|group| path.push_str(&format!("x{group:03}/")));
        path.push_str(&format!("{:03}", self.index % 1_000));
        if !self.is_full() {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    /// Whose file that is; there is one way to write each.
    pub fn parse(path: &str) -> Option<Tile> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level: u8 = level.parse().ok()?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (rest, WIDTH as u16),
        };
        let index = number.split('/').try_fold(0_u64, |index, group| {
            let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index.checked_mul(1_000)?.checked_add(group)
        })?;
        let tile = Tile { level, index, width };
        let is_possible = level < LEVELS_MAX && (1..=WIDTH).contains(&u64::from(width));
        (is_possible && tile.path() == path).then_some(tile)
    }
}

/// How many hashes there are on a level of a tree.
pub fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(8 * u32::from(level)).unwrap_or(0)
}

/// Every level that a tree of that size has hashes on.
pub fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..LEVELS_MAX).take_while(move |level| hashes_at(*level, size) > 0)
}

/// The hashes of a tile's file, if it has whole ones.
pub fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks();
    rest.is_empty().then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 1_234_067, 256, "tile/0/x001/x234/067"),
            (1, 5, 17, "tile/1/005.p/17"),
            (0, 1_000, 1, "tile/0/x001/000.p/1"),
        ] {
            let tile = Tile { level, index, width };
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse(path), Some(tile), "{path}");
        }
        for path in [
            "tile/0/0",
            "tile/00/000",
            "tile/0/x000/001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/8/000",
            "tile/0/000.p/01",
            "x",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_example_of_the_specification() {
        let size = 70_000;
        assert_eq!(Tile::partial(0, size), Some(Tile { level: 0, index: 273, width: 112 }));
        assert_eq!(Tile::partial(1, size), Some(Tile { level: 1, index: 1, width: 17 }));
        assert_eq!(Tile::partial(2, size), Some(Tile { level: 2, index: 0, width: 1 }));
        assert_eq!(Tile::partial(3, size), None);
        assert_eq!(levels(size).count(), 3);
        assert_eq!(Tile::partial(0, 256), None);
        assert_eq!(Tile::partial(1, 256), Some(Tile { level: 1, index: 0, width: 1 }));
    }
}
