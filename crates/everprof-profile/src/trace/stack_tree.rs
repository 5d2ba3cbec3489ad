//! Stack tree: frames kept once for all stacks that share them, from the outermost on.
//!
//! Context: cold.
//! Invariant: a node's parent has a lower number; equal paths have the same node.

use super::fault::Fault;
use crate::index::{Index, Seed};

/// Stacks by number. Number 0 is that of no stack.
#[derive(Clone, Debug)]
pub(crate) struct StackTree {
    nodes: Vec<Node>,
    index: Index,
    seed: Seed,
    /// The innermost frame of each stack.
    leaves: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    address: u64,
    /// `NONE` for an outermost frame.
    parent: u32,
    /// `NONE` where nothing was known to be loaded.
    module: u32,
}

const NONE: u32 = u32::MAX;

impl Default for StackTree {
    fn default() -> StackTree {
        StackTree {
            nodes: Vec::new(),
            index: Index::default(),
            seed: Seed::default(),
            leaves: vec![NONE],
        }
    }
}

impl StackTree {
    /// How many stacks there are, number 0 among them.
    pub(crate) fn stacks(&self) -> u32 {
        self.leaves.len() as u32
    }

    /// The frame that this one called, at an address in a module.
    pub(crate) fn child(
        &mut self,
        parent: Option<u32>,
        address: u64,
        module: Option<u32>,
    ) -> Result<u32, Fault> {
        let node = Node {
            address,
            parent: parent.unwrap_or(NONE),
            module: module.unwrap_or(NONE),
        };
        let seed = self.seed;
        let hash_of = |node: &Node| {
            let places = u64::from(node.parent) << 32 | u64::from(node.module);
            seed.pair(node.address, places)
        };
        let hash = hash_of(&node);
        let known = self.index.find(hash, |n| self.nodes[n as usize] == node);
        if let Some(number) = known {
            return Ok(number);
        }
        let number = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        if number >= NONE - 1 {
            return Err(Fault::new("more than 4,294,967,293 frames in all stacks"));
        }
        self.nodes.push(node);
        let nodes = &self.nodes;
        self.index
            .insert(hash, number, |n| hash_of(&nodes[n as usize]));
        Ok(number)
    }

    /// Where the frame of a node returns to.
    pub(crate) fn address(&self, node: u32) -> u64 {
        self.nodes[node as usize].address
    }

    /// Adds the stack whose innermost frame this is.
    pub(crate) fn push(&mut self, leaf: Option<u32>) -> Result<(), Fault> {
        if self.leaves.len() >= NONE as usize {
            return Err(Fault::new("more than 4,294,967,294 stacks"));
        }
        self.leaves.push(leaf.unwrap_or(NONE));
        Ok(())
    }

    /// Addresses and modules of a stack, leaf first.
    pub(crate) fn frames(&self, stack: u32) -> impl Iterator<Item = (u64, Option<u32>)> + '_ {
        let mut at = self.leaves.get(stack as usize).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.parent;
            let module = (node.module != NONE).then_some(node.module);
            Some((node.address, module))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stacks_share_what_they_have_in_common() {
        let mut tree = StackTree::default();
        for leaf in [30, 40, 30] {
            let outer = tree.child(None, 10, None).unwrap();
            let inner = tree.child(Some(outer), 20, Some(7)).unwrap();
            let leaf = tree.child(Some(inner), leaf, None).unwrap();
            tree.push(Some(leaf)).unwrap();
        }
        tree.push(None).unwrap();
        assert_eq!((tree.stacks(), tree.nodes.len()), (5, 4));
        let frames = |stack| tree.frames(stack).collect::<Vec<_>>();
        assert_eq!(frames(1), [(30, None), (20, Some(7)), (10, None)]);
        assert_eq!(frames(1), frames(3));
        assert_eq!(frames(2)[0], (40, None));
        assert_eq!((frames(0), frames(4), frames(5)), (vec![], vec![], vec![]));
    }
}
