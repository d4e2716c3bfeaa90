//! A collector's task: takes what comes next, sends it until it is taken, and moves on.
//!
//! After a failure half as much is tried, after a success twice: a collector that is slow, or comes back under everybody's arrears,
//! gets what it can take.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Ship;
use super::batch::Record;
use super::cursor::{Cursor, Mark};
use super::post::Outcome;
use super::signed::Signed;
use super::source::{Batch, Source};
use super::standing::Standing;
use crate::fetch::Fetcher;
use crate::limits::{SHIP_AGAIN_MAX, SHIP_AGAIN_MIN, SHIP_BATCH_RECORDS_MAX, SHIP_TOO_LARGE_MIN};
use crate::log;
use crate::telemetry::jittered;

pub struct Task {
    ship: Ship,
    standing: Arc<Standing>,
    source: Option<Source>,
    waiting: VecDeque<(Record, Mark)>,
    cursor: Cursor,
    /// How many are sent together.
    window: usize,
    pause: Duration,
    saved_badly: bool,
}

impl Task {
    pub fn new(ship: Ship, folder: PathBuf, standing: Arc<Standing>) -> Task {
        let source = Some(Source::new(folder, ship.form));
        Task {
            ship,
            standing,
            source,
            waiting: VecDeque::new(),
            cursor: Cursor::default(),
            window: SHIP_BATCH_RECORDS_MAX,
            pause: SHIP_AGAIN_MIN,
            saved_badly: false,
        }
    }

    pub async fn run(mut self, fetcher: Fetcher, mut signed: watch::Receiver<Option<Arc<Signed>>>) {
        let first = match signed.wait_for(Option::is_some).await {
            Ok(found) => found.as_ref().map_or(0, |signed| signed.size),
            Err(_) => return,
        };
        while let Err(why) = self.begin(first).await {
            self.later(None, &why).await;
        }
        loop {
            if self.waiting.is_empty() {
                self.standing.waits_since(0);
                let next = self.cursor.next;
                let more = |signed: &Option<Arc<Signed>>| signed.as_ref().is_some_and(|now| now.size > next);
                let size = match signed.wait_for(more).await {
                    Ok(found) => found.as_ref().map_or(0, |signed| signed.size),
                    Err(_) => return,
                };
                match self.read(size).await {
                    Ok(batch) => self.missed(batch),
                    Err(why) => self.later(None, &why).await,
                }
                continue;
            }
            self.send(&fetcher).await;
        }
    }

    /// Where it was, if this is still the log that it was in.
    async fn begin(&mut self, size: u64) -> Result<(), String> {
        let (standing, source, now) = (self.standing.clone(), self.source.take(), self.ship.from_now);
        let begun = tokio::task::spawn_blocking(move || {
            let source = source.ok_or("its reader is gone")?;
            let known = match standing.cursor() {
                Ok(known) => known,
                Err(why) => return Ok((source, Err(why))),
            };
            let cursor = match known {
                None => Ok((Cursor { next: if now { size } else { 0 }, mark: None }, false)),
                Some(cursor) => has_gone_on(&source, cursor, size).map(|is_it| match is_it {
                    true => (cursor, false),
                    false => (Cursor::default(), true),
                }),
            };
            Ok::<_, String>((source, cursor))
        });
        let (source, cursor) = begun.await.map_err(|_| "its reader ended")??;
        self.source = Some(source);
        let (cursor, is_another) = cursor?;
        if is_another {
            log::error(format!(
                "audit: collector `{}` was sent records that this log does not have: it was replaced, or an older copy was brought \
                 back; all of it is sent",
                self.ship.id
            ));
        }
        self.cursor = cursor;
        self.standing.moves(cursor);
        self.save().await;
        Ok(())
    }

    async fn read(&mut self, size: u64) -> Result<Batch, String> {
        let (source, next) = (self.source.take(), self.cursor.next);
        let taken = tokio::task::spawn_blocking(move || {
            let mut source = source?;
            let batch = source.take(next, size);
            Some((source, batch))
        });
        let (source, batch) = taken.await.ok().flatten().ok_or("its reader ended")?;
        self.source = Some(source);
        let batch = batch?;
        if batch.records.is_empty() {
            return Err(format!("the log does not have record {next}, which its checkpoint covers"));
        }
        Ok(batch)
    }

