//! One file for each thing that can be asked.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod keys;
pub(crate) mod replay;
