//! The right edge of the tree: all that is needed to add leaves and to tell the root, which is at most 255 hashes a level.

use crate::hash::{self, Hash};
use crate::tile::{self, Tile};

/// A tile of which nothing will change any more.
#[derive(Debug, PartialEq, Eq)]
pub struct FullTile {
    pub tile: Tile,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct Edge {
    size: u64,
    /// Of each level, the hashes of its last tile; never a whole tile.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// Of a tree of that size, from the hashes of its partial tiles. `load` gives those of one.
    pub fn load<E>(size: u64, mut load: impl FnMut(Tile) -> Result<Vec<Hash>, E>) -> Result<Edge, E> {
        let hashes =
            tile::levels(size).map(|level| Tile::partial(level, size).map_or(Ok(Vec::new()), &mut load));
        Ok(Edge { size, levels: hashes.collect::<Result<_, E>>()? })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; `full` gets the tiles that it completes.
    pub fn push(&mut self, leaf: Hash, full: &mut Vec<FullTile>) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::with_capacity(tile::WIDTH as usize));
            }
            let Some(hashes) = self.levels.get_mut(level) else { break };
            hashes.push(hash);
            if (hashes.len() as u64) < tile::WIDTH {
                break;
            }
            hash = hash::subtree(hashes);
            let level = level as u8;
            let index = (self.size >> (8 * u32::from(level))) / tile::WIDTH;
            full.push(FullTile { tile: Tile::full(level, index), bytes: hashes.as_flattened().to_vec() });
            hashes.clear();
        }
        self.size += 1;
    }

    /// The hashes of a level that are in no whole tile.
    pub fn level(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The tiles at the edge that are begun.
    pub fn partials(&self) -> impl Iterator<Item = (Tile, &[Hash])> {
        let tiles = (0..).zip(&self.levels);
        tiles.filter_map(|(level, hashes)| Some((Tile::partial(level, self.size)?, &hashes[..])))
    }

    pub fn root(&self) -> Hash {
        let levels = self.levels.iter().rev();
        let peaks: Vec<Hash> = levels.flat_map(|hashes| peaks(hashes)).collect();
        let root = peaks.into_iter().rev().reduce(|right, left| hash::node(&left, &right));
        root.unwrap_or(hash::EMPTY)
    }
}

/// The whole subtrees of some hashes, the largest first.
fn peaks(hashes: &[Hash]) -> Vec<Hash> {
    let (mut rest, mut peaks) = (hashes, Vec::new());
    while !rest.is_empty() {
        let (whole, after) = rest.split_at(1 << rest.len().ilog2());
        peaks.push(hash::subtree(whole));
        rest = after;
    }
    peaks
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The definition of RFC 6962, word for word.
    pub fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => hash::EMPTY,
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                hash::node(&mth(left), &mth(right))
            }
        }
    }

    pub fn leaves(n: u64) -> Vec<Hash> {
        (0..n).map(|index| hash::leaf(&index.to_le_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_definition() {
        let leaves = leaves(700);
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        assert_eq!(edge.root(), hash::EMPTY);
        for (count, leaf) in leaves.iter().enumerate() {
            edge.push(*leaf, &mut full);
            assert_eq!(edge.root(), mth(&leaves[..=count]), "{} leaves", count + 1);
        }
        let tiles: Vec<String> = full.iter().map(|full| full.tile.path()).collect();
        assert_eq!(tiles, ["tile/0/000", "tile/0/001"]);
        assert_eq!(full[1].bytes, leaves[256..512].as_flattened());
    }

    #[test]
    fn a_whole_tile_of_tiles_goes_up_a_level() {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for leaf in leaves(65_537) {
            edge.push(leaf, &mut full);
        }
        assert_eq!(full.last().map(|full| full.tile.path()), Some("tile/1/000".to_owned()));
        let partials: Vec<String> = edge.partials().map(|(tile, _)| tile.path()).collect();
        assert_eq!(partials, ["tile/0/256.p/1", "tile/2/000.p/1"]);
        let loaded = Edge::load(65_537, |wanted| {
            let found = edge.partials().find(|(tile, _)| *tile == wanted);
            found.map(|(_, hashes)| hashes.to_vec()).ok_or(wanted)
        });
        assert_eq!(loaded.unwrap().root(), edge.root());
    }
}