    fn missed(&mut self, batch: Batch) {
        if batch.missed > 0 {
            self.standing.missed.fetch_add(batch.missed, Relaxed);
            log::error(format!(
                "audit: collector `{}` was not sent {} records before `audit.keep` removed them; it is told which",
                self.ship.id, batch.missed
            ));
        }
        self.waiting = batch.records.into();
    }

    async fn send(&mut self, fetcher: &Fetcher) {
        let many = self.window.min(self.waiting.len()).max(1);
        let records: Vec<&Record> = self.waiting.iter().take(many).map(|(record, _)| record).collect();
        let bytes = records.first().map_or(0, |record| record.bytes());
        self.standing.waits_since(records.first().map_or(0, |record| record.ts_ms));
        match self.ship.to.push(fetcher, &records).await {
            Outcome::Taken { rejected } => {
                if rejected > 0 {
                    self.standing.rejected.fetch_add(rejected, Relaxed);
                    let id = &self.ship.id;
                    log::warn(format!(
                        "audit: collector `{id}` took a batch and rejected {rejected} of its records"
                    ));
                }
                self.standing.shipped.fetch_add(many as u64 - rejected, Relaxed);
                self.window = (self.window * 2).min(SHIP_BATCH_RECORDS_MAX);
                self.pause = SHIP_AGAIN_MIN;
                if self.standing.well() {
                    log::info(format!("audit: collector `{}` takes records again", self.ship.id));
                }
                self.moves(many).await;
            }
            // A collector that takes nothing at all may be mended.
            Outcome::TooLarge { why } if many == 1 && bytes < SHIP_TOO_LARGE_MIN => {
                self.later(None, &why).await
            }
            Outcome::TooLarge { why } if many == 1 => {
                self.standing.rejected.fetch_add(1, Relaxed);
                let index = self.waiting.front().map_or(0, |(record, _)| record.index);
                log::error(format!(
                    "audit: collector `{}` takes no record as long as {index}: {why}",
                    self.ship.id
                ));
                self.moves(1).await;
            }
            Outcome::TooLarge { .. } => self.window = many / 2,
            Outcome::Later { after, why } => {
                self.window = (many / 2).max(1);
                self.later(after, &why).await;
            }
        }
    }

    async fn moves(&mut self, many: usize) {
        if let Some((record, mark)) = self.waiting.drain(..many).next_back() {
            // That records are missing is told of the last of them, whose bytes nobody has.
            let mark = Some(mark).filter(|mark| *mark != Mark::default());
            self.cursor = Cursor { next: record.index + 1, mark };
        }
        self.standing.moves(self.cursor);
        self.save().await;
    }

    async fn save(&mut self) {
        let standing = self.standing.clone();
        let saved = tokio::task::spawn_blocking(move || standing.save()).await;
        if let Ok(Err(error)) = saved
            && !std::mem::replace(&mut self.saved_badly, true)
        {
            log::warn(format!(
                "audit: how far collector `{}` has come cannot be written down: {error}; after a restart it is sent more again",
                self.ship.id
            ));
        }
    }

    async fn later(&mut self, after: Option<Duration>, why: &str) {
        if self.standing.fails(why) {
            let id = &self.ship.id;
            log::warn(format!("audit: collector `{id}` takes no records now, and is sent them again: {why}"));
        }
        sleep(after.unwrap_or_else(|| jittered(self.pause))).await;
        self.pause = (self.pause * 2).min(SHIP_AGAIN_MAX);
    }
}

/// Whether the log still has what was sent last.
fn has_gone_on(source: &Source, cursor: Cursor, size: u64) -> Result<bool, String> {
    match (cursor.mark, cursor.next.checked_sub(1)) {
        _ if cursor.next > size => Ok(false),
        (Some(mark), Some(last)) => source.has(mark, last),
        _ => Ok(true),
    }
}
