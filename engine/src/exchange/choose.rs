//! Which of the worker's editions tells the story, where there is a candidate beside the live one.
//!
//! What belongs to a session or a stream stays where that was begun; everything else goes where the canary's selector says. The
//! candidate looks for itself where the request arrived and who asks: its servers and keys may be others.

use std::rc::Rc;

use super::Incoming;
use super::arrive::{self, Place};
use super::hand_over::Owner;
use super::identify::{self, Caller, Identified};
use super::record::Record;
use super::refusal::Refusal;
use crate::core::{Adopted, Core};
use crate::trial::OnTrial;

/// The request as the candidate sees it, if it is the candidate's; `adopted` is the live edition before.
#[allow(clippy::too_many_arguments)] // all of it may become another
pub async fn run(
    core: &Rc<Core>,
    on_trial: &OnTrial,
    adopted: &mut Rc<Adopted>,
    incoming: &Incoming<'_>,
    owner: &Owner,
    place: &mut Place,
    caller: &mut Caller,
    record: &mut Record,
) -> Result<(), Refusal> {
    let (is_bound, is_candidates) = match owner {
        Owner::Here(None) => (false, on_trial.picks(caller, incoming)),
        Owner::Here(Some(session)) => (true, session.side() == on_trial.side()),
        Owner::Wire(wire, _) => (true, wire.side == on_trial.side()),
        // It chooses for itself.
        Owner::Worker(_) => (true, false),
    };
    if !is_candidates {
        return Ok(());
    }
    let bound_to = (adopted.server_digest(place.server), caller.digest);
    *adopted = on_trial.adopted.clone();
    record.begin_again();
    *place = arrive::run(incoming, adopted, record)?;
    *caller = match identify::run(core, incoming, adopted, place, record)? {
        Identified::Caller(caller) => caller,
        Identified::Asks(token) => {
            Box::pin(identify::settle(core, incoming, adopted, place, token, record)).await?
        }
    };
    match !is_bound || bound_to == (adopted.server_digest(place.server), caller.digest) {
        true => Ok(()),
        false => Err(Refusal::SessionUnknown),
    }
}
