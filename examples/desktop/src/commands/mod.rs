//! One file for each thing that can be asked, and what several of them share.

mod bulletin;
mod calibration;
pub(crate) mod check;
mod correspondence;
pub(crate) mod demo;
pub(crate) mod doctor;
mod ending;
pub(crate) mod keys;
pub(crate) mod news;
mod outcome;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod run;
mod standing;
pub(crate) mod status;
pub(crate) mod sync;
