//! Stdio children that behave and misbehave, drains under load, and peers that take their time.

mod asks;
mod child;
mod drain;
mod overload;
mod stdio;
mod subscriptions;
