//! Looking for work instead of sleeping, for a moment: what `--busy-poll` asks for.
//!
//! A worker with nothing to do sleeps in the kernel, and on a quiet machine waking it again costs more than its work
//! does: an interrupt to another core, a core that has to leave its idle state, cold caches. With a window, a worker
//! that has just received something asks the kernel again and again for that long before it sleeps. It does so only
//! while traffic is dense (the last wait was shorter than the window), so that neither an idle gateway nor one whose
//! servers take milliseconds burns a core, and it offers its core to others at every turn. Still it is off unless
//! asked for: who looks for work uses more of a core than who sleeps.

use std::cell::Cell;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use super::moment;
use super::runtime::{spawn, yield_turn};
use super::signal::Signal;

#[derive(Default)]
struct Vigil {
    /// Zero: off.
    window: Cell<Duration>,
    /// When something was last received.
    touched: Cell<Option<Instant>>,
    /// Until when to look for more.
    until: Cell<Option<Instant>>,
    turns: Cell<u64>,
    called: Signal,
}

thread_local! {
    static VIGIL: Vigil = Vigil::default();
}

/// Sets the window of this worker. To be called once, inside its runtime.
pub fn begin(window: Duration) {
    if !window.is_zero() {
        VIGIL.with(|vigil| vigil.window.set(window));
        spawn(keep());
    }
}

/// How often this worker has looked.
pub fn turns() -> u64 {
    VIGIL.with(|vigil| vigil.turns.get())
}

/// Something was received.
#[inline]
pub(super) fn touched() {
    VIGIL.with(|vigil| {
        let window = vigil.window.get();
        if window.is_zero() {
            return;
        }
        let now = moment::now();
        let dense = vigil.touched.replace(Some(now)).is_some_and(|last| now - last < window);
        if dense && vigil.until.replace(Some(now + window)).is_none() {
            vigil.called.set();
        }
    });
}

async fn keep() {
    loop {
        poll_fn(|context| VIGIL.with(|vigil| vigil.called.poll_wait(context))).await;
        while VIGIL.with(Vigil::goes_on) {
            rustix::thread::sched_yield();
            yield_turn().await;
        }
    }
}

impl Vigil {
    fn goes_on(&self) -> bool {
        let goes_on = self.until.get().is_some_and(|until| moment::now() < until);
        if goes_on {
            self.turns.set(self.turns.get() + 1);
        } else {
            self.until.set(None);
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::buffer::Buf;
    use crate::io::runtime::sleep;
    use crate::io::tcp::Stream;
    use crate::io::tests::{MOMENT, on_each, pair, recv_exactly};

    async fn round_trip(ours: &mut Stream, peer: &mut Stream) {
        peer.send_all(Buf::from(&b"x"[..])).await.0.unwrap();
        assert_eq!(recv_exactly(ours, 1).await, b"x");
    }

    #[test]
    fn dense_traffic_is_looked_for_and_silence_is_not() {
        on_each(|| async {
            let window = 100 * MOMENT;
            begin(window);
            let (mut ours, mut peer) = pair().await;
            for _ in 0..100 {
                round_trip(&mut ours, &mut peer).await;
            }
            // The window still runs, and timers and sockets are served while it does.
            let before = turns();
            sleep(MOMENT).await;
            assert!(turns() > before, "it looks on");
            // Once it has closed, nothing is looked for.
            while VIGIL.with(|vigil| vigil.until.get().is_some()) {
                sleep(MOMENT).await;
            }
            let after = turns();
            sleep(10 * MOMENT).await;
            assert_eq!(turns(), after);
        });
    }

    #[test]
    fn sparse_traffic_and_no_window_are_left_to_the_kernel() {
        on_each(|| async {
            let (mut ours, mut peer) = pair().await;
            for window in [Duration::ZERO, MOMENT / 5] {
                begin(window);
                for _ in 0..5 {
                    sleep(2 * MOMENT).await;
                    round_trip(&mut ours, &mut peer).await;
                }
                assert_eq!(turns(), 0, "with {window:?}");
            }
        });
    }
}
