//! epoll, as far as the generator and the echo server need it: level-triggered readiness by token, and a
//! wait that ends at a point in time. The decisions: epoll and not io_uring, so that what measures the
//! gateway shares neither its driver nor its bugs; and a timerfd among the sources, because epoll's own
//! timeout counts in milliseconds where it is portable. An unchanged deadline is not set again.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::thread::set_current_timer_slack;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Readiness handled between two looks at the clock.
const EVENTS_MAX: usize = 512;
/// The timer's own token; nobody else may use it.
const TIMER: u64 = u64::MAX - 1;

pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// The point in time that the timer is set to.
    armed: Option<u64>,
    events: Vec<epoll::Event>,
}

/// What one token is ready for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

/// What a token waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    Read,
    Write,
    Both,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Interest::Read => epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            Interest::Write => epoll::EventFlags::OUT,
            Interest::Both => epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::OUT,
        }
    }
}

impl Poll {
    /// Also asks the kernel to end this thread's waits on time: the default slack is 50 us.
    pub fn new() -> io::Result<Poll> {
        set_current_timer_slack(NonZeroU64::new(1))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Told once per expiry, so that it need not be read.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), flags)?;
        Ok(Poll { epoll, timer, armed: None, events: Vec::with_capacity(EVENTS_MAX) })
    }

    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), interest.flags())?)
    }

    pub fn change(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, source, epoll::EventData::new_u64(token), interest.flags())?)
    }

    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for readiness until a point on the caller's clock, which shows `now`; a point that has
    /// passed only looks. A signal ends the wait early.
    pub fn wait(&mut self, now: u64, until: u64) -> io::Result<()> {
        self.events.clear();
        let looks = until <= now;
        if !looks && self.armed != Some(until) {
            let value = timespec(until - now);
            let once = Itimerspec { it_interval: timespec(0), it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.armed = Some(until);
        }
        let timeout = timespec(0);
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), looks.then_some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.events.iter().any(is_timer) {
            self.armed = None;
        }
        Ok(())
    }

    /// How many events the last wait found.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// One of them, unless it is the timer's. A hang-up counts as readable and writable: reading or writing will tell.
    pub fn ready(&self, index: usize) -> Option<Ready> {
        let event = self.events.get(index).filter(|event| !is_timer(event))?;
        let (flags, data) = (event.flags, event.data);
        let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        Some(Ready {
            token: data.u64(),
            readable: broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
            writable: broken || flags.contains(epoll::EventFlags::OUT),
        })
    }
}

fn is_timer(event: &epoll::Event) -> bool {
    // The struct is packed: the field is copied out before it is asked.
    let data = event.data;
    data.u64() == TIMER
}

fn timespec(ns: u64) -> Timespec {
    Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_wait_never_ends_before_its_time_and_a_passed_point_does_not_wait() {
        let (clock, mut poll) = (Clock::new(), Poll::new().unwrap());
        for wait in [1_000, 150_000, 1_234_567, 3_000_000] {
            let until = clock.now() + wait;
            while clock.now() < until {
                poll.wait(clock.now(), until).unwrap();
                assert!(poll.ready(0).is_none());
            }
            // A deadline that passed is armed no more; another one is set anew.
            poll.wait(clock.now(), until).unwrap();
        }
    }
}
