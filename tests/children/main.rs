//! Stdio children that behave and misbehave, drains under load, and peers that take their time.

mod child;
mod stdio;
