//! What the compiler does not check about this repository: which crate may see which, the budgets of the style guide,
//! and that the documents name only what exists.
mod budgets;
mod documents;
mod edges;
mod sharing;
mod tree;
