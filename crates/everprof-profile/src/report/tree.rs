//! Tree: who called whom, from the roots, with what stands on each branch.
//!
//! Context: cold.
//! Invariant: a node's `cum` is its `flat` and the `cum` of all its children, those that
//! were cut included; a parent stands before its children.

use std::collections::HashMap;

use super::Selection;
use crate::errorbars::Estimate;

/// The call tree of a selection. Node 0 is the root of all; it is no function.
#[derive(Clone, Debug)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A function, called in one way.
#[derive(Clone, Debug)]
pub struct Node {
    /// Index for [`Selection::function`]; means nothing for node 0.
    pub function: u32,
    /// How many calls from the root: 0 for node 0.
    pub depth: u32,
    /// On the function itself.
    pub flat: Estimate,
    /// On the function and all that it called in this way.
    pub cum: Estimate,
    /// Children, largest first.
    pub children: Vec<u32>,
    /// How many children [`Tree::cut`] took away, and what stood on them.
    pub cut: (usize, i64),
}

/// Builds the tree of a selection, with nothing cut.
pub fn tree(selection: &Selection) -> Tree {
    let mut nodes = vec![Node::new(0, 0)];
    let mut children: HashMap<(u32, u32), u32> = HashMap::new();
    for (frames, estimate) in selection.stacks() {
        let mut at = 0u32;
        nodes[0].cum.add(estimate);
        for frame in frames {
            let parent = at;
            at = *children.entry((parent, frame.function)).or_insert_with(|| {
                let new = u32::try_from(nodes.len()).expect("a tree has fewer than 2^32 nodes");
                let depth = nodes[parent as usize].depth + 1;
                nodes.push(Node::new(frame.function, depth));
                nodes[parent as usize].children.push(new);
                new
            });
            nodes[at as usize].cum.add(estimate);
        }
        nodes[at as usize].flat.add(estimate);
    }
    let mut tree = Tree { nodes };
    tree.sort(selection);
    tree
}

impl Node {
    fn new(function: u32, depth: u32) -> Node {
        Node {
            function,
            depth,
            flat: Estimate::default(),
            cum: Estimate::default(),
            children: Vec::new(),
            cut: (0, 0),
        }
    }
}

impl Tree {
    /// A node.
    pub fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }

    /// Takes away the branches on which less than `least_share` of the total stands, what is
    /// deeper than `deepest`, and of the rest all but the `most` largest.
    pub fn cut(&mut self, selection: &Selection, least_share: f64, deepest: u32, most: usize) {
        let mut sizes: Vec<u64> = self.nodes[1..]
            .iter()
            .filter(|node| node.depth <= deepest)
            .map(|node| node.cum.value.unsigned_abs())
            .collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut room = most;
        let least_kept = sizes.get(most.saturating_sub(1)).copied().unwrap_or(0);
        // Largest first, so that of branches of equal size the earlier ones find room.
        for number in self.walk() {
            let children = std::mem::take(&mut self.nodes[number as usize].children);
            let mut kept = Vec::with_capacity(children.len());
            for child in children {
                let node = self.node(child);
                let size = node.cum.value;
                let is_kept = node.depth <= deepest
                    && selection.share(size).abs() >= least_share
                    && size.unsigned_abs() >= least_kept
                    && room > 0;
                if is_kept {
                    room -= 1;
                    kept.push(child);
                } else {
                    let cut = &mut self.nodes[number as usize].cut;
                    *cut = (cut.0 + 1, cut.1.saturating_add(size));
                }
            }
            self.nodes[number as usize].children = kept;
        }
    }

    /// All nodes that can be reached, each before its children, largest branch first.
    pub fn walk(&self) -> Vec<u32> {
        let mut order = Vec::new();
        let mut pending = vec![0u32];
        while let Some(number) = pending.pop() {
            order.push(number);
            pending.extend(self.node(number).children.iter().rev());
        }
        order
    }

    fn sort(&mut self, selection: &Selection) {
        for number in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[number].children);
            children.sort_by(|&a, &b| {
                let (a, b) = (self.node(a), self.node(b));
                let size = |node: &Node| node.cum.value.unsigned_abs();
                let name = |node: &Node| &selection.function(node.function).name;
                size(b).cmp(&size(a)).then_with(|| name(a).cmp(name(b)))
            });
            self.nodes[number].children = children;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::testdata;

    fn drawn(selection: &Selection, tree: &Tree) -> Vec<String> {
        tree.walk()
            .into_iter()
            .skip(1)
            .map(|number| {
                let node = tree.node(number);
                let name = &selection.function(node.function).name;
                format!(
                    "{}{name} {}",
                    " ".repeat(node.depth as usize),
                    node.cum.value >> 10
                )
            })
            .collect()
    }

    #[test]
    fn branches_stand_largest_first() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        assert_eq!(
            drawn(&selection, &tree(&selection)),
            [
                " app::main 100",
                "  app::parse 60",
                "   alloc::raw_vec::grow 40",
                "   app::parse 20",
                "    alloc::raw_vec::grow 20",
                "  app::serve 30",
                "   app::cache 30",
                "    alloc::raw_vec::grow 30",
                "  app+0x900 10",
            ]
        );
    }

    #[test]
    fn cut_branches_are_counted_where_they_were() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let mut tree = tree(&selection);
        tree.cut(&selection, 0.25, 2, usize::MAX);
        assert_eq!(
            drawn(&selection, &tree),
            [" app::main 100", "  app::parse 60", "  app::serve 30"]
        );
        assert_eq!(tree.node(1).cut, (1, 10 << 10));
        for number in tree.walk() {
            let node = tree.node(number);
            let kept: i64 = node.children.iter().map(|&n| tree.node(n).cum.value).sum();
            assert_eq!(node.cum.value, node.flat.value + kept + node.cut.1);
        }
    }

    #[test]
    fn most_keeps_the_largest_branches() {
        let selection = Selection::of(&testdata::heap(), None).unwrap();
        let mut tree = tree(&selection);
        tree.cut(&selection, 0.0, u32::MAX, 3);
        assert_eq!(
            drawn(&selection, &tree),
            [
                " app::main 100",
                "  app::parse 60",
                "   alloc::raw_vec::grow 40"
            ]
        );
    }
}
