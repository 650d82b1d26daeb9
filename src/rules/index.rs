//! The index over paths: which rules may speak for a path, without asking each.
//!
//! One trie over path segments holds patterns and prefixes, so a look-up costs one hash per segment whatever the number
//! of rules. Each rule stands at one place only; what else it asks is the matcher's. Worst case: each node once, for a
//! node has one depth.

use super::{
    name::Names,
    pattern::{Glob, Pattern, Segment},
};

/// Rules by number, ascending.
pub(super) type Numbers = Vec<u32>;

#[derive(Clone, Debug, Default)]
struct Node {
    /// Lowest rule here or below.
    lowest: u32,
    literal: Names<u32>,
    any: Option<u32>,
    globs: Vec<(Glob, u32)>,
    /// Rules whose pattern ends here.
    end: Numbers,
    /// Rules for any rest after the `/`.
    rest: Numbers,
    /// Rules for a rest that begins with a text without `/`, by that text's length.
    rest_with: Vec<(usize, Names<Numbers>)>,
}

/// Trie over path segments.
#[derive(Clone, Debug)]
pub(super) struct Index {
    nodes: Vec<Node>,
}

impl Index {
    pub(super) fn new() -> Index {
        Index { nodes: vec![Node { lowest: u32::MAX, ..Node::default() }] }
    }

    /// Files `rule` under a pattern. Rules come in ascending order.
    pub(super) fn pattern(&mut self, rule: u32, pattern: &Pattern) {
        let mut at = 0;
        self.nodes[at].lowest = self.nodes[at].lowest.min(rule);
        for segment in &pattern.segments {
            at = self.child(at, segment);
            self.nodes[at].lowest = self.nodes[at].lowest.min(rule);
        }
        let node = &mut self.nodes[at];
        if pattern.rest { &mut node.rest } else { &mut node.end }.push(rule);
    }

    /// Files `rule` under a prefix, which begins with `/`.
    pub(super) fn prefix(&mut self, rule: u32, prefix: &str) {
        let mut at = 0;
        self.nodes[at].lowest = self.nodes[at].lowest.min(rule);
        let mut rest = prefix.strip_prefix('/').unwrap_or(prefix);
        while let Some((segment, after)) = rest.split_once('/') {
            at = self.child(at, &Segment::Literal(segment.into()));
            self.nodes[at].lowest = self.nodes[at].lowest.min(rule);
            rest = after;
        }
        let node = &mut self.nodes[at];
        if rest.is_empty() {
            return node.rest.push(rule);
        }
        let place = match node.rest_with.iter().position(|(length, _)| *length == rest.len()) {
            Some(place) => place,
            None => {
                node.rest_with.push((rest.len(), Names::default()));
                node.rest_with.len() - 1
            }
        };
        node.rest_with[place].1.named_or(rest, Vec::new()).push(rule);
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[at];
        let child = match segment {
            Segment::Literal(text) => *node.literal.named_or(text, next),
            Segment::Any => *node.any.get_or_insert(next),
            Segment::Glob(glob) => match node.globs.iter().find(|(known, _)| known == glob) {
                Some((_, child)) => *child,
                None => {
                    node.globs.push((glob.clone(), next));
                    next
                }
            },
        };
        if child == next {
            self.nodes.push(Node { lowest: u32::MAX, ..Node::default() });
        }
        child as usize
    }

    /// Hands the lists of rules filed for `path` to `ask`. Rules from `below` on are of no interest; `ask` answers with
    /// the new `below`.
    pub(super) fn each(&self, path: &str, mut below: u32, ask: &mut impl FnMut(&[u32]) -> u32) {
        if let Some(rest) = path.strip_prefix('/') {
            self.descend(0, rest, &mut below, ask);
        }
    }

    /// `rest` is what follows the `/` after this node's segment.
    fn descend(&self, at: u32, rest: &str, below: &mut u32, ask: &mut impl FnMut(&[u32]) -> u32) {
        let node = &self.nodes[at as usize];
        if node.lowest >= *below {
            return;
        }
        if !node.rest.is_empty() {
            *below = ask(&node.rest);
        }
        for (length, texts) in &node.rest_with {
            if let Some(rules) = rest.get(..*length).and_then(|text| texts.named(text)) {
                *below = ask(rules);
            }
        }
        let (segment, after) = match rest.as_bytes().iter().position(|byte| *byte == b'/') {
            Some(end) => (&rest[..end], Some(&rest[end + 1..])),
            None => (rest, None),
        };
        if !node.literal.is_empty()
            && let Some(child) = node.literal.named(segment)
        {
            self.step(*child, after, below, ask);
        }
        if segment.is_empty() {
            return;
        }
        if let Some(child) = node.any {
            self.step(child, after, below, ask);
        }
        for (glob, child) in &node.globs {
            if glob.covers(segment) {
                self.step(*child, after, below, ask);
            }
        }
    }

    fn step(&self, child: u32, after: Option<&str>, below: &mut u32, ask: &mut impl FnMut(&[u32]) -> u32) {
        match after {
            Some(rest) => self.descend(child, rest, below, ask),
            None => {
                let node = &self.nodes[child as usize];
                if node.lowest < *below && !node.end.is_empty() {
                    *below = ask(&node.end);
                }
            }
        }
    }
}
