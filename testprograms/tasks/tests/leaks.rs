//! What is found of tasks that can never go on.

#![allow(clippy::unwrap_used)]

use tasks::leaks::{Is, all, run};

#[test]
fn each_shape_leaks_and_ends_once_it_is_mended() {
    for shape in all() {
        let left = |is| run(&shape, is, || ()).left;
        assert!(left(Is::Leaky) > 0, "{} does not leak", shape.name);
        assert_eq!(left(Is::Mended), 0, "{} is not mended", shape.name);
    }
}
