//! What must happen in the order in which the client wrote it: `initialize`, notifications, answers to questions.
//! Each travels alone and is acknowledged before the next; a request starts when all that stood before it has
//! passed, and never waits for another request.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::{mpsc, watch};

use crate::limits::FRONT_LANE_MAX;

type Step = Pin<Box<dyn Future<Output = ()>>>;

pub struct Lane {
    steps: mpsc::Sender<Step>,
    entered: std::cell::Cell<u64>,
    passed: watch::Receiver<u64>,
}

/// A point in the lane.
pub struct Mark {
    at: u64,
    passed: watch::Receiver<u64>,
}

impl Lane {
    /// Starts a task of the local set.
    pub fn start() -> Rc<Lane> {
        let (steps, mut waiting) = mpsc::channel::<Step>(FRONT_LANE_MAX);
        let (told, passed) = watch::channel(0);
        tokio::task::spawn_local(async move {
            while let Some(step) = waiting.recv().await {
                step.await;
                told.send_modify(|passed| *passed += 1);
            }
        });
        Rc::new(Lane { steps, entered: Default::default(), passed })
    }

    /// Enters the lane; waits only when it is full.
    pub async fn enter(&self, step: impl Future<Output = ()> + 'static) {
        self.entered.set(self.entered.get() + 1);
        // The task ends with the process.
        let _ = self.steps.send(Box::pin(step)).await;
    }

    /// Everything that has entered so far.
    pub fn mark(&self) -> Mark {
        Mark { at: self.entered.get(), passed: self.passed.clone() }
    }
}

impl Mark {
    pub async fn passed(mut self) {
        let _ = self.passed.wait_for(|passed| *passed >= self.at).await;
    }
}
