//! epoll, as far as the generator and the echo server need it: level-triggered readiness by token, and a
//! wait that ends at a point in time with nanoseconds' grain. The decision: epoll and not io_uring,
//! so that what measures the gateway shares neither its driver nor its bugs.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::thread::set_current_timer_slack;

/// Readiness handled between two looks at the clock.
const EVENTS_MAX: usize = 512;

pub struct Poll {
    epoll: OwnedFd,
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
        Ok(Poll { epoll, events: Vec::with_capacity(EVENTS_MAX) })
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

    /// Waits for readiness, at most so long; 0 only looks. A signal ends the wait early.
    pub fn wait(&mut self, timeout_ns: u64) -> io::Result<()> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as i64,
            tv_nsec: (timeout_ns % 1_000_000_000) as i64,
        };
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many tokens the last wait found ready.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// One of them. A hang-up counts as readable and writable: reading or writing will tell.
    pub fn ready(&self, index: usize) -> Option<Ready> {
        let event = self.events.get(index)?;
        let (flags, data) = (event.flags, event.data);
        let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        Some(Ready {
            token: data.u64(),
            readable: broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
            writable: broken || flags.contains(epoll::EventFlags::OUT),
        })
    }
}
